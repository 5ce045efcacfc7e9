"""Reports for programs: JSON, the output of a monitoring plugin, the metrics of Prometheus."""

from __future__ import annotations

from daytimed.addresses import join_host_port
from daytimed.charset import printable
from daytimed.probe.civil import rfc3339
from daytimed.probe.verdict import CRITICAL, EXIT_CODES, OK, worst_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from daytimed.addresses import Address
    from daytimed.probe.verdict import Limits, Verdict

_NS = 1_000_000_000


# -- JSON ------------------------------------------------------------------------------------------------------------


def as_json(verdict: Verdict) -> str:
    """Return a verdict as one JSON object on one line."""
    import json  # not for the other outputs

    tally, reading, interval = verdict.tally, verdict.tally.reading, verdict.interval
    answer = tally.whole or tally.last
    return json.dumps(
        {
            "address": str(tally.address),
            "family": answer.family if answer else None,
            "reply": verdict.reply.decode(errors="backslashreplace"),
            "format": reading.format if reading else None,
            "instant": rfc3339(reading.instant_ns, reading.resolution_ns) if reading else None,
            "resolution_s": reading.resolution_ns / _NS if reading else None,
            "zone": reading.zone if reading else None,
            "offset_s": _round(interval.offset_s) if interval else None,
            "uncertainty_s": _round(interval.uncertainty_s) if interval else None,
            "connect_s": _round(tally.connect_s),
            "total_s": _round(tally.response_s if tally.answered else answer.total_s if answer else None),
            "state": verdict.state,
            "reason": verdict.reason,
        }
    )


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 9)


# -- monitoring plugins ----------------------------------------------------------------------------------------------


def as_plugin_output(verdicts: Sequence[Verdict], limits: Limits, timeout_s: float) -> str:
    """
    Return the output of a monitoring plugin: a line with performance data and, for several servers, a line each.

    Monitoring Plugins Development Guidelines, "Plugin Output for Nagios" and "Performance data".
    """
    if len(verdicts) == 1:
        return _with_data(_status_line(verdicts[0]), _performance(verdicts[0], limits, timeout_s, ""))
    worst = worst_of(verdict.state for verdict in verdicts)
    good = sum(verdict.state == OK for verdict in verdicts)
    first = f"DAYTIME {worst}: {good} of {len(verdicts)} servers are OK"
    if bad := next((verdict for verdict in verdicts if verdict.state == worst != OK), None):
        first += f"; {_said(bad)}"
    data = [_performance(verdict, limits, timeout_s, _short(verdict.tally.address)) for verdict in verdicts]
    # all data is on the first line: Icinga reads no other
    return "\n".join([_with_data(first, " ".join(filter(None, data))), *map(_status_line, verdicts)])


def as_plugin_error(reason: str) -> str:
    """Return the line of a plugin that cannot ask anything."""
    return f"DAYTIME UNKNOWN: {_one_line(reason)}"


def _with_data(line: str, data: str) -> str:
    return f"{line} | {data}" if data else line


def _status_line(verdict: Verdict) -> str:
    return f"DAYTIME {verdict.state}: {_said(verdict)}"


def _said(verdict: Verdict) -> str:
    tally = verdict.tally
    if verdict.state == CRITICAL and verdict.interval is None:
        return _one_line(f"{tally.address}: {verdict.reason}")
    words = []
    if verdict.interval:
        words.append(f"offset {verdict.interval.offset_s:+.6f}s +/- {verdict.interval.uncertainty_s:.6f}s,")
    answered = f"{tally.reading.format if tally.reading else 'a reply'} in {tally.response_s or 0:.6f}s"
    words.append(f"{answered} from {tally.address}")
    if verdict.reason:
        words.append(f"({verdict.reason})")
    return _one_line(" ".join(words))


def _one_line(text: str) -> str:
    """Replace the characters that separate data from text, or a line from the next."""
    return printable(text).replace("|", "/")


def _performance(verdict: Verdict, limits: Limits, timeout_s: float, name: str) -> str:
    """Return the known figures; unknown ones are left out, because Icinga does not read the U for them."""
    from daytimed.probe.ranges import decimal  # not for the other outputs

    response_s, interval = verdict.tally.response_s, verdict.interval
    data = []
    if response_s is not None:
        limit = f"{limits.response_warning or ''};{limits.response_critical or ''}"
        data.append(f"{_quoted(f'time {name}')}={response_s:.6f}s;{limit};0;{decimal(timeout_s)}")
    if interval:
        limit = f"{limits.offset_warning or ''};{limits.offset_critical or ''}"
        data.append(f"{_quoted(f'offset {name}')}={interval.offset_s:.6f}s;{limit};;")
    return " ".join(data)


def _quoted(label: str) -> str:
    label = label.rstrip()
    return "'" + label.replace("'", "''") + "'" if " " in label else label


def _short(address: Address) -> str:
    """Return the name of a server for a label, which an equals sign would end."""
    if address.scheme == "unix":
        name = address.path
    else:
        name = join_host_port(address.host or "localhost", address.port)
        if address.scheme != "tcp":
            name = f"{address.scheme}:{name}"
    return _one_line(name.replace("=", "_"))


# -- Prometheus ------------------------------------------------------------------------------------------------------

_METRICS = {
    "daytime_up": "Whether the server sent a complete, readable reply",
    "daytime_state": "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, by the limits of the probe",
    "daytime_offset_seconds": "The server's clock minus ours: the middle of the possible values",
    "daytime_offset_uncertainty_seconds": "The largest possible error of the offset",
    "daytime_connect_seconds": "Average time from the question to the connection, name resolution included",
    "daytime_response_seconds": "Average time from the question to the end of the reply",
    "daytime_time_seconds": "The instant that the server named last, in seconds since 1970-01-01 UTC",
    "daytime_samples_sent": "Questions asked",
    "daytime_samples_answered": "Complete replies",
}


def as_metrics(verdicts: Sequence[Verdict]) -> str:
    """
    Return the metrics of the servers; unknown values are left out.

    Prometheus text exposition format 0.0.4, which groups the samples by metric.
    """
    from daytimed.probe.ranges import decimal  # not for the other outputs

    figures = [_figures(verdict) for verdict in verdicts]
    lines = []
    for metric, meaning in _METRICS.items():
        samples = [
            f'{metric}{{address="{_label(verdict.tally.address)}"}} {decimal(value)}'
            for verdict, known in zip(verdicts, figures, strict=True)
            if (value := known.get(metric)) is not None
        ]
        if samples:
            lines += [f"# HELP {metric} {meaning}.", f"# TYPE {metric} gauge", *samples]
    return "\n".join(lines)


def _figures(verdict: Verdict) -> dict[str, float | None]:
    tally, reading, interval = verdict.tally, verdict.tally.reading, verdict.interval
    return {
        "daytime_up": float(verdict.good > 0),
        "daytime_state": float(EXIT_CODES[verdict.state]),
        "daytime_offset_seconds": interval.offset_s if interval else None,
        "daytime_offset_uncertainty_seconds": interval.uncertainty_s if interval else None,
        "daytime_connect_seconds": tally.connect_s,
        "daytime_response_seconds": tally.response_s,
        "daytime_time_seconds": reading.instant_ns / _NS if reading else None,
        "daytime_samples_sent": float(tally.sent),
        "daytime_samples_answered": float(tally.answered),
    }


def _label(address: Address) -> str:
    return str(address).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
