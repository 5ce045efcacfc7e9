"""Asks one server several times, and many servers side by side."""

from __future__ import annotations

import time

from daytimed.probe.client import Answer, ask
from daytimed.probe.tally import Tally
from daytimed.probe.verdict import Limits, Verdict, judge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from daytimed.addresses import Address
    from daytimed.probe.offset import Interval
    from daytimed.probe.zones import Offsets

#: So many servers are asked at the same time, each by a thread of its own.
MOST_AT_ONCE = 256
#: A connection, or what the resolver has open.
_DESCRIPTORS_EACH = 3
_OTHER_DESCRIPTORS = 16
_SMALLEST_GAP_S = 0.01
_STACK_BYTES = 512 * 1024


def spread(count: int, interval_s: float | None) -> float:
    """
    Return the seconds from one sample to the next.

    The samples fall into different parts of the second: so a clock that is shown in whole seconds is seen to change,
    once between two samples that are next to each other, and their intervals cross on that.

    Args:
        count: How many samples; 0 for no end.
        interval_s: What was asked for, to which so much is added that the samples do fall into different parts; None
            to take all within a second.
    """
    if interval_s is not None:
        return interval_s + 1 / (count or 64)
    # beyond a hundred the samples go round the second more than once, a little later each time
    return max(1 / count, _SMALLEST_GAP_S * (1 + 1 / count)) if count else 1 + 1 / 64


class Survey:
    """What is asked, how often, and how it is judged."""

    __slots__ = ("count", "gap_s", "limits", "max_bytes", "request", "timeout_s", "zone")

    def __init__(
        self, request: bytes, timeout_s: float, max_bytes: int, count: int, gap_s: float, zone: Offsets, limits: Limits
    ) -> None:
        self.request = request
        self.timeout_s = timeout_s
        """For all samples of one server; without an end, for each."""
        self.max_bytes = max_bytes
        self.count = count
        """Samples of one server; 0 for no end."""
        self.gap_s = gap_s
        self.zone = zone
        self.limits = limits

    def samples(self, address: Address) -> Iterator[Answer]:
        """Ask one server, as often as it is wanted and fits into the time."""
        begun = due = time.monotonic()
        place = None
        longest_s = 0.0
        number = 0
        while True:
            share_s = self._share(number, begun, longest_s)
            if number and share_s <= 0:
                return
            asked = time.monotonic()
            try:
                answer = ask(address, self.request, share_s, self.max_bytes, place)
            except KeyboardInterrupt:
                if self.count == 1:
                    raise
                yield _unanswered(address, time.monotonic() - asked)
                return
            place = answer.place or place
            longest_s = max(longest_s, answer.total_s if answer.reason is None else 0.0)
            yield answer
            number += 1
            if number == self.count:
                return
            # who has been late does not hurry to make up for it
            due = max(due + self.gap_s, time.monotonic())
            if self.count and due >= begun + self.timeout_s:
                return
            time.sleep(max(0.0, due - time.monotonic()))

    def _share(self, number: int, begun: float, longest_s: float) -> float:
        """
        Return the seconds for a sample, or 0 if it does not fit.

        Each but the last may take half of what is left, so that one question that hangs does not cost all others, but
        at least twice what others took; one that cannot have more than they took is not asked: it would count against
        the server.
        """
        if not self.count:
            return self.timeout_s
        left = begun + self.timeout_s - time.monotonic()
        if number and left < 1.5 * longest_s:
            return 0.0
        return left if number == self.count - 1 else min(left, max(left / 2, 2 * longest_s))

    def check(self, address: Address, each: Callable[[Tally, Answer, Interval | None], None] | None = None) -> Verdict:
        """
        Ask one server, and judge it.

        Args:
            address: The server.
            each: Told of every answer once it is counted, and of the offset that it shows.
        """
        tally = Tally(address)
        try:
            for answer in self.samples(address):
                interval = tally.add(answer, self.zone)
                if each:
                    each(tally, answer, interval)
        except KeyboardInterrupt:
            # the way in which samples without an end do end; others are judged by what there is
            if not tally.sent:
                raise
        return judge(tally, self.limits, self.count)

    def check_all(self, addresses: Sequence[Address], progress: Callable[[int], None]) -> list[Verdict]:
        """
        Ask many servers side by side.

        Args:
            addresses: The servers.
            progress: Told how many are outstanding, whenever that has changed.
        """
        # not for the runs that ask one server
        import threading
        from queue import SimpleQueue

        begun = time.monotonic()
        waiting = iter(range(len(addresses)))
        done: SimpleQueue[tuple[int, Verdict | BaseException]] = SimpleQueue()
        guard = threading.Lock()

        def run() -> None:
            while True:
                with guard:
                    number = next(waiting, None)
                if number is None:
                    return
                try:
                    done.put((number, self.check(addresses[number])))
                except BaseException as error:
                    done.put((number, error))

        # a thread asks and parses; with the usual 8 MiB each, many would not fit where memory is limited
        threading.stack_size(_STACK_BYTES)
        for started in range(min(len(addresses), _most_at_once())):
            try:
                # a daemon, so that an interrupt does not wait for it
                threading.Thread(target=run, daemon=True).start()
            except RuntimeError:
                # the limit of processes: fewer do it as well, if there are any
                if not started:
                    run()
                break
        verdicts: dict[int, Verdict] = {}
        try:
            while len(verdicts) < len(addresses):
                progress(len(addresses) - len(verdicts))
                number, result = done.get()
                if isinstance(result, BaseException):
                    raise result
                verdicts[number] = result
        except KeyboardInterrupt:
            if not verdicts:
                raise
        finally:
            progress(0)
        return [verdicts.get(number) or self._missing(address, begun) for number, address in enumerate(addresses)]

    def _missing(self, address: Address, begun: float) -> Verdict:
        tally = Tally(address)
        tally.add(_unanswered(address, time.monotonic() - begun), self.zone)
        return judge(tally, self.limits)


def _unanswered(address: Address, seconds: float) -> Answer:
    """Return what came of a question that was interrupted."""
    answer = Answer(address)
    answer.total_s = seconds
    answer.reason = f"no reply yet after {seconds:.3g} s"
    return answer


def _most_at_once() -> int:
    """Return how many servers can be asked at the same time with the descriptors that there are."""
    from resource import RLIMIT_NOFILE, getrlimit  # not for the runs that ask one server

    descriptors, _ = getrlimit(RLIMIT_NOFILE)
    return max(1, min(MOST_AT_ONCE, (descriptors - _OTHER_DESCRIPTORS) // _DESCRIPTORS_EACH))
