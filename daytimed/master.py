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
import signal
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from daytimed import __version__, clock, signals, worker
from daytimed.addresses import Address
from daytimed.clientlog import ClientLog
from daytimed.config import Config
from daytimed.counters import LOG_LOST, READY, SERVED, WATCHED, Cells, Counters
from daytimed.errors import EXIT_INTERNAL, EXIT_OK, DaytimedError, StartError
from daytimed.generation import Child, Generation, Team, adopt_passed, compile_replies, open_all, stored_name
from daytimed.listeners import Listener
from daytimed.log import Log
from daytimed.reporter import Reporter
from daytimed.respawn import HEALTHY_AFTER_S
from daytimed.systemd import Notifier

#: How often the slots are looked at while clients come.
LOOK_S = 1.0
#: So many looks at a worker that has not moved, and it is stuck. Looks are counted and not seconds, so that a machine
#: that was paused does not lose all its workers when it goes on.
STUCK_LOOKS = 5
#: A worker that is asked to stop is asked again, ever less often, and killed at the deadline.
FIRST_REPEAT_S = 0.01
LONGEST_REPEAT_S = 0.5
STOP_DEADLINE_S = 5.0
#: The workers of a new configuration have this long to become ready.
RELOAD_DEADLINE_S = 10.0

MakeLog = Callable[[Config, Callable[[], None]], Log]
"""Makes a log as a configuration has it; the second argument is called for each event that is lost."""


class Master:
    """The supervisor of one daemon."""

    def __init__(
        self, load: Callable[[], Config], make_log: MakeLog, about: Mapping[str, Any], notifier: Notifier
    ) -> None:
        """
        Make a master.

        Args:
            load: Loads the configuration, now and at every reload.
            make_log: Makes the logs, of master and workers.
            about: Fields of the first event: how this daemon was started.
            notifier: Tells the service manager.
        """
        self._load = load
        self._make_log = make_log
        self._about = about
        self._notifier = notifier
        self._counters = Counters()
        self._started_at = time.monotonic()
        self._reporter = Reporter(self._counters, notifier, self._started_at)
        self._prctl = signals.find_prctl()
        self._private: Sequence[int] = ()
        self._on_ready: Callable[[], None] = lambda: None
        self._log: Log
        self._cells: Cells = self._counters.slot(0)
        """Those of this process, master or worker."""
        self._listeners: list[Listener] = []
        self._generations = 0
        self._current: Generation | None = None
        self._pending: Generation | None = None
        self._pending_until = 0.0
        self._children: dict[int, Child] = {}
        """All workers that are not reaped yet; the next are those of them that were asked to stop."""
        self._retired: dict[int, Child] = {}
        self._stopping = False
        self._reload_wanted = False
        self._reloading = False
        """Whether a generation has taken over and the workers before it are still on their way out."""
        self._look_at: float | None = None
        self._last_accepted = 0

    def open(self, passed: Sequence[tuple[str, int]] = ()) -> None:
        """
        Load the configuration and open every listener.

        Args:
            passed: Names and descriptors of sockets that a service manager has bound, or kept for us.

        Raises:
            DaytimedError: With one sentence, or more.
        """
        self._listeners = [adopt_passed(name, descriptor) for name, descriptor in passed]
        self._pending = self._make_generation(self._load())
        # not before: a name server that does not answer must not keep Ctrl-C from ending the start
        signals.prepare_master()

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that have to stay open when the daemon detaches."""
        return [listener.socket.fileno() for listener in self._listeners]

    def run(self, on_ready: Callable[[], None] = lambda: None, private: Sequence[int] = ()) -> int:
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
        assert self._pending, "open() comes before run()"
        self._on_ready = on_ready
        self._private = private
        self._log = self._pending.log = self._make_log(self._pending.config, self._count_lost)
        self._log.event("daemon_starting", version=__version__, pid=os.getpid(), **self._about)
        self._tell_listeners(self._pending.teams)
        self._tell_ignored(self._pending, known=())
        self._close_unused()
        # what is there now is shared with every worker; a collection in one must not copy it
        gc.collect()
        gc.freeze()
        try:
            self._converge(time.monotonic())
            while not (self._stopping and not self._retired):
                self._handle(signals.wait(self._next_deadline()))
        finally:
            self._close()
        return EXIT_OK

    def _handle(self, taken: list[int]) -> None:
        """Do what the signals ask for: stop before all else, and the convergence last, when everything is known."""
        now = time.monotonic()
        if stop := next((number for number in taken if number in signals.STOP), None):
            self._stop(signals.name_of(stop), now)
        self._reap(now)
        if signals.RELOAD in taken:
            self._reload_wanted = True
        if signals.STATISTICS in taken:
            workers = sum(generation.workers for generation in self._generations_alive())
            self._log.event("statistics", **self._reporter.figures(now), workers=workers)
        if signals.WAKE in taken:
            self._watch(now)
        if self._look_at is not None and now >= self._look_at:
            self._look(now)
        self._converge(now)
        self._reporter.tell_losses(self._log)
        if self._current and not self._stopping:
            listeners, workers = len(self._current.teams), self._current.workers
            self._reporter.tell_change(listeners, workers, now)
            feed_at = self._reporter.feed_at
            if feed_at is not None and now >= feed_at:
                self._reporter.tell_health(self._is_healthy(), listeners, workers, now)

    # -- what is wanted ------------------------------------------------------------------------------------------

    def _stop(self, name: str, now: float) -> None:
        if self._stopping:
            for child in self._children.values():
                child.kill_at = now
            return
        self._stopping = True
        self._log.event("daemon_stopping", signal=name)
        self._notifier.send(STOPPING=1, STATUS="Stopping")
        for generation in self._generations_alive():
            self._retire(generation, now)

    def _reload(self) -> None:
        self._reload_wanted = False
        self._log.event("daemon_reloading")
        self._notifier.reloading()
        failure, more = "", {}
        try:
            generation = self._make_generation(self._load())
            generation.log = self._make_log(generation.config, self._count_lost)
            self._pending = generation
        except DaytimedError as error:
            failure = "; ".join(str(error).splitlines())
        except MemoryError:
            failure = "there is not enough memory for the configuration"
        except Exception as error:
            # whatever it is, the workers that are there serve on
            failure, more = f"the configuration cannot be loaded: {error!r}", {"exception": traceback.format_exc()}
        if failure:
            # only here: until its exception is gone, so is the memory that a load has used
            self._close_unused()
            self._reject(failure, **more)
            return
        # from now on: a name server may have taken its time
        self._pending_until = time.monotonic() + RELOAD_DEADLINE_S

    def _reject(self, error: str, **more: str) -> None:
        self._log.event("reload_rejected", error=error, **more)
        # ready as before: a reload that fails has changed nothing
        self._notifier.send(READY=1, STATUS=f"The last reload was rejected: {error}")

    def _make_generation(self, config: Config) -> Generation:
        replies = compile_replies(config)
        listeners, opened = open_all(config, self._listeners)
        self._listeners += opened
        if self._notifier:
            for listener in opened:
                self._store(listener)
        self._generations += 1
        return Generation(self._generations, config, replies, listeners)

    def _abandon(self, generation: Generation, now: float) -> None:
        """Take back a generation that has not served."""
        self._pending = None
        self._retire(generation, now)
        self._close_unused()

    def _commit(self, generation: Generation, now: float) -> None:
        """Let a generation take over whose workers are all ready."""
        before, self._current, self._pending = self._current, generation, None
        if before:
            # by the log that has told of the others, if it was to tell of any
            self._reporter.tell_suppressed(self._log, now, at_once=True)
        # the workers that follow are to have it as these have read it
        clock.read_local_zone()
        for team in generation.teams:
            for child in team.children.values():
                self._let_go(child)
        self._log = generation.log
        if before is None:
            seconds = round(now - self._started_at, 3)
            listeners, workers = len(generation.teams), generation.workers
            self._log.event("daemon_ready", listeners=listeners, workers=workers, seconds=seconds)
            self._reporter.tell_ready(listeners, workers, now)
            self._on_ready()
            return
        self._retire(before, now)
        known = {team.listener for team in before.teams}
        self._tell_listeners([team for team in generation.teams if team.listener not in known])
        self._tell_ignored(generation, [settings.address for settings in before.config.listeners])
        self._close_unused()
        self._reloading = True

    def _finish_reload(self, generation: Generation, now: float) -> None:
        """Say that every client is served by what the new configuration says: the workers before it have ended."""
        self._reloading = False
        self._log.event("daemon_reloaded", generation=generation.number, workers=generation.workers)
        self._reporter.tell_ready(len(generation.teams), generation.workers, now)

    def _close_unused(self) -> None:
        used = {team.listener for generation in self._generations_alive() for team in generation.teams}
        for listener in [each for each in self._listeners if each not in used]:
            self._listeners.remove(listener)
            self._notifier.send(FDSTOREREMOVE=1, FDNAME=stored_name(listener.requested))
            self._close_listener(listener)

    def _close_listener(self, listener: Listener) -> None:
        address = listener.address
        listener.close()
        self._log.event("listener_closed", address=address)

    def _store(self, listener: Listener) -> None:
        """Have systemd keep a socket of ours, so that a restart loses no client (FDSTORE of sd_notify(3))."""
        listener.leave_path()
        descriptors = [listener.socket.fileno()]
        self._notifier.send(FDSTORE=1, FDNAME=stored_name(listener.requested), descriptors=descriptors)

    # -- making it so --------------------------------------------------------------------------------------------

    def _converge(self, now: float) -> None:
        """Make the workers there are those that are wanted."""
        if not self._stopping:
            if self._reloading and self._current and not self._retired:
                self._finish_reload(self._current, now)
            # one after the other: signals that come faster than workers start must not keep each other from the end,
            # and workers on their way out still hold sockets that the next configuration may want to bind
            if self._reload_wanted and self._current and not self._pending and not self._retired:
                self._reload()
            for generation in self._generations_alive():
                self._fill(generation, now)
            if self._pending:
                self._judge(self._pending, now)
        for child in self._retired.values():
            if now >= child.kill_at:
                self._kill(child)
                child.kill_at = now + STOP_DEADLINE_S
            elif now >= child.signal_at and not child.killed:
                os.kill(child.pid, signal.SIGTERM)
                child.signal_at = now + child.signal_delay_s
                child.signal_delay_s = min(child.signal_delay_s * 2, LONGEST_REPEAT_S)

    def _fill(self, generation: Generation, now: float) -> None:
        """
        Start the workers that are missing.

        What they need is made before the first fork, and what was done is told after the last: whatever the master
        writes in between is no longer shared, and leaves the worker before it with a copy of its own.
        """
        prepared = [each for team in generation.teams for each in self._prepare(generation, team, now)]
        forked = [(pid, each) for each in prepared if (pid := self._fork(generation, *each, now))]
        for pid, (team, slot, own, _) in forked:
            child = Child(pid, team, slot, own.slot, now)
            team.children[pid] = self._children[pid] = child
            if generation is self._current:
                self._let_go(child)
            self._log.event("worker_started", pid=pid, listener=own.name, generation=generation.number)
            # one that does not even become ready has to be seen, too
            self._watch(now)

    def _prepare(
        self, generation: Generation, team: Team, now: float
    ) -> Iterator[tuple[Team, int, worker.Worker, ClientLog]]:
        """Make what the missing workers of a listener need, as far as there are slots."""
        team.note_ready()
        for number in range(team.missing if now >= team.respawn.not_before else 0):
            slot = self._counters.acquire()
            if slot is None:
                if number == 0:
                    team.respawn.note_no_process(now, _jitter())
                return
            try:
                own = generation.make_worker(team, self._counters, slot)
                client_log = generation.make_client_log(team, generation.log, self._counters, slot)
            except Exception as error:
                # for want of memory or by a fault of ours: the workers that are there serve on
                if number == 0:
                    self._note_no_worker(team, slot, f"could not be made: {error!r}", now)
                else:
                    # those before it are to be forked first; the next turn tells of it
                    self._counters.release(slot)
                return
            yield team, slot, own, client_log

    def _judge(self, pending: Generation, now: float) -> None:
        if pending.is_ready:
            self._commit(pending, now)
        elif not self._current:
            if team := pending.hopeless:
                raise StartError(
                    f"no worker of {team.settings.name} can be started: {team.respawn.failed_starts} tries failed; "
                    "the log says why"
                )
        elif pending.hopeless or now >= self._pending_until:
            self._reject("the workers of the new configuration do not start; the log says why")
            self._abandon(pending, now)

    def _fork(
        self, generation: Generation, team: Team, slot: int, own: worker.Worker, client_log: ClientLog, now: float
    ) -> int | None:
        """Start one worker; return its pid, or None if there can be none now."""
        if now < team.respawn.not_before:
            # one before it has failed, just now
            self._counters.release(slot)
            return None
        try:
            pid = os.fork()
        except OSError as error:
            self._note_no_worker(team, slot, f"could not be forked: {error.strerror}", now)
            return None
        if pid == 0:
            self._be_worker(generation, own, client_log)
        return pid

    def _note_no_worker(self, team: Team, slot: int, how: str, now: float) -> None:
        self._counters.release(slot)
        team.respawn.note_no_process(now, _jitter())
        name, retry_s = team.settings.name, round(team.respawn.not_before - now, 1)
        self._log.event("worker_exited", level="warning", pid=None, listener=name, how=how, retry_s=retry_s)

    def _be_worker(self, generation: Generation, own: worker.Worker, client_log: ClientLog) -> NoReturn:
        """Run a worker in the child, and never return into the master's code."""
        code = EXIT_INTERNAL
        master = os.getppid()
        try:
            self._cells = own.slot
            for descriptor in self._private:
                os.close(descriptor)
            # the listeners of others: a copy here would keep them open after their end
            for listener in self._listeners:
                if listener is not own.listener:
                    listener.socket.close()
            if generation is self._pending and self._current:
                # not in the master: if this generation is given up, the one before goes on with its own
                clock.read_local_zone()
            self._log = generation.log
            code = worker.main(own, master, self._prctl, self._log, client_log)
        except BaseException as error:
            how, trace = f"failed: {error!r}", traceback.format_exc()
            self._log.event(
                "worker_exited", level="error", pid=os.getpid(), listener=own.name, how=how, exception=trace
            )
        finally:
            os._exit(code)

    def _let_go(self, child: Child) -> None:
        """Let a worker begin to serve; it keeps the signal until it is ready."""
        os.kill(child.pid, signals.GO)

    def _retire(self, generation: Generation, now: float) -> None:
        for team in generation.teams:
            for child in team.children.values():
                child.signal_at = now
                child.signal_delay_s = FIRST_REPEAT_S
                child.kill_at = now + STOP_DEADLINE_S
                self._retired[child.pid] = child
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
            child = self._children.get(pid)
            if child is None:
                # no worker: whoever ran us may have left us a child
                continue
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                child.stopped = os.WIFSTOPPED(status)
                self._watch(now)
            else:
                self._bury(child, status, now)

    def _bury(self, child: Child, status: int, now: float) -> None:
        code = os.waitstatus_to_exitcode(status)
        ready, served = bool(child.cells[READY]), child.cells[SERVED]
        lost = self._counters.release(child.slot)
        del self._children[child.pid]
        retired = self._retired.pop(child.pid, None) is not None
        child.team.children.pop(child.pid, None)
        expected = retired and code == 0
        if code < 0:
            how = f"was killed by {signals.name_of(-code)}"
        else:
            how = "stopped as asked" if expected else f"exited with status {code}"
        fields = {"pid": child.pid, "listener": child.team.settings.name, "how": how, "served": served, "lost": lost}
        self._log.event("worker_exited", level="info" if expected else "warning", **fields)
        if not retired:
            # one that ends with 0 was asked to, by a stranger, and has not failed
            healthy = served > 0 or code == 0 or (ready and now - child.started_at >= HEALTHY_AFTER_S)
            child.team.respawn.note_death(now, ready=ready, healthy=healthy, jitter=_jitter())

    def _watch(self, now: float) -> None:
        """Look at the slots from now on, if nobody does yet."""
        if self._look_at is None:
            self._counters.head[WATCHED] = 1
            self._look_at = now + LOOK_S

    def _look(self, now: float) -> None:
        """Look at every slot; go back to sleep when nothing has moved since the last look."""
        self._look_at = now + LOOK_S
        moving = False
        for child in self._children.values():
            moving = child.look() or moving
            if child.still >= STUCK_LOOKS and not child.killed:
                seconds = round(child.still * LOOK_S)
                self._log.event("worker_stuck", pid=child.pid, listener=child.team.settings.name, seconds=seconds)
                self._kill(child)
        self._reporter.tell_suppressed(self._log, now)
        accepted = self._counters.total().accepted
        if not moving and accepted == self._last_accepted and not self._reporter.has_untold():
            self._look_at = None
            self._counters.head[WATCHED] = 0
            # a client that came in between has seen 1, and woken nobody
            if self._counters.total().accepted != accepted:
                self._watch(now)
        self._last_accepted = accepted

    # -- telling -------------------------------------------------------------------------------------------------

    def _count_lost(self) -> None:
        self._cells[LOG_LOST] += 1

    def _tell_listeners(self, teams: Sequence[Team]) -> None:
        for team in teams:
            listener, address = team.settings.name, team.listener.address
            what: dict[str, Any] = {"format": team.settings.format, "workers": team.wanted}
            if team.listener.name is None:
                self._log.event("listener_opened", listener=listener, address=address, **what)
            else:
                self._log.event("listener_adopted", listener=listener, address=address, **what)

    def _tell_ignored(self, generation: Generation, known: Collection[Address]) -> None:
        """Say once of each configured address that passed sockets have taken its place, if they are elsewhere."""
        passed = [team.listener for team in generation.teams if team.listener.name is not None]
        for settings in generation.config.listeners:
            is_told = settings.address in known or any(each.is_bound_to(settings.address) for each in passed)
            if passed and not is_told:
                self._log.event("listener_address_ignored", listener=settings.name, address=str(settings.address))

    # -- state ---------------------------------------------------------------------------------------------------

    def _is_healthy(self) -> bool:
        """Say whether clients are served as they should: every wanted worker is there and none does nothing."""
        if self._current is None or any(team.ready < team.wanted for team in self._current.teams):
            return False
        return not any(child.stopped or child.still for child in self._children.values())

    def _generations_alive(self) -> list[Generation]:
        return [generation for generation in (self._current, self._pending) if generation]

    def _next_deadline(self) -> float | None:
        """Return when there is something to do without a signal; None if there is nothing."""
        feed_at = None if self._stopping else self._reporter.feed_at
        deadlines = [each for each in (self._look_at, feed_at) if each is not None]
        for child in self._retired.values():
            deadlines.append(child.kill_at if child.killed else min(child.signal_at, child.kill_at))
        if not self._stopping:
            for generation in self._generations_alive():
                deadlines += [team.respawn.not_before for team in generation.teams if team.missing > 0]
            if self._pending and self._current:
                deadlines.append(self._pending_until)
        return min(deadlines, default=None)

    def _close(self) -> None:
        """End what is left, whatever happened before, and tell the sum of it all."""
        for child in self._children.values():
            self._kill(child)
            os.waitpid(child.pid, 0)
            self._counters.release(child.slot)
        for listener in self._listeners:
            self._close_listener(listener)
        now = time.monotonic()
        self._reporter.tell_suppressed(self._log, now, at_once=True)
        self._reporter.tell_losses(self._log)
        self._log.event("daemon_stopped", **self._reporter.figures(now))


def _jitter() -> float:
    """Return a number from 0 to 1: a byte's worth of steps, for which `random` and its hashes need not be loaded."""
    return os.urandom(1)[0] / 255
