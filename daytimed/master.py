"""
The master: forks, reaps, reloads and stops; serves no client.

It holds the state that is wanted and the workers that there are, and makes the second like the first in one place,
`_converge`, after every event. Signals come one by one from `signals.wait`; nothing ever interrupts it. With nothing
to do it sleeps for ever: it looks at the workers' slots only while clients come, and the first worker that serves
one after a quiet time wakes it.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from daytimed import __version__, signals, worker
from daytimed.config import Config
from daytimed.counters import BUSY_SINCE, LOG_LOST, READY, SERVED, WATCHED, Counters, Counts
from daytimed.errors import EXIT_INTERNAL, EXIT_OK, DaytimedError, StartError
from daytimed.generation import Child, Generation, MakeLog, Team, open_all
from daytimed.listeners import Listener
from daytimed.respawn import HEALTHY_AFTER_S

#: How often the slots are looked at while clients come.
LOOK_S = 1.0
#: So many looks at a worker that has not moved, and it is stuck. Looks are counted and not seconds, so that a machine
#: that was paused does not lose all its workers when it goes on.
STUCK_LOOKS = 5
#: Clients that are not logged one by one are summed up when they become few again, and at the latest after this.
SUMMARY_S = 10.0
#: A worker that is asked to stop is asked again, ever less often, and killed at the deadline.
FIRST_REPEAT_S = 0.01
LONGEST_REPEAT_S = 0.5
STOP_DEADLINE_S = 5.0
#: The workers of a new configuration have this long to become ready.
RELOAD_DEADLINE_S = 10.0


class Master:
    """The supervisor of one daemon."""

    def __init__(
        self, load: Callable[[], Config], log_maker: Callable[[Config], MakeLog], about: Mapping[str, Any]
    ) -> None:
        """
        Make a master.

        Args:
            load: Loads the configuration, now and at every reload.
            log_maker: From a configuration to what makes its logs.
            about: Fields of the first event: how this daemon was started.
        """
        self._about = about
        self._private: Sequence[int] = ()
        self._load = load
        self._log_maker = log_maker
        self._counters = Counters()
        self._prctl = signals.find_prctl()
        self._pid = os.getpid()
        self._started_at = time.monotonic()
        self._current: Generation | None = None
        self._pending: Generation | None = None
        self._pending_until = 0.0
        self._retired: dict[int, tuple[Child, Team]] = {}
        self._listeners: list[Listener] = []
        self._generations = 0
        self._ready = False
        self._stopping = False
        self._reload_wanted = False
        self._reloading = False
        """Whether a generation has taken over and the workers before it are still on their way out."""
        self._look_at: float | None = None
        self._last_accepted = 0
        self._summary_at = 0.0
        self._told = Counts()
        self._last_suppressed = 0

    def open(self) -> None:
        """
        Load the configuration and open every listener.

        Raises:
            DaytimedError: With nothing left open.
        """
        self._pending = self._make_generation(self._load())
        # not before: a name server that does not answer must not keep Ctrl-C from ending the start
        signals.prepare_master()

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that have to stay open when the daemon detaches."""
        return [listener.socket.fileno() for listener in self._listeners]

    def run(self, on_ready: Callable[[], None], private: Sequence[int] = ()) -> int:
        """
        Serve until stopped.

        Args:
            on_ready: Called once, when every listener has its workers.
            private: Descriptors that no worker needs.

        Returns:
            The exit code.

        Raises:
            StartError: If no worker can be started.
        """
        self._pid = os.getpid()
        self._private = private
        self._tell_start()
        # what is there now is shared with every worker; a collection in one must not copy it
        gc.collect()
        gc.freeze()
        try:
            self._converge(time.monotonic())
            while not self._is_done:
                self._handle(signals.wait(self._next_deadline()))
                if self._current and not self._ready:
                    self._ready = True
                    on_ready()
        finally:
            self._close()
        return EXIT_OK

    def _handle(self, taken: list[int]) -> None:
        """Do what the signals ask for: stop before all else, and the convergence last, when everything is known."""
        now = time.monotonic()
        if signals.STOP & set(taken):
            self._stop(signal.Signals(next(number for number in taken if number in signals.STOP)), now)
        self._reap(now)
        if signals.RELOAD in taken:
            self._reload_wanted = True
        if signals.STATISTICS in taken:
            self._tell_statistics()
        if signals.WAKE in taken and not self._stopping and self._look_at is None:
            self._watch(now)
        if self._look_at is not None and now >= self._look_at:
            self._look(now)
        self._converge(now)
        self._tell_losses()

    # -- what is wanted ------------------------------------------------------------------------------------------

    def _stop(self, number: signal.Signals, now: float) -> None:
        if self._stopping:
            for child, _ in self._all_children():
                child.kill_at = now
            return
        self._stopping = True
        self._log.event("daemon_stopping", signal=number.name)
        for generation in self._generations_alive():
            self._retire(generation, now)

    def _reload(self, now: float) -> None:
        self._reload_wanted = False
        self._log.event("daemon_reloading")
        try:
            self._pending = self._make_generation(self._load())
        except DaytimedError as error:
            self._reject("; ".join(str(error).splitlines()))
            return
        self._pending_until = now + RELOAD_DEADLINE_S

    def _make_generation(self, config: Config) -> Generation:
        listeners, opened = open_all(config, self._listeners)
        self._listeners += opened
        self._generations += 1
        return Generation(self._generations, config, listeners)

    def _reject(self, error: str) -> None:
        self._log.event("reload_rejected", error=error)

    def _abandon(self, generation: Generation, now: float) -> None:
        """Take a generation back that has not served yet."""
        self._pending = None
        self._retire(generation, now)
        self._close_unused()

    def _commit(self, generation: Generation, now: float) -> None:
        """Let a generation that is ready take over."""
        first = self._current is None
        if self._current:
            self._retire(self._current, now)
        known = {team.listener for team in self._current.teams} if self._current else set()
        self._current, self._pending = generation, None
        self._use_log(generation.config)
        if first:
            seconds = round(now - self._started_at, 3)
            self._log.event(
                "daemon_ready", listeners=len(generation.teams), workers=generation.workers, seconds=seconds
            )
            return
        self._tell_listeners([team for team in generation.teams if team.listener not in known])
        self._close_unused()
        self._reloading = True

    def _close_unused(self) -> None:
        used = {team.listener for generation in self._generations_alive() for team in generation.teams}
        for listener in [each for each in self._listeners if each not in used]:
            self._listeners.remove(listener)
            address = listener.address
            listener.close()
            self._log.event("listener_closed", address=address)

    # -- making it so --------------------------------------------------------------------------------------------

    def _converge(self, now: float) -> None:
        """Make the workers there are those that are wanted."""
        if self._reloading and self._current and not self._retired:
            # only now is every client served by what the new configuration says
            self._reloading = False
            self._log.event("daemon_reloaded", generation=self._current.number, workers=self._current.workers)
        if self._reload_wanted and not self._pending and not self._reloading and not self._stopping:
            # one after the other: signals that come faster than workers start must not keep each other from the end
            self._reload(now)
        if not self._stopping:
            for generation in self._generations_alive():
                self._fill(generation, now)
            self._judge_pending(now)
        for child, _ in self._retired.values():
            if now >= child.kill_at:
                self._kill(child)
                child.kill_at = now + STOP_DEADLINE_S
            elif now >= child.signal_at and not child.killed:
                os.kill(child.pid, signal.SIGTERM)
                child.signal_at = now + child.signal_delay_s
                child.signal_delay_s = min(child.signal_delay_s * 2, LONGEST_REPEAT_S)

    def _fill(self, generation: Generation, now: float) -> None:
        for team in generation.teams:
            for child in team.children.values():
                if not child.was_ready and child.cells[READY]:
                    child.was_ready = True
                    team.respawn.note_ready()
            while team.missing > 0 and now >= team.respawn.not_before:
                if not self._spawn(generation, team, now):
                    break

    def _judge_pending(self, now: float) -> None:
        generation = self._pending
        if generation and generation.is_ready:
            self._commit(generation, now)
        elif generation and self._current and (generation.hopeless or now >= self._pending_until):
            self._reject("the workers of the new configuration do not start")
            self._abandon(generation, now)
        elif generation and not self._current and (team := generation.hopeless):
            raise StartError(
                f"no worker of {team.settings.name} can be started: {team.respawn.failed_starts} tries failed; "
                "the log says why"
            )

    def _spawn(self, generation: Generation, team: Team, now: float) -> bool:
        slot = self._counters.acquire()
        if slot is None:
            team.respawn.note_failed_fork(now, random.random())
            return False
        try:
            pid = os.fork()
        except OSError as error:
            self._counters.release(slot)
            team.respawn.note_failed_fork(now, random.random())
            self._log.event(
                "worker_exited",
                level="warning",
                pid=None,
                listener=team.settings.name,
                how=f"could not be forked: {error.strerror}",
                retry_s=round(team.respawn.not_before - now, 1),
            )
            return False
        if pid == 0:
            self._be_worker(generation, team, slot)
        team.children[pid] = Child(pid, slot, self._counters.slot(slot), now)
        self._log.event("worker_started", pid=pid, listener=team.settings.name, generation=generation.number)
        return True

    def _be_worker(self, generation: Generation, team: Team, slot: int) -> NoReturn:
        """Run a worker in the child, and never return into the master's code."""
        code = EXIT_INTERNAL
        try:
            for descriptor in self._private:
                os.close(descriptor)
            # the listeners of others: a copy here would keep them open after their end
            for listener in self._listeners:
                if listener is not team.listener:
                    listener.socket.close()
            make_log = self._log_maker(generation.config)
            own = generation.make_worker(team, self._counters, slot)
            make_logs = partial(generation.make_worker_logs, make_log, own, self._counters)
            code = worker.main(own, self._pid, self._prctl, make_logs)
        except BaseException as error:
            self._log.event(
                "worker_exited",
                level="error",
                pid=os.getpid(),
                listener=team.settings.name,
                how=f"failed: {error!r}",
                exception=traceback.format_exc(),
            )
        finally:
            os._exit(code)

    def _retire(self, generation: Generation, now: float) -> None:
        for team in generation.teams:
            for child in team.children.values():
                child.retiring = True
                child.signal_at = now
                child.signal_delay_s = FIRST_REPEAT_S
                child.kill_at = now + STOP_DEADLINE_S
                self._retired[child.pid] = (child, team)
            team.children.clear()

    def _kill(self, child: Child) -> None:
        child.killed = True
        os.kill(child.pid, signal.SIGKILL)

    # -- what has happened ---------------------------------------------------------------------------------------

    def _reap(self, now: float) -> None:
        """Take note of every child that has ended, stopped or gone on; one SIGCHLD may stand for many."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            found = self._find(pid)
            if found is None:
                # no worker: whoever ran us may have left us a child
                continue
            child, team = found
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                child.stopped = os.WIFSTOPPED(status)
                if child.stopped and self._look_at is None:
                    self._watch(now)
                continue
            self._bury(child, team, status, now)

    def _find(self, pid: int) -> tuple[Child, Team] | None:
        return next(((child, team) for child, team in self._all_children() if child.pid == pid), None)

    def _bury(self, child: Child, team: Team, status: int, now: float) -> None:
        code = os.waitstatus_to_exitcode(status)
        ready, served = bool(child.cells[READY]), child.cells[SERVED]
        lost = self._counters.release(child.slot)
        team.children.pop(child.pid, None)
        self._retired.pop(child.pid, None)
        expected = child.retiring and code == 0
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = "stopped as asked" if expected else f"exited with status {code}"
        fields = {"pid": child.pid, "listener": team.settings.name, "how": how, "served": served, "lost": lost}
        self._log.event("worker_exited", level="info" if expected else "warning", **fields)
        if not child.retiring:
            healthy = served > 0 or (ready and now - child.started_at >= HEALTHY_AFTER_S)
            team.respawn.note_death(now, ready=ready, healthy=healthy, jitter=random.random())

    def _watch(self, now: float) -> None:
        self._counters.head[WATCHED] = 1
        self._look_at = now + LOOK_S

    def _look(self, now: float) -> None:
        """Look at every slot; go back to sleep when nothing has moved since the last look."""
        moving = False
        for child, team in self._all_children():
            busy_since = child.cells[BUSY_SINCE]
            held = child.stopped or (busy_since != 0 and busy_since == child.busy_since)
            child.still = child.still + 1 if held else 0
            child.busy_since = busy_since
            moving = moving or busy_since != 0 or child.stopped
            if child.still >= STUCK_LOOKS and not child.killed:
                seconds = round(child.still * LOOK_S)
                self._log.event("worker_stuck", pid=child.pid, listener=team.settings.name, seconds=seconds)
                self._kill(child)
        total = self._counters.total()
        self._tell_suppressed(total, now)
        if not moving and total.accepted == self._last_accepted and not self._untold_suppressed(total):
            self._look_at = None
            self._counters.head[WATCHED] = 0
            # a client that came in between has seen 1 and woken nobody
            if self._counters.total().accepted == total.accepted:
                return
        self._last_accepted = total.accepted
        self._watch(now)

    # -- telling -------------------------------------------------------------------------------------------------

    def _use_log(self, config: Config) -> None:
        own = self._counters.slot(0)

        def count_lost() -> None:
            own[LOG_LOST] += 1

        self._log = self._log_maker(config)(count_lost)

    def _tell_start(self) -> None:
        assert self._pending, "open() comes before run()"
        self._use_log(self._pending.config)
        self._log.event("daemon_starting", version=__version__, pid=self._pid, **self._about)
        self._tell_listeners(self._pending.teams)

    def _tell_listeners(self, teams: list[Team]) -> None:
        for team in teams:
            self._log.event(
                "listener_opened",
                listener=team.settings.name,
                address=team.listener.address,
                format=team.settings.format,
                workers=team.wanted,
            )

    def _untold_suppressed(self, total: Counts) -> int:
        told = self._told.suppressed_served + self._told.suppressed_dropped
        return total.suppressed_served + total.suppressed_dropped - told

    def _tell_suppressed(self, total: Counts, now: float, *, at_once: bool = False) -> None:
        untold = self._untold_suppressed(total)
        growing = untold != self._last_suppressed
        if growing and not self._last_suppressed:
            self._summary_at = now + SUMMARY_S
        self._last_suppressed = untold
        if not untold or (growing and now < self._summary_at and not at_once):
            return
        self._log.event(
            "clients_suppressed",
            served=total.suppressed_served - self._told.suppressed_served,
            dropped=total.suppressed_dropped - self._told.suppressed_dropped,
        )
        self._told.suppressed_served = total.suppressed_served
        self._told.suppressed_dropped = total.suppressed_dropped
        self._last_suppressed = 0

    def _tell_losses(self) -> None:
        lost = self._counters.total().log_lost - self._told.log_lost
        if lost and self._log.event("log_lost", lost=lost):
            self._told.log_lost += lost

    def _tell_statistics(self) -> None:
        workers = sum(generation.workers for generation in self._generations_alive())
        self._log.event("statistics", **self._figures(), workers=workers)

    def _figures(self) -> dict[str, Any]:
        total = self._counters.total()
        return {
            "accepted": total.accepted,
            "served": total.served,
            "dropped": sum(total.dropped),
            **total.by_reason(),
            "uptime_s": round(time.monotonic() - self._started_at, 1),
        }

    # -- state ---------------------------------------------------------------------------------------------------

    def _generations_alive(self) -> list[Generation]:
        return [generation for generation in (self._current, self._pending) if generation]

    def _all_children(self) -> Iterator[tuple[Child, Team]]:
        for generation in self._generations_alive():
            for team in generation.teams:
                yield from ((child, team) for child in list(team.children.values()))
        yield from list(self._retired.values())

    @property
    def _is_done(self) -> bool:
        return self._stopping and not self._retired

    def _next_deadline(self) -> float | None:
        """Return when there is something to do without a signal; None if there is nothing."""
        deadlines = [self._look_at] if self._look_at is not None else []
        for child, _ in self._retired.values():
            deadlines.append(child.kill_at if child.killed else min(child.signal_at, child.kill_at))
        if not self._stopping:
            for generation in self._generations_alive():
                deadlines += [team.respawn.not_before for team in generation.teams if team.missing > 0]
            if self._pending and self._current:
                deadlines.append(self._pending_until)
        return min(deadlines, default=None)

    def _close(self) -> None:
        """End what is left, whatever happened before, and tell the sum of it all."""
        for child, _ in self._all_children():
            self._kill(child)
            os.waitpid(child.pid, 0)
            self._counters.release(child.slot)
        for listener in self._listeners:
            address = listener.address
            listener.close()
            self._log.event("listener_closed", address=address)
        self._tell_suppressed(self._counters.total(), time.monotonic(), at_once=True)
        self._tell_losses()
        self._log.event("daemon_stopped", **self._figures())
