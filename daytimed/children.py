"""
The children of the master: every fork, signal and wait.

The master decides which workers it wants and when to load; this module starts, stops, kills and reaps them.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

from daytimed import clock, signals, worker
from daytimed.counters import LOG_LOST, READY, SERVED, Cells, Counters
from daytimed.errors import EXIT_INTERNAL, StartError
from daytimed.generation import Generation
from daytimed.listeners import Listener
from daytimed.loader import Loader, Note
from daytimed.log.clients import ClientLog
from daytimed.log.log import Log
from daytimed.respawn import HEALTHY_AFTER_S
from daytimed.sockets import Sockets
from daytimed.team import LOOK_S, Child, Team

#: A leaving worker gets SIGTERM again after a delay that doubles, and SIGKILL at the deadline.
FIRST_REPEAT_S = 0.01
LONGEST_REPEAT_S = 0.5
STOP_DEADLINE_S = 5.0

Prepared = tuple[Team, int, worker.Worker, ClientLog]
"""A team and one worker to fork for it: its slot, the worker itself, its client log."""


class Children:
    """All workers that are not reaped yet. Those in `leaving` were asked to stop."""

    def __init__(self, counters: Counters, sockets: Sockets) -> None:
        self._counters = counters
        self._sockets = sockets
        self._prctl = signals.find_prctl()
        self._cells: Cells = counters.slot(0)
        """The slot of this process, master or worker."""
        self.private: Sequence[int] = ()
        """Descriptors that no child may have."""
        self.log: Log
        self.all: dict[int, Child] = {}
        self.leaving: dict[int, Child] = {}
        self.loader: Loader | None = None
        """The load that is going on."""

    def count_lost(self) -> None:
        """Count an event that the log of this process has lost."""
        self._cells[LOG_LOST] += 1

    def load(self, load: Callable[[Note], Any], now: float) -> Loader:
        """
        Start a loader.

        Raises:
            StartError: If no descriptor is left for it.
        """
        try:
            self.loader = Loader(load, partial(self._leave_only, None), now, self._prctl)
        except OSError as error:
            raise StartError(f"the configuration cannot be loaded: {error.strerror}") from None
        return self.loader

    def stop_loading(self) -> None:
        """End the load that is going on, if one is."""
        if self.loader:
            self.loader.kill()
            self.loader = None

    def kill_stuck(self, child: Child) -> None:
        """Kill a worker that makes no progress."""
        seconds = round(child.still * LOOK_S)
        self.log.event("worker_stuck", pid=child.pid, listener=child.team.settings.name, seconds=seconds)
        self.kill(child)

    def start(self, generation: Generation, now: float, *, is_trial: bool) -> list[Child]:
        """
        Start the missing workers; each waits for `let_go`.

        It makes everything before the first fork, and logs after the last: memory that the master writes in between is
        no longer shared with the workers that exist already.

        Args:
            is_trial: Whether another generation serves meanwhile.
        """
        prepared = [each for team in generation.teams for each in self._prepare(generation, team, now)]
        forked = [(pid, each) for each in prepared if (pid := self._fork(generation, each, now, is_trial))]
        started = []
        for pid, (team, slot, own, _) in forked:
            child = Child(pid, team, slot, own.slot, now)
            team.children[pid] = self.all[pid] = child
            started.append(child)
            self.log.event("worker_started", pid=pid, listener=own.name, generation=generation.number)
        return started

    def _prepare(self, generation: Generation, team: Team, now: float) -> Iterator[Prepared]:
        """Make the missing workers of a listener, while there are slots; `_fork` releases those it does not use."""
        team.note_ready()
        for number in range(team.missing if now >= team.respawn.not_before else 0):
            slot = self._counters.acquire()
            if slot is None:
                if number == 0:
                    team.respawn.note_no_process(now, _jitter())
                return
            try:
                own = generation.make_worker(team, self._counters, slot)
                client_log = generation.make_client_log(team, self._counters, slot, generation.log)
            except Exception as error:
                # out of memory, or a bug of ours: the existing workers continue to serve
                if number == 0:
                    self._note_no_worker(team, slot, f"could not be made: {error!r}", now)
                else:
                    # fork the ones before it first; the next turn logs this
                    self._counters.release(slot)
                return
            yield team, slot, own, client_log

    def _fork(self, generation: Generation, prepared: Prepared, now: float, is_trial: bool) -> int | None:
        """Start one worker; return its pid, or None if that is not possible now."""
        team, slot, own, client_log = prepared
        if now < team.respawn.not_before:
            # the one before it has just failed
            self._counters.release(slot)
            return None
        master = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._note_no_worker(team, slot, f"could not be forked: {error.strerror}", now)
            return None
        if pid == 0:
            self._be_worker(master, generation.log, own, client_log, is_trial)
        return pid

    def _note_no_worker(self, team: Team, slot: int, how: str, now: float) -> None:
        self._counters.release(slot)
        team.respawn.note_no_process(now, _jitter())
        name, retry_s = team.settings.name, round(team.respawn.not_before - now, 1)
        self.log.event("worker_exited", level="warning", pid=None, listener=name, how=how, retry_s=retry_s)

    def _be_worker(self, master: int, log: Log, own: worker.Worker, client_log: ClientLog, is_trial: bool) -> NoReturn:
        """Run a worker in the child; never return into the master's code."""
        code = EXIT_INTERNAL
        try:
            self._cells = own.slot
            if self.loader:
                os.close(self.loader.file)
            self._leave_only(own.listener)
            if is_trial:
                # the master reads the zone when this generation takes over: the current one keeps its own until then
                clock.read_local_zone()
            code = worker.main(own, master, self._prctl, log, client_log)
        except BaseException as error:
            how, trace = f"failed: {error!r}", traceback.format_exc()
            log.event("worker_exited", level="error", pid=os.getpid(), listener=own.name, how=how, exception=trace)
        finally:
            os._exit(code)

    def _leave_only(self, own: Listener | None) -> None:
        """In a child, close the descriptors of the master, except one listener."""
        for descriptor in self.private:
            os.close(descriptor)
        self._sockets.leave_only(own)

    def retire(self, generation: Generation, now: float) -> None:
        """Ask the workers of a generation to stop."""
        for team in generation.teams:
            for child in team.children.values():
                child.signal_at = now
                child.signal_delay_s = FIRST_REPEAT_S
                child.kill_at = now + STOP_DEADLINE_S
                self.leaving[child.pid] = child
            team.children.clear()

    def urge(self, now: float) -> None:
        """Signal leaving workers again, and kill those that are late."""
        for child in self.leaving.values():
            if now >= child.kill_at:
                self.kill(child)
                child.kill_at = now + STOP_DEADLINE_S
            elif now >= child.signal_at and not child.killed:
                os.kill(child.pid, signal.SIGTERM)
                child.signal_at = now + child.signal_delay_s
                child.signal_delay_s = min(child.signal_delay_s * 2, LONGEST_REPEAT_S)

    @property
    def urge_at(self) -> float | None:
        """When to call `urge` again; None if no worker is leaving."""
        times = [each.kill_at if each.killed else min(each.signal_at, each.kill_at) for each in self.leaving.values()]
        return min(times, default=None)

    @property
    def is_any_held(self) -> bool:
        """Whether a worker is stopped, or makes no progress."""
        return any(child.stopped or child.still for child in self.all.values())

    def hurry(self, now: float) -> None:
        """Kill all workers at the next `urge`."""
        for child in self.all.values():
            child.kill_at = now

    def kill(self, child: Child) -> None:
        """Kill a worker; `reap` buries it."""
        child.killed = True
        os.kill(child.pid, signal.SIGKILL)

    def reap(self, now: float) -> bool:
        """
        Handle every child that has ended, stopped or continued; one SIGCHLD can stand for several.

        Returns:
            Whether one has stopped or continued.
        """
        moved = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return moved
            if pid == 0:
                return moved
            child = self.all.get(pid)
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                if child:
                    child.stopped = os.WIFSTOPPED(status)
                    moved = True
            elif child:
                self._bury(child, status, now)
            elif self.loader and pid == self.loader.pid:
                self.loader.note_exit(status)
            # else: a process that became this one by exec may have left a child

    def _bury(self, child: Child, status: int, now: float) -> None:
        code = os.waitstatus_to_exitcode(status)
        ready, served = bool(child.cells[READY]), child.cells[SERVED]
        lost = self._counters.release(child.slot)
        del self.all[child.pid]
        leaving = self.leaving.pop(child.pid, None) is not None
        child.team.children.pop(child.pid, None)
        expected = leaving and code == 0
        if code < 0:
            how = f"was killed by {signals.name_of(-code)}"
        else:
            how = "stopped as asked" if expected else f"exited with status {code}"
        fields = {"pid": child.pid, "listener": child.team.settings.name, "how": how, "served": served, "lost": lost}
        self.log.event("worker_exited", level="info" if expected else "warning", **fields)
        if not leaving:
            # status 0 without our request: another process has sent SIGTERM; the worker has not failed
            healthy = served > 0 or code == 0 or (ready and now - child.started_at >= HEALTHY_AFTER_S)
            child.team.respawn.note_death(now, ready=ready, healthy=healthy, jitter=_jitter())

    def end(self) -> None:
        """Kill and reap the remaining workers, whatever happened before."""
        for child in self.all.values():
            self.kill(child)
            os.waitpid(child.pid, 0)
            self._counters.release(child.slot)


def let_go(child: Child) -> None:
    """Let a worker begin to serve; the signal stays pending until it is ready."""
    os.kill(child.pid, signals.GO)


def _jitter() -> float:
    """Return a number from 0 to 1. One random byte is enough, and `random` would load hashlib."""
    return os.urandom(1)[0] / 255
