"""One instance on this node: its worker kept alive, within its lease and its budget."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable
from typing import Any, Protocol

from fairlead_agent.messages.instance import InstanceReport, InstanceState
from fairlead_agent.messages.lease import LeaseKey
from fairlead_agent.plugin.budget import Budget, BudgetReply
from fairlead_agent.runtime import protocol
from fairlead_agent.runtime.backoff import CrashHistory, Quarantine
from fairlead_agent.runtime.exits import Exit
from fairlead_agent.runtime.limits.confinement import Confinement
from fairlead_agent.runtime.limits.resize import Resize
from fairlead_agent.runtime.logfile import WorkerLog
from fairlead_agent.runtime.process import WorkerProcess
from fairlead_agent.runtime.protocol import ControlError, ControlLostError, HostStatus, Operation
from fairlead_agent.runtime.settings import SupervisorSettings
from fairlead_agent.runtime.spec import HostSpec
from fairlead_agent.runtime.worker_run import HandshakeError, WorkerRun

_ENDED = (InstanceState.STOPPED, InstanceState.QUARANTINED)
_FINAL_EXITS = (Exit.LEASE_EXPIRED, Exit.ORPHANED)
_TAIL_LINES = 20
_REASON_LENGTH = 1990


class InstanceError(RuntimeError):
    """An operation that the instance's state does not allow."""


class Listener(Protocol):
    """What an instance tells its supervisor."""

    def changed(self, instance: Instance) -> None:
        """The report reads differently now."""

    def fact(self, key: LeaseKey, vertex: str, attribute: str, value: float, uncertainty: float) -> None:
        """The plugin published a fact."""

    def warning(self, event: str, **values: Any) -> None:
        """Something went wrong, and was dealt with."""


class Instance:
    """Keeps one worker alive. All methods belong to the agent's event loop."""

    def __init__(
        self,
        spec: HostSpec,
        confinement: Confinement,
        settings: SupervisorSettings,
        listener: Listener,
        clock: Callable[[], float],
    ) -> None:
        self.spec = spec
        self.state = InstanceState.PREPARING
        self.reason = ""
        self.epoch = 0
        self.expires_boottime_s = 0.0
        self.restarts = 0
        self.log = WorkerLog(spec.log_path, settings.log_max_bytes)
        self._confinement = confinement
        self._settings = settings
        self._listener = listener
        self._clock = clock
        self._history = CrashHistory()
        self._run: WorkerRun | None = None
        self._drained_run: WorkerRun | None = None
        self._stop_reason = ""
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._resizing = asyncio.Lock()
        self._leasing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def key(self) -> LeaseKey:
        return self.spec.key

    @property
    def pid(self) -> int | None:
        """The worker's pid, while there is one."""
        return self._run.process.pid if self._run else None

    @property
    def status(self) -> HostStatus | None:
        """What the worker said last, while there is one."""
        return self._run.status if self._run else None

    @property
    def ended(self) -> bool:
        """Whether no worker of it will run any more."""
        return self.state in _ENDED

    def start(self) -> None:
        """Start the first worker."""
        self.spec.write()
        self._keeping = asyncio.create_task(self._keep(None))

    async def adopt(self, process: WorkerProcess) -> None:
        """Go on with a worker that an earlier agent started. One that does not answer as it should is killed.

        Raises:
            HandshakeError: it was killed.
        """
        run = self._run = self._new_run(process)
        try:
            status = await run.shake_hands()
        except HandshakeError as error:
            run.kill(str(error))
            await run.bury()
            self._clear()
            raise
        self.epoch, self.expires_boottime_s = status.epoch, status.expires_boottime_s
        self._keeping = asyncio.create_task(self._keep(run))

    async def until(self, *states: InstanceState, timeout_s: float) -> InstanceState:
        """Wait for one of the states, or for the end.

        Raises:
            TimeoutError: none was reached in time.
        """
        async with asyncio.timeout(timeout_s):
            while self.state not in states and not self.ended:
                self._changed.clear()
                await self._changed.wait()
        return self.state

    async def activate(self, epoch: int, expires_boottime_s: float) -> None:
        """Hold a lease. A worker that is not prepared yet gets it once it is.

        Raises:
            InstanceError: it has ended, or has held a higher epoch.
        """
        self._require_alive()
        if epoch < self.epoch:
            raise InstanceError(f"{self.key}: epoch {epoch} is refused, epoch {self.epoch} was held")
        self.epoch, self.expires_boottime_s = epoch, expires_boottime_s
        async with self._leasing:
            await self._send_lease(epoch, expires_boottime_s)

    async def _send_lease(self, epoch: int, expires_boottime_s: float) -> None:
        if self._run is not None and self._run.is_prepared:
            self._drained_run = None
            run = self._run
            await self.ask(protocol.Activate(epoch=epoch, expires_boottime_s=expires_boottime_s))
            run.granted(epoch, expires_boottime_s)
            if self._clock() < expires_boottime_s:
                self._set_state(InstanceState.READY)

    async def extend(self, epoch: int, expires_boottime_s: float) -> None:
        """Move the lease's expiry.

        Raises:
            InstanceError: it has ended, or holds another epoch.
        """
        self._require_alive()
        if epoch != self.epoch:
            raise InstanceError(f"{self.key}: epoch {epoch} cannot be extended, epoch {self.epoch} is held")
        self.expires_boottime_s = max(self.expires_boottime_s, expires_boottime_s)
        if self._run is not None and self._run.is_prepared:
            await self.ask(protocol.Extend(epoch=epoch, expires_boottime_s=expires_boottime_s))

    async def reconfigure(self, budget: Budget, deadline_s: float) -> BudgetReply:
        """Give it another budget; see :class:`~fairlead_agent.runtime.limits.resize.Resize` for the order."""
        self._require_alive()
        async with self._resizing:
            resize = Resize(self._confinement, settle_s=self._settings.shrink_settle_s)
            reply, over = await resize.run(budget, lambda: self._offer(budget, deadline_s))
            if reply.accepted:
                self.spec = self.spec.model_copy(update={"budget": budget})
                self.spec.write()
        if over and self._run is not None:
            self._run.kill(over)
        self._listener.changed(self)
        return reply

    async def drain(self, deadline_s: float) -> bool:
        """Take no new request and finish those under way; False: some were not finished in time."""
        self._require_alive()
        if self._run is None or not self._run.is_prepared:
            return True
        self._drained_run = self._run
        self._set_state(InstanceState.DRAINING)
        margin_s = self._settings.probe_timeout_s
        answer = await self.ask(protocol.Drain(deadline_s=deadline_s), timeout_s=deadline_s + margin_s)
        return bool(answer["drained"])

    async def stop(self, reason: str) -> None:
        """SIGTERM to the group, grace, SIGKILL. Returns when no process of it is left."""
        self._stop_reason = self._stop_reason or reason
        self._stopping.set()
        if run := self._run:
            run.terminate()
            await asyncio.wait((run.process.exited,), timeout=self._settings.stop_grace_s)
            run.kill_members()
        if self._keeping is not None:
            await asyncio.wait((self._keeping,))

    async def detach(self) -> None:
        """Leave the worker to the next agent."""
        if self._run is not None:
            self._run.detach()
        for task in (self._keeping, *self._tasks):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))

    async def ask(self, operation: Operation, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Ask the worker's host.

        Raises:
            InstanceError: there is no worker, it refuses, or it does not answer.
        """
        if self._run is None:
            raise InstanceError(f"{self.key}: there is no worker for {operation.OP} ({self.state})")
        try:
            return await self._run.request(operation, timeout_s or self._settings.probe_timeout_s)
        except (ControlError, ControlLostError) as error:
            raise InstanceError(f"{self.key}: {operation.OP}: {error}") from error
        except TimeoutError:
            raise InstanceError(f"{self.key}: {operation.OP}: no answer in time") from None

    def report(self) -> InstanceReport:
        """What the node says of it."""
        status, measurements = self.status, self._run.measurements if self._run else {}
        return InstanceReport(
            key=self.key,
            epoch=self.epoch,
            variant=self.spec.variant,
            state=self.state,
            generation=self.spec.generation,
            address=status.address if status else None,
            simulated=self.spec.simulated,
            pid=self.pid,
            started_s=status.started_s if status else None,
            restarts=self.restarts,
            memory_bytes=self._run.memory_bytes if self._run else None,
            limit_bytes=self._confinement.limit_bytes,
            limiter=self._confinement.kind,
            throughput_per_s=measurements.get("throughput_per_s"),
            latency_p90_s=measurements.get("latency_p90_s"),
            reason=self.reason,
        )

    def remove_folder(self) -> None:
        """Remove the folder of an ended instance, log and all."""
        shutil.rmtree(self.spec.folder, ignore_errors=True)

    def noted(self, run: WorkerRun, status: HostStatus) -> None:
        """Called by the run."""
        if status.state is InstanceState.PREPARING or self._stopping.is_set():
            return
        # What the worker said before it was told to drain may be heard after.
        outdated = run is self._drained_run and status.state is InstanceState.READY
        state = InstanceState.DRAINING if outdated else status.state
        self._set_state(state, self.reason if state is self.state else "")
        lacks_lease = status.epoch < self.epoch and self._clock() < self.expires_boottime_s
        if lacks_lease and not self._leasing.locked():
            self._start_task(self._pass_lease_on(self.epoch, self.expires_boottime_s))

    def heard(self, fields: dict[str, Any]) -> None:
        """Called by the run."""
        if fields["event"] == "fact":
            values = (fields["vertex"], fields["attribute"], fields["value"], fields["uncertainty"])
            self._listener.fact(self.key, *values)
        elif fields["event"] == "progress" and self.state is InstanceState.PREPARING:
            self._set_state(self.state, f"{fields['what']} ({fields['share']:.0%})")
        elif fields["event"] == "fault":
            self._listener.warning(f"worker.{fields['what']}", instance=str(self.key), why=fields["why"])

    async def _keep(self, run: WorkerRun | None) -> None:
        """Have one worker after the other until none may follow."""
        while True:
            crash = await self._run_once(run)
            run = None
            if crash is None or self._stopping.is_set() or not await self._recover(crash):
                break
        self._clear()
        if self.state is not InstanceState.QUARANTINED:
            self._set_state(InstanceState.STOPPED, self._stop_reason or self.reason)

    async def _run_once(self, run: WorkerRun | None) -> tuple[str, float] | None:
        """Have one worker; why it crashed and for how long it had been prepared, or None if none is to follow."""
        # No await between this check and the new run: stop() either is seen here, or sees the run.
        if self._stopping.is_set():
            return None
        try:
            self._run = run = run or self._new_run(WorkerProcess.spawn(self.spec))
        except OSError as error:
            return f"the worker cannot be started: {error}", 0.0
        code = await run.until_exit()
        self._run, outcome = None, run.outcome()
        if outcome is not None and outcome.code in _FINAL_EXITS:
            self.reason = outcome.reason
            return None
        why = run.verdict or (outcome.reason if outcome else _describe_exit(code))
        return why, run.prepared_for_s

    async def _recover(self, crash: tuple[str, float]) -> bool:
        """After a crash: wait and say True, or say False if no worker is to follow."""
        why, ran_s = crash
        self._history, decision = self._history.crashed(self._settings.backoff, ran_s=ran_s)
        if isinstance(decision, Quarantine):
            tail = "\n".join(self.log.tail(_TAIL_LINES))
            reason = f"crashed {decision.crashes} times in a row: {why}; its last lines:\n{tail}"
            self._set_state(InstanceState.QUARANTINED, reason)
            return False
        self._listener.warning("worker.crashed", instance=str(self.key), why=why, restart_in_s=decision.delay_s)
        self._set_state(InstanceState.FAILED, f"{why}; next start in {decision.delay_s:g} s")
        try:
            await asyncio.wait_for(self._stopping.wait(), decision.delay_s)
        except TimeoutError:
            self.restarts += 1
            self._set_state(InstanceState.PREPARING, f"started again after: {why}")
            return True
        return False

    async def _offer(self, budget: Budget, deadline_s: float) -> BudgetReply | None:
        if self._run is None or not self._run.is_prepared:
            return BudgetReply(reason="the worker is not prepared; it starts within this budget")
        return await self._run.offer(budget, deadline_s)

    async def _pass_lease_on(self, epoch: int, expires_boottime_s: float) -> None:
        """Give a fresh worker the lease that the instance holds."""
        try:
            await self.activate(epoch, expires_boottime_s)
        except InstanceError as error:
            self._listener.warning("worker.activate", instance=str(self.key), why=str(error))

    def _new_run(self, process: WorkerProcess) -> WorkerRun:
        return WorkerRun(self.spec, process, self._confinement, self._settings, self)

    def _start_task(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _set_state(self, state: InstanceState, reason: str = "") -> None:
        reason = _shorten(reason)
        if (state, reason) == (self.state, self.reason):
            return
        self.state, self.reason = state, reason
        self._changed.set()
        self._listener.changed(self)

    def _require_alive(self) -> None:
        if self.ended or self._stopping.is_set():
            raise InstanceError(f"{self.key} has ended ({self.state}): {self.reason}")

    def _clear(self) -> None:
        """Take away what an ended instance must not leave; its log stays until it is forgotten."""
        self._confinement.remove()
        for path in (self.spec.path, self.spec.outcome_path, self.spec.data_socket, self.spec.control_socket):
            path.unlink(missing_ok=True)
        if self.spec.data_socket.parent != self.spec.folder:
            self.spec.data_socket.parent.rmdir()


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "the worker is gone"
    if code >= 0:
        return f"the worker ended with exit code {code}"
    return f"the worker was killed by {signal.Signals(-code).name}"


def _shorten(text: str) -> str:
    """The beginning and the end: the end of a traceback says what happened."""
    if len(text) <= _REASON_LENGTH:
        return text
    head = _REASON_LENGTH // 4
    return f"{text[:head]} ... {text[-(_REASON_LENGTH - head - 5) :]}"
