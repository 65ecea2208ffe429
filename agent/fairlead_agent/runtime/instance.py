"""One instance on this node: its worker kept alive, within its lease and its budget."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

from fairlead_agent.messages.instance import InstanceReport, InstanceState
from fairlead_agent.messages.lease import LeaseKey
from fairlead_agent.plugin.budget import Budget, BudgetReply
from fairlead_agent.runtime import protocol
from fairlead_agent.runtime.backoff import CrashHistory, Quarantine
from fairlead_agent.runtime.control_client import ControlClient
from fairlead_agent.runtime.exits import Exit
from fairlead_agent.runtime.limits.confinement import Confinement
from fairlead_agent.runtime.limits.resize import Resize
from fairlead_agent.runtime.logfile import WorkerLog
from fairlead_agent.runtime.process import ProcessMark, WorkerProcess
from fairlead_agent.runtime.protocol import ControlError, ControlLostError, HostStatus, Operation
from fairlead_agent.runtime.settings import SupervisorSettings
from fairlead_agent.runtime.spec import HostSpec, read_outcome

MIB = 2**20
_ENDED = (InstanceState.STOPPED, InstanceState.QUARANTINED)
_FINAL_EXITS = (Exit.LEASE_EXPIRED, Exit.ORPHANED)
_CONNECT_POLL_S = 0.01
_TAIL_LINES = 12


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
        self.measurements: dict[str, float] = {}
        self.status: HostStatus | None = None
        self.log = WorkerLog(spec.log_path, settings.log_max_bytes)
        self._confinement = confinement
        self._settings = settings
        self._listener = listener
        self._clock = clock
        self._history = CrashHistory()
        self._process: WorkerProcess | None = None
        self._control: ControlClient | None = None
        self._verdict = ""
        self._stop_reason: str | None = None
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._stood_by_s: float | None = None
        self._resizing = asyncio.Lock()
        self._memory_bytes: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._passing: asyncio.Task[None] | None = None

    @property
    def key(self) -> LeaseKey:
        return self.spec.key

    @property
    def pid(self) -> int | None:
        """The worker's pid, while there is one."""
        return self._process.pid if self._process else None

    @property
    def ended(self) -> bool:
        """Whether no worker of it will run any more."""
        return self.state in _ENDED

    def start(self) -> None:
        """Start the first worker."""
        self.spec.write()
        self._task = asyncio.create_task(self._keep(None, None))

    async def adopt(self, process: WorkerProcess) -> None:
        """Go on with a worker that an earlier agent started.

        Raises:
            InstanceError: it does not answer as the worker of this spec.
        """
        timeout_s = self._settings.probe_timeout_s
        try:
            self._control = await ControlClient.connect(self.spec.control_socket, self.spec.cookie, self._on_event)
            status = await self._control.hello(timeout_s=timeout_s)
        except (OSError, ControlError, TimeoutError) as error:
            raise InstanceError(f"handshake failed: {error or 'no answer in time'}") from error
        if status.key != self.key or status.pid != process.pid:
            raise InstanceError(f"handshake is of {status.key} with pid {status.pid}, expected pid {process.pid}")
        self.epoch, self.expires_boottime_s = status.epoch, status.expires_boottime_s
        self._note_status(status)
        self._task = asyncio.create_task(self._keep(process, self._control))

    async def discard(self, process: WorkerProcess) -> None:
        """Kill a worker that could not be adopted, and clear away what is left of it."""
        self._process = process
        self._kill("not adopted")
        await self._bury(process)
        self._clear()

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
        self._alive()
        if epoch < self.epoch:
            raise InstanceError(f"{self.key}: epoch {epoch} is refused, epoch {self.epoch} was held")
        self.epoch, self.expires_boottime_s = epoch, expires_boottime_s
        if self._is_prepared():
            await self.ask(protocol.Activate(epoch=epoch, expires_boottime_s=expires_boottime_s))
            if self._clock() < expires_boottime_s:
                self._set_state(InstanceState.READY)

    async def extend(self, epoch: int, expires_boottime_s: float) -> None:
        """Move the lease's expiry.

        Raises:
            InstanceError: it has ended, or holds another epoch.
        """
        self._alive()
        if epoch != self.epoch:
            raise InstanceError(f"{self.key}: epoch {epoch} cannot be extended, epoch {self.epoch} is held")
        self.expires_boottime_s = max(self.expires_boottime_s, expires_boottime_s)
        if self._is_prepared():
            await self.ask(protocol.Extend(epoch=epoch, expires_boottime_s=expires_boottime_s))

    async def reconfigure(self, budget: Budget, deadline_s: float) -> BudgetReply:
        """Give it another budget; see :class:`~fairlead_agent.runtime.limits.resize.Resize` for the order."""
        self._alive()
        async with self._resizing:
            resize = Resize(self._confinement, settle_s=self._settings.shrink_settle_s)
            reply, over = await resize.run(budget, lambda: self._offer(budget, deadline_s))
        if reply.accepted:
            self.spec = self.spec.model_copy(update={"budget": budget})
            self.spec.write()
        if over:
            self._kill(over)
        self._listener.changed(self)
        return reply

    async def drain(self, deadline_s: float) -> bool:
        """Take no new request and finish those under way; False: some were not finished in time."""
        self._alive()
        if not self._is_prepared():
            return True
        self._set_state(InstanceState.DRAINING)
        answer = await self.ask(protocol.Drain(deadline_s=deadline_s), timeout_s=deadline_s + 5)
        return bool(answer["drained"])

    async def stop(self, reason: str) -> None:
        """SIGTERM to the group, grace, SIGKILL. Returns when no process of it is left."""
        self._stop_reason = self._stop_reason or reason
        self._stopping.set()
        if self._process is not None:
            self._process.signal_group(signal.SIGTERM)
            await asyncio.wait((self._process.exited,), timeout=self._settings.stop_grace_s)
            self._kill_members()
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def detach(self) -> None:
        """Leave the worker to the next agent."""
        process, self._process = self._process, None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._hang_up()
        if process is not None:
            process.detach()

    async def ask(self, operation: Operation, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Ask the worker's host.

        Raises:
            InstanceError: there is no worker, it refuses, or it does not answer.
        """
        if self._control is None:
            raise InstanceError(f"{self.key}: there is no worker to {operation.OP} ({self.state})")
        try:
            return await self._control.request(operation, timeout_s=timeout_s or self._settings.probe_timeout_s)
        except (ControlError, ControlLostError) as error:
            raise InstanceError(f"{self.key}: {operation.OP}: {error}") from error
        except TimeoutError:
            raise InstanceError(f"{self.key}: {operation.OP}: no answer in time") from None

    def report(self) -> InstanceReport:
        """What the node says of it."""
        status = self.status
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
            memory_bytes=self._memory_bytes,
            limit_bytes=self._confinement.limit_bytes,
            limiter=self._confinement.kind,
            throughput_per_s=self.measurements.get("throughput_per_s"),
            latency_p90_s=self.measurements.get("latency_p90_s"),
            reason=self.reason[:2000],
        )

    async def _keep(self, process: WorkerProcess | None, control: ControlClient | None) -> None:
        """Run workers one after the other until one may not be followed by another."""
        while not self._stopping.is_set():
            try:
                code = await self._run(process, control)
            except OSError as error:
                code, self._verdict = None, f"the worker cannot be started: {error}"
            process = control = None
            if self._stopping.is_set() or not await self._recover(code):
                break
        self._clear()
        if self.state is not InstanceState.QUARANTINED:
            self._set_state(InstanceState.STOPPED, self._stop_reason or self.reason)

    async def _run(self, process: WorkerProcess | None, control: ControlClient | None) -> int | None:
        """One worker from start to exit; its exit code."""
        self._verdict = ""
        if process is None:
            self._stood_by_s = None
            process = WorkerProcess.spawn(self.spec)
        self._process = process
        watchers: list[asyncio.Task[None]] = []
        try:
            self._admit(process)
            self._control = control or await self._connect(process)
            watchers = [asyncio.create_task(each) for each in (self._watch(), self._probe(), self._measure())]
            return await asyncio.shield(process.exited)
        finally:
            for watcher in watchers:
                watcher.cancel()
            if self._process is not None:  # None: detached, the worker lives on
                await self._bury(process)

    def _admit(self, process: WorkerProcess) -> None:
        try:
            self._confinement.admit(process.pid)
        except ProcessLookupError:  # it is gone already, and its exit will say why
            pass

    async def _bury(self, process: WorkerProcess) -> None:
        """Make sure that nothing of a worker is left."""
        if not process.exited.done():
            self._kill_members()
            await asyncio.wait((process.exited,), timeout=self._settings.stop_grace_s)
        self._kill_members()
        self._hang_up()
        if not self._verdict and self._confinement.exceeded():
            self._verdict = self._over_budget()
        self._process, self.status, self._memory_bytes = None, None, None
        ProcessMark.path(self.spec.folder).unlink(missing_ok=True)

    async def _connect(self, process: WorkerProcess) -> ControlClient | None:
        """Connect to the control socket of a fresh worker; None if it does not live to see that."""
        deadline_s = time.monotonic() + self._settings.connect_timeout_s
        while not process.exited.done():
            try:
                control = await ControlClient.connect(self.spec.control_socket, self.spec.cookie, self._on_event)
                self._control = control
                self._note_status(await control.hello(timeout_s=self._settings.connect_timeout_s))
                return control
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.wait((process.exited,), timeout=_CONNECT_POLL_S)
            except (ControlLostError, TimeoutError, ControlError, OSError) as error:
                self._kill(f"its control socket failed: {error}")
                return None
            if time.monotonic() > deadline_s:
                self._kill(f"it opened no control socket within {self._settings.connect_timeout_s:g} s")
                return None
        return None

    async def _recover(self, code: int | None) -> bool:
        """After a worker's end: wait and say True, or say False if none is to follow."""
        outcome = read_outcome(self.spec.outcome_path)
        if outcome is not None and outcome.code in _FINAL_EXITS and not self._verdict:
            self.reason = outcome.reason
            return False
        ran_s = time.monotonic() - self._stood_by_s if self._stood_by_s is not None else 0.0
        why = self._verdict or (outcome.reason if outcome else _describe_exit(code))
        self._history, decision = self._history.crashed(self._settings.backoff, ran_s=ran_s)
        if isinstance(decision, Quarantine):
            tail = "\n".join(self.log.tail(_TAIL_LINES))
            reason = f"crashed {decision.crashes} times in a row: {why}; its last lines:\n{tail}"
            self._set_state(InstanceState.QUARANTINED, _shorten(reason))
            return False
        self._listener.warning("worker.crashed", instance=str(self.key), why=why, restart_in_s=decision.delay_s)
        self._set_state(InstanceState.FAILED, f"{why}; next start in {decision.delay_s:g} s")
        try:
            await asyncio.wait_for(self._stopping.wait(), decision.delay_s)
            return False
        except TimeoutError:
            self.restarts += 1
            self._set_state(InstanceState.PREPARING)
            return True

    async def _watch(self) -> None:
        """Memory and log size, now and then."""
        started_s = time.monotonic()
        while True:
            await asyncio.sleep(self._settings.watch_interval_s)
            self._memory_bytes = self._confinement.usage_bytes()
            self.log.rotate()
            if self._confinement.exceeded():
                return self._kill(self._over_budget())
            limit_s = self._settings.prepare_timeout_s
            if limit_s and self.state is InstanceState.PREPARING and time.monotonic() - started_s > limit_s:
                return self._kill(f"it was not prepared within {limit_s:g} s")

    async def _probe(self) -> None:
        """Ask for life signs on control; kill what gives none."""
        timeout_s, data_hang_s = self._settings.probe_timeout_s, self._settings.data_hang_s
        while self._control is not None:
            try:
                status = await self._control.status(timeout_s=timeout_s)
            except TimeoutError:
                return self._kill(f"it hung: no answer on its control socket for {timeout_s:g} s")
            except (ControlError, ControlLostError) as error:
                return self._kill(f"its control socket failed: {error}")
            self._note_status(status)
            if data_hang_s is not None and status.data_blocked_s > data_hang_s:
                return self._kill(f"it hung: its data loop has been blocked for {status.data_blocked_s:.1f} s")
            await asyncio.sleep(self._settings.probe_interval_s)

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(self._settings.measure_interval_s)
            if self._is_prepared():
                try:
                    answer = await self.ask(protocol.Measure())
                    self.measurements = {**self.measurements, **answer["measurements"]}
                except InstanceError as error:
                    self._listener.warning("worker.measurements", instance=str(self.key), why=str(error))

    async def _offer(self, budget: Budget, deadline_s: float) -> BudgetReply | None:
        """Ask the plugin to fit into a budget; None: it did not answer by the deadline."""
        if not self._is_prepared():
            return BudgetReply(reason="the worker is not prepared yet; it will start within this budget")
        try:
            operation = protocol.Reconfigure(budget=budget, deadline_s=deadline_s)
            assert self._control is not None
            return BudgetReply.model_validate(await self._control.request(operation, timeout_s=deadline_s + 0.25))
        except TimeoutError:
            return None
        except ControlError as error:
            return None if error.kind == "TimeoutError" else BudgetReply(accepted=False, reason=str(error))
        except ControlLostError as error:
            return BudgetReply(reason=f"the worker ended meanwhile ({error}); the next starts within this budget")

    def _on_event(self, fields: dict[str, Any]) -> None:
        match fields.get("event"):
            case "state":
                self._note_status(HostStatus.model_validate(fields["status"]))
            case "fact":
                values = (fields["vertex"], fields["attribute"], fields["value"], fields["uncertainty"])
                self._listener.fact(self.key, *values)
            case "progress":
                self._set_state(self.state, f"{fields['what']} ({fields['share']:.0%})")
            case _:
                self._listener.warning("worker.unknown_event", instance=str(self.key), fields=str(fields)[:200])

    def _note_status(self, status: HostStatus) -> None:
        self.status = status
        if status.state is InstanceState.PREPARING or self._stopping.is_set():
            return
        if self._stood_by_s is None:
            self._stood_by_s = time.monotonic()
            self._pass_lease_on(status)
        self._set_state(status.state, "" if status.state is not self.state else self.reason)

    def _pass_lease_on(self, status: HostStatus) -> None:
        """Give a fresh worker the lease that the instance holds."""
        if self._control is None or status.epoch >= self.epoch or self._clock() >= self.expires_boottime_s:
            return
        self._passing = asyncio.create_task(self._activate_quietly(self.epoch, self.expires_boottime_s))

    async def _activate_quietly(self, epoch: int, expires_boottime_s: float) -> None:
        try:
            await self.activate(epoch, expires_boottime_s)
        except InstanceError as error:
            self._listener.warning("worker.activate", instance=str(self.key), why=str(error))

    def _set_state(self, state: InstanceState, reason: str = "") -> None:
        if (state, reason) == (self.state, self.reason):
            return
        self.state, self.reason = state, reason
        self._changed.set()
        self._listener.changed(self)

    def _alive(self) -> None:
        if self.ended or self._stopping.is_set():
            raise InstanceError(f"{self.key} has ended ({self.state}): {self.reason}")

    def _is_prepared(self) -> bool:
        return self._control is not None and self._stood_by_s is not None and self._process is not None

    def _kill(self, why: str) -> None:
        self._verdict = self._verdict or why
        self._kill_members()

    def _kill_members(self) -> None:
        """Kill the group, and what left the group but not the confinement."""
        strays = self._confinement.members()
        if self._process is not None:
            self._process.signal_group(signal.SIGKILL)
            strays = [pid for pid in strays if pid != self._process.pid]
        for pid in strays:
            kill_if_alive(pid)

    def _clear(self) -> None:
        """Take away what an ended instance must not leave; its log stays until it is forgotten."""
        self._confinement.remove()
        for path in (self.spec.path, self.spec.outcome_path, self.spec.data_socket, self.spec.control_socket):
            path.unlink(missing_ok=True)
        if self.spec.data_socket.parent != self.spec.folder:
            self.spec.data_socket.parent.rmdir()

    def remove_folder(self) -> None:
        """Remove the folder of an ended instance, log and all."""
        shutil.rmtree(self.spec.folder, ignore_errors=True)

    def _hang_up(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None

    def _over_budget(self) -> str:
        limit_bytes = self._confinement.limit_bytes or 0
        return f"exceeded its memory budget of {limit_bytes / MIB:g} MiB ({self._confinement.kind})"


def kill_if_alive(pid: int) -> None:
    """SIGKILL, unless it has gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "the worker is gone"
    if code >= 0:
        return f"the worker ended with exit code {code}"
    return f"the worker was killed by {signal.Signals(-code).name}"


def _shorten(text: str, limit: int = 1990) -> str:
    """The beginning and the end: the end of a traceback says what happened."""
    return text if len(text) <= limit else f"{text[: limit // 4]} ... {text[-(limit - limit // 4 - 5) :]}"
