"""A survey asks one server several times, or several servers side by side."""

from __future__ import annotations

import time
from _thread import _count, allocate_lock, stack_size, start_new_thread

from daytimed.probe.client import Answer, ask
from daytimed.probe.parsers import LONGEST_REPLY
from daytimed.probe.tally import Tally
from daytimed.probe.verdict import Limits, Verdict, judge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from daytimed.addresses import Address
    from daytimed.probe.offset import Interval
    from daytimed.probe.zones import Offsets

#: The most servers that are asked at the same time, each by its own thread.
MOST_AT_ONCE = 256
#: Enough for a connection or for the resolver.
_DESCRIPTORS_EACH = 3
_OTHER_DESCRIPTORS = 16
_SMALLEST_GAP_S = 0.01
_STACK_BYTES = 512 * 1024
#: The interval between two looks whether a thread is left: without memory, one can end without a result.
_LOOK_S = 1.0


def spread(count: int, interval_s: float | None) -> float:
    """
    Return the seconds from one sample to the next.

    The samples fall into different parts of the second. So a server of whole seconds changes its reply between two
    neighbouring samples, and their intervals intersect at this change.

    Args:
        count: The number of samples; 0 for no end.
        interval_s: The requested interval. A fraction of a second is added, so that the samples fall into different
            parts of the second. None for all samples within a second, at most a hundred a second, or for one a second
            without an end.
    """
    if interval_s is not None:
        return interval_s + 1 / (count or 64)
    # more than a hundred samples take several rounds of the second, each a little later within it
    return max(1 / count, _SMALLEST_GAP_S * (1 + 1 / count)) if count else 1 + 1 / 64


class Survey:
    """The questions to ask and the limits to judge by."""

    __slots__ = ("count", "gap_s", "kept", "kept_if_refused", "limits", "max_bytes", "request", "timeout_s", "zone")

    def __init__(
        self,
        request: bytes,
        timeout_s: float,
        max_bytes: int,
        count: int,
        gap_s: float,
        zone: Offsets,
        limits: Limits,
        kept: int = LONGEST_REPLY,
        kept_if_refused: int = LONGEST_REPLY,
    ) -> None:
        self.request = request
        self.timeout_s = timeout_s
        """The deadline for all samples of one server; without an end, for each sample."""
        self.max_bytes = max_bytes
        self.count = count
        """Samples of one server; 0 for no end."""
        self.gap_s = gap_s
        self.zone = zone
        self.limits = limits
        self.kept = kept
        """How many bytes of a reply are kept, for the output: no reply with a time is longer than the default."""
        self.kept_if_refused = kept_if_refused
        """The same for a reply that is incomplete or too long."""

    def samples(self, address: Address) -> Iterator[Answer]:
        """Ask one server, as often as requested and as the timeout allows."""
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
                answer = ask(address, self.request, share_s, self.max_bytes, place, self.kept)
            except KeyboardInterrupt:
                if self.count == 1:
                    raise
                yield _unanswered(address, time.monotonic() - asked)
                return
            place = answer.place or place
            if answer.reason is None:
                longest_s = max(longest_s, answer.total_s)
            else:
                answer.keep(self.kept_if_refused)
            yield answer
            number += 1
            if number == self.count:
                return
            # a late sample delays the schedule; it is not caught up
            due = max(due + self.gap_s, time.monotonic())
            if self.count and due >= begun + self.timeout_s:
                return
            time.sleep(max(0.0, due - time.monotonic()))

    def _share(self, number: int, begun: float, longest_s: float) -> float:
        """
        Return the seconds for a sample, or 0 if it does not fit.

        Every sample except the last may take half of the remaining time, so that one that hangs does not cost all
        others, but at least twice the time of the slowest one so far. A sample that has less than 1.5 times that is
        skipped: its failure would count against the server.
        """
        if not self.count:
            return self.timeout_s
        left = begun + self.timeout_s - time.monotonic()
        if number and left < 1.5 * longest_s:
            return 0.0
        return left if number == self.count - 1 else min(left, max(left / 2, 2 * longest_s))

    def check(self, address: Address, each: Callable[[Tally, Answer, Interval | None], bool] | None = None) -> Verdict:
        """
        Ask one server, and judge it.

        Args:
            address: The server.
            each: Called with every answer once it is counted, and with the offset that it shows; returns whether
                anybody waits for more. Without that, samples without an end have one; their state is that of all.
        """
        tally = Tally(address)
        try:
            for answer in self.samples(address):
                interval = tally.add(answer, self.zone)
                if each and not each(tally, answer, interval) and not self.count:
                    break
        except KeyboardInterrupt:
            # this ends samples without an end; the answers so far are judged
            if not tally.sent:
                raise
        return judge(tally, self.limits, self.count)

    def check_all(self, addresses: Sequence[Address], progress: Callable[[int], None]) -> Iterator[Verdict]:
        """
        Ask many servers side by side; yield their verdicts in the given order, each as soon as those before it.

        Args:
            addresses: The servers.
            progress: Called with the number of outstanding servers whenever it changes.
        """
        # only for several servers
        from queue import Empty, SimpleQueue

        begun = time.monotonic()
        waiting = iter(range(len(addresses)))
        done: SimpleQueue[tuple[int, Verdict | BaseException]] = SimpleQueue()
        guard = allocate_lock()

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

        def take() -> tuple[int, Verdict | BaseException]:
            while True:
                try:
                    return done.get(timeout=_LOOK_S)
                except Empty:
                    if not _count() and done.empty():
                        raise MemoryError from None

        # with the default stack of 8 MiB, many threads would not fit where memory is limited
        stack_size(_STACK_BYTES)
        for started in range(min(len(addresses), _most_at_once())):
            try:
                # an interrupt does not wait for such a thread
                start_new_thread(run, ())
            except RuntimeError:
                # at the limit of processes, the threads started so far do the work; without any, this one does
                if not started:
                    run()
                break
        verdicts: dict[int, Verdict] = {}
        finished = 0
        is_interrupted = False
        try:
            for number, address in enumerate(addresses):
                try:
                    while number not in verdicts and not is_interrupted:
                        progress(len(addresses) - finished)
                        ready, result = take()
                        if isinstance(result, BaseException):
                            raise result
                        verdicts[ready] = result
                        finished += 1
                except KeyboardInterrupt:
                    if not finished:
                        raise
                    is_interrupted = True
                yield verdicts.pop(number) if number in verdicts else self._missing(address, begun)
        finally:
            progress(0)

    def _missing(self, address: Address, begun: float) -> Verdict:
        tally = Tally(address)
        tally.add(_unanswered(address, time.monotonic() - begun), self.zone)
        return judge(tally, self.limits)


def _unanswered(address: Address, seconds: float) -> Answer:
    """Return the answer of an interrupted question."""
    answer = Answer(address)
    answer.total_s = seconds
    answer.reason = f"no reply yet after {seconds:.3g} s"
    return answer


def _most_at_once() -> int:
    """Return the number of servers that the descriptor limit allows at the same time."""
    from resource import RLIMIT_NOFILE, getrlimit  # only for several servers

    descriptors, _ = getrlimit(RLIMIT_NOFILE)
    return max(1, min(MOST_AT_ONCE, (descriptors - _OTHER_DESCRIPTORS) // _DESCRIPTORS_EACH))
