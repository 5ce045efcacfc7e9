"""
The master: keeps the desired state and the actual workers, and reconciles them.

`phases` says where it is, and where each event leads. It takes signals one by one from `signals.wait`, and nothing
interrupts it. With nothing to do it sleeps until the next signal. Workers answer the clients; the master answers only
those that no worker will accept (`backlog`).
"""

from __future__ import annotations

import gc
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from daytimed import __version__, clock, signals
from daytimed.backlog import Backlog
from daytimed.children import Children, let_go
from daytimed.config.settings import Config
from daytimed.counters import Counters
from daytimed.errors import DaytimedError, StartError
from daytimed.generation import Generation, Loaded, compile_replies, complete
from daytimed.loader import LOAD_DEADLINE_S, Loader, load_error
from daytimed.log.log import Log
from daytimed.lookout import Lookout
from daytimed.phases import Event, Phase, next_phase
from daytimed.reporter import Reporter
from daytimed.sockets import Sockets
from daytimed.systemd import Notifier

#: The workers of a new configuration have this long to become ready.
RELOAD_DEADLINE_S = 10.0

MakeLog = Callable[[Config, Callable[[], None]], Log]
"""Makes the log of a configuration; the second argument is called for each event that is lost."""


class Master:
    """The supervisor of one daemon."""

    def __init__(
        self, load: Callable[[], Config], make_log: MakeLog, about: Mapping[str, Any], notifier: Notifier
    ) -> None:
        """
        Make a master.

        Args:
            load: Loads the configuration, now and at every reload.
            make_log: Makes the log of a configuration.
            about: Fields of the first event: how this daemon was started.
            notifier: Notifies the service manager.
        """
        self._load = load
        self._make_log = make_log
        self._about = about
        self._notifier = notifier
        self._started_at = time.monotonic()
        self._counters = Counters()
        self.sockets = Sockets(notifier)
        self._children = Children(self._counters, self.sockets)
        self._reporter = Reporter(self._counters, notifier, self._started_at)
        self._lookout = Lookout(self._counters, self._reporter)
        self._on_ready: Callable[[], None] = lambda: None
        self._log: Log
        self._phase = Phase.STARTING
        self._generations = 0
        self._current: Generation | None = None
        """The generation that serves; None until the first one does."""
        self._pending: Generation | None = None
        """The generation on trial, until its workers are ready."""
        self._pending_until = math.inf
        self._reload_wanted = False
        self._stop_signal = 0

    def open(self, passed: Sequence[tuple[str, int]] = (), client: tuple[socket.socket, str] | None = None) -> bool:
        """
        Load the configuration and open every listener; return False if a signal asks to stop meanwhile.

        Args:
            passed: Names and descriptors of sockets that a service manager has bound, or kept for us.
            client: Taken from the queue of the passed socket with this name.

        Raises:
            DaytimedError: With one sentence for each problem.
        """
        signals.prepare_master()
        self.sockets.adopt(passed)
        loader = self._start_loader(time.monotonic())
        while not loader.is_done(time.monotonic()):
            taken = signals.wait(loader.look_at)
            if signals.STOP.intersection(taken):
                self._children.stop_loading()
                return False
            self._reload_wanted |= signals.RELOAD in taken
            self._children.reap(time.monotonic())
        self._pending = self._make_generation(loader)
        if client:
            self._pending.backlog(self._counters).answer(*client)
        return True

    def run(self, on_ready: Callable[[], None] = lambda: None, private: Sequence[int] = ()) -> None:
        """
        Serve until stopped.

        Args:
            on_ready: Called once, when every listener has its workers.
            private: Descriptors that workers close.

        Raises:
            StartError: If no worker can be started.
        """
        assert self._pending, "open() comes before run()"
        self._on_ready = on_ready
        self._children.private = private
        self._pending.log = self._make_log(self._pending.config, self._children.count_lost)
        self._log = self._children.log = self._pending.log
        self._log.event("daemon_starting", version=__version__, pid=os.getpid(), **self._about)
        self._close_unused()
        self._pending.log_listeners(None)
        self._pending.rehearse()
        # from here on the workers share this memory; a garbage collection in one of them must not copy it
        gc.collect()
        gc.freeze()
        try:
            self._converge(time.monotonic())
            while self._phase is not Phase.STOPPING or self._children.leaving:
                self._handle(signals.wait(self._next_deadline()))
        finally:
            self._close()

    def _handle(self, taken: list[int]) -> None:
        """Handle signals; the reconciliation comes last, when everything is known."""
        now = time.monotonic()
        if stop := next((number for number in taken if number in signals.STOP), None):
            if self._phase is Phase.STOPPING:
                self._children.hurry(now)
            self._stop_signal = stop
        self._reload_wanted |= signals.RELOAD in taken
        if self._children.reap(now) or signals.WAKE in taken:
            self._lookout.wake(now)
        if signals.STATISTICS in taken:
            workers = sum(generation.workers for generation in self._generations_alive())
            self._log.event("statistics", **self._reporter.figures(now), workers=workers)
        if self._lookout.look_at is not None and now >= self._lookout.look_at:
            for child in self._lookout.look(self._children.all.values(), now):
                self._children.kill_stuck(child)
            self._reporter.report_suppressed(self._log, now)
            self._lookout.rest(now)
        if self._children.loader and self._children.loader.is_done(now):
            self._finish_load(self._children.loader)
        self._converge(now)
        self._report(now)

    def _converge(self, now: float) -> None:
        """Reconcile: advance the phase, start the missing workers, and signal the leaving ones."""
        # first, so that nothing is started for a daemon that stops; last, because a start can fail at once
        self._advance(now)
        if self._phase is not Phase.STOPPING:
            for generation in self._generations_alive():
                self._fill(generation, now)
        self._advance(now)
        self._children.urge(now)

    def _advance(self, now: float) -> None:
        """Enter the phases that the events lead to."""
        while (phase := next_phase(self._phase, {*self._events(now)})) is not self._phase:
            before, self._phase = self._phase, phase
            if action := _ACTIONS.get((before, phase)):
                action(self, now)
        if self._phase is Phase.STARTING and self._pending and (team := self._pending.hopeless):
            raise StartError(
                f"no worker of {team.settings.name} can be started: {team.respawn.failed_starts} tries failed; "
                "the log says why"
            )

    def _events(self, now: float) -> Iterator[Event]:
        """Yield the events that hold now."""
        if self._stop_signal:
            yield Event.STOP
        if self._reload_wanted:
            yield Event.RELOAD
        if not self._children.leaving:
            yield Event.GONE
        if self._phase is Phase.LOADING and not self._children.loader:
            yield Event.LOADED if self._pending else Event.REJECTED
        elif self._pending and self._pending.is_ready:
            yield Event.READY
        elif self._pending and (self._pending.hopeless or now >= self._pending_until):
            yield Event.FAILED

    def _fill(self, generation: Generation, now: float) -> None:
        started = self._children.start(generation, now, is_trial=self._current not in (None, generation))
        if generation is self._current:
            for child in started:
                let_go(child)
        if started:
            # a worker that never becomes ready is noticed by the lookout
            self._lookout.wake(now)

    # -- from phase to phase -----------------------------------------------------------------------------------------

    def _begin_load(self, now: float) -> None:
        self._reload_wanted = False
        self._log.event("daemon_reloading")
        self._notifier.reloading()
        try:
            self._start_loader(now)
        except DaytimedError as error:
            self._reject(error)

    def _finish_load(self, loader: Loader) -> None:
        try:
            self._pending = self._make_generation(loader)
            self._pending.log = self._make_log(self._pending.config, self._children.count_lost)
        except Exception as error:
            self._pending, failure = None, load_error(error)
        if not self._pending:
            # not before: the exception holds the memory of the load
            self._close_unused()
            self._reject(failure)

    def _begin_trial(self, now: float) -> None:
        # loading may have taken longer than the trial may
        self._pending_until = time.monotonic() + RELOAD_DEADLINE_S

    def _begin_service(self, now: float) -> None:
        """Let the first workers serve."""
        generation = self._take_over(now)
        listeners, workers = len(generation.teams), generation.workers
        seconds = round(now - self._started_at, 3)
        self._log.event("daemon_ready", listeners=listeners, workers=workers, seconds=seconds)
        self._reporter.notify_ready(listeners, workers, now)
        self._on_ready()

    def _replace(self, now: float) -> None:
        """Let the new workers serve, and retire the ones before them."""
        before = self._current
        assert before, "only a generation that serves can be replaced"
        # by the log of the generation whose clients were suppressed
        self._reporter.report_suppressed(self._log, now, at_once=True)
        generation = self._take_over(now)
        self._children.retire(before, now)
        generation.log_listeners(before)

    def _take_over(self, now: float) -> Generation:
        generation, self._pending = self._pending, None
        assert generation, "READY without a generation on trial"
        self._current = generation
        # later workers must have the local zone that these have read
        clock.read_local_zone()
        for team in generation.teams:
            for child in team.children.values():
                let_go(child)
        self._log = self._children.log = generation.log
        return generation

    def _finish_reload(self, now: float) -> None:
        """Report the reload: from now on every client is served by the new configuration."""
        self._close_unused()
        if generation := self._current:
            self._log.event("daemon_reloaded", generation=generation.number, workers=generation.workers)
            self._reporter.notify_ready(len(generation.teams), generation.workers, now)

    def _withdraw(self, now: float) -> None:
        self._reject(StartError("the workers of the new configuration do not start; the log says why"))
        pending, self._pending = self._pending, None
        if pending:
            self._children.retire(pending, now)
        self._close_unused()

    def _stop(self, now: float) -> None:
        self._log.event("daemon_stopping", signal=signals.name_of(self._stop_signal))
        self._notifier.send(STOPPING=1, STATUS="Stopping")
        self._children.stop_loading()
        for generation in self._generations_alive():
            self._children.retire(generation, now)

    def _reject(self, error: DaytimedError) -> None:
        more = {"exception": error.trace} if error.trace else {}
        self._log.event("reload_rejected", error="; ".join(error.problems), **more)
        self._reporter.notify_rejected("; ".join(error.problems))

    def _start_loader(self, now: float) -> Loader:
        self._notifier.extend_timeout(LOAD_DEADLINE_S + RELOAD_DEADLINE_S)
        return self._children.load(lambda note: complete(self._load(), self.sockets, note), now)

    def _make_generation(self, loader: Loader) -> Generation:
        self._children.loader = None
        loaded: Loaded = loader.take()
        replies = compile_replies(loaded.config, loaded.zones)
        empty = Backlog(loaded.config, replies, self._counters).empty
        assigned = self.sockets.open(loaded.config, loaded.places, empty)
        self._generations += 1
        return Generation(self._generations, loaded.config, replies, assigned)

    # -- reports -----------------------------------------------------------------------------------------------------

    def _report(self, now: float) -> None:
        """Log losses, and notify the service manager of the workers."""
        self._reporter.report_losses(self._log)
        if self._current and self._phase is not Phase.STOPPING:
            is_healthy = self._current.is_complete and not self._children.is_any_held
            self._reporter.notify_state(len(self._current.teams), self._current.workers, now, is_healthy=is_healthy)

    # -- state -------------------------------------------------------------------------------------------------------

    def _generations_alive(self) -> list[Generation]:
        return [generation for generation in (self._current, self._pending) if generation]

    def _close_unused(self) -> None:
        alive = self._generations_alive()
        used = {team.listener for generation in alive for team in generation.teams}
        self.sockets.close_all_but(used, self._log, alive[0].backlog(self._counters).empty)

    def _next_deadline(self) -> float | None:
        """Return when there is something to do without a signal; None if there is nothing."""
        deadlines = [self._lookout.look_at, self._children.urge_at]
        if self._phase is not Phase.STOPPING:
            deadlines.append(self._reporter.feed_at)
            for generation in self._generations_alive():
                deadlines += [team.respawn.not_before for team in generation.teams if team.missing > 0]
        if self._phase is Phase.TRYING:
            deadlines.append(self._pending_until)
        if self._children.loader:
            deadlines.append(self._children.loader.look_at)
        return min((each for each in deadlines if each is not None), default=None)

    def _close(self) -> None:
        """Kill the remaining workers, close the listeners, and log the totals."""
        self._children.end()
        self.sockets.close(self._log)
        now = time.monotonic()
        self._reporter.report_suppressed(self._log, now, at_once=True)
        self._reporter.report_losses(self._log)
        self._log.event("daemon_stopped", **self._reporter.figures(now))


#: The actions, by transition. A rejected or withdrawn reload needs none to serve as before.
_ACTIONS: dict[tuple[Phase, Phase], Callable[[Master, float], None]] = {
    (Phase.STARTING, Phase.SERVING): Master._begin_service,
    (Phase.SERVING, Phase.LOADING): Master._begin_load,
    (Phase.LOADING, Phase.TRYING): Master._begin_trial,
    (Phase.TRYING, Phase.REPLACING): Master._replace,
    (Phase.TRYING, Phase.WITHDRAWING): Master._withdraw,
    (Phase.REPLACING, Phase.SERVING): Master._finish_reload,
    **{(phase, Phase.STOPPING): Master._stop for phase in Phase if phase is not Phase.STOPPING},
}
