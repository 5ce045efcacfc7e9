"""Output for people: the reply, its details, a line per sample with a summary, a table of several servers."""

from __future__ import annotations

from daytimed.charset import printable
from daytimed.probe.civil import rfc3339
from daytimed.probe.verdict import CRITICAL, OK, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from daytimed.probe.client import Answer
    from daytimed.probe.offset import Interval
    from daytimed.probe.tally import Tally
    from daytimed.probe.verdict import Verdict

_COLOURS = {OK: "\x1b[32m", WARNING: "\x1b[33m", CRITICAL: "\x1b[31m"}
_RESET = "\x1b[0m"
#: The table cuts longer replies.
_WIDEST_REPLY = 72


def visible(reply: bytes) -> str:
    """
    Return a reply as lines that are safe to show: no byte of it can control a terminal.

    Line ends become newlines; other unprintable characters, except tabs, become escapes.
    """
    text = reply.decode(errors="backslashreplace").replace("\r\n", "\n").replace("\n\r", "\n").rstrip("\n\r\0")
    return "".join(
        character if character.isprintable() or character in "\n\t" else printable(character) for character in text
    )


def _line(reply: bytes) -> str:
    """Return a reply as one line."""
    line = visible(reply[: 4 * _WIDEST_REPLY]).strip().replace("\n", " ").replace("\t", " ")
    return line if len(line) <= _WIDEST_REPLY else f"{line[: _WIDEST_REPLY - 3]}..."


def duration(seconds: float) -> str:
    """Return a duration with a suitable unit."""
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1000:.3f} ms"


def _resolution(nanoseconds: int) -> str:
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1000)):
        if nanoseconds >= size:
            return f"{nanoseconds // size} {unit}"
    return f"{nanoseconds} ns"


def measured(interval: Interval) -> str:
    """Return an offset and its uncertainty, both in the unit that suits the larger one."""
    value, error = interval.offset_s, interval.uncertainty_s
    if max(abs(value), error) >= 1:
        return f"{value:+.3f} s ± {error:.3f} s"
    return f"{value * 1000:+.3f} ms ± {error * 1000:.3f} ms"


def details(verdict: Verdict) -> str:
    """Return how the reply was read, one line per fact."""
    tally, reading = verdict.tally, verdict.tally.reading
    answer = tally.whole or tally.last
    facts = [("address", f"{tally.address}{f' over {answer.family}' if answer and answer.family else ''}")]
    if reading:
        zone = "assumed, none in the reply" if reading.zone == "assumed" else reading.zone
        facts += [
            ("format", f"{reading.format}, resolution {_resolution(reading.resolution_ns)}"),
            ("zone", zone),
            ("instant", rfc3339(reading.instant_ns, reading.resolution_ns)),
        ]
        if reading.health is not None or reading.leap is not None:
            facts.append(
                ("NIST", f"health {reading.health}, leap {reading.leap}, advance {reading.advance_ns / 1e9:g} s")
            )
    if verdict.interval:
        facts.append(("offset", measured(verdict.interval)))
    if tally.sent > 1:
        facts.append(("samples", f"{_counts(tally)}; {verdict.agreeing} of {len(tally.intervals)} agree"))
    if tally.response_s is not None:
        facts.append(("time", f"{duration(tally.response_s)}, including {duration(tally.connect_s or 0)} to connect"))
    facts.append(("state", verdict.state))
    if verdict.reason and verdict.state == OK:
        facts.append(("note", verdict.reason))
    return "\n".join(f"  {name:8} {fact}" for name, fact in facts)


def sample(number: int, answer: Answer, interval: Interval | None, failure: str | None) -> str:
    """
    Return the line of one of several samples.

    Args:
        number: From 1.
        answer: The answer.
        interval: The offset that it shows, if any.
        failure: The error in the reply, if any.
    """
    if answer.reason:
        return f"{answer.address}: seq={number} {answer.reason}"
    said = f"{answer.size} bytes from {answer.address}: seq={number}"
    shown = f"offset {measured(interval)}" if interval else failure or _line(answer.reply)
    return f"{said} {shown} time {duration(answer.total_s)}"


def summary(verdict: Verdict) -> str:
    """Return the summary of several samples."""
    tally = verdict.tally
    lines = [f"--- {tally.address} ---", _counts(tally)]
    if tally.response_s is not None:
        times = (tally.shortest_s, tally.response_s, tally.longest_s)
        lines.append("time min/avg/max " + "/".join(f"{seconds * 1000:.3f}" for seconds in times) + " ms")
    if verdict.interval:
        count = len(tally.intervals)
        agree = f"{count} agree" if verdict.agreeing == count else f"{verdict.agreeing} of {count} agree"
        lines.append(f"offset {measured(verdict.interval)} ({agree})")
    return "\n".join(lines)


def _counts(tally: Tally) -> str:
    return f"{tally.sent} sent, {tally.answered} answered, {tally.lost} lost"


def table(verdicts: Sequence[Verdict], colour: bool) -> str:
    """Return a table with one row per server."""
    rows = [("STATE", "ADDRESS", "OFFSET", "TIME", "REPLY")]
    for verdict in verdicts:
        tally = verdict.tally
        reply = _line(verdict.reply) if tally.whole else ""
        rows.append(
            (
                verdict.state,
                str(tally.address),
                measured(verdict.interval) if verdict.interval else "-",
                duration(tally.response_s) if tally.response_s is not None else "-",
                " - ".join(filter(None, (reply, verdict.reason))),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(_row(row, widths, colour) for row in rows)


def _row(row: tuple[str, ...], widths: Sequence[int], colour: bool) -> str:
    state, address, shown, taken, reply = row
    first = f"{state:{widths[0]}}"
    if colour and state in _COLOURS:
        first = f"{_COLOURS[state]}{first}{_RESET}"
    return f"{first}  {address:{widths[1]}}  {shown:>{widths[2]}}  {taken:>{widths[3]}}  {reply}".rstrip()


def outstanding(count: int) -> str:
    """Return the live line of a run with several servers; it overwrites the previous one."""
    return f"\r\x1b[K{f'{count} outstanding' if count else ''}"
