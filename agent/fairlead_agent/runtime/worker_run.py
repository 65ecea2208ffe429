"""One worker from its start to its last process: connected to, watched, probed, buried."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any, Protocol

from fairlead_agent.messages.instance import InstanceState
from fairlead_agent.plugin.budget import Budget, BudgetReply
from fairlead_agent.runtime.control_client import ControlClient
from fairlead_agent.runtime.limits.confinement import Confinement
from fairlead_agent.runtime.logfile import WorkerLog
from fairlead_agent.runtime.process import ProcessMark, WorkerProcess
from fairlead_agent.runtime.protocol import ControlError, ControlLostError, HostStatus, Measure, Operation, Reconfigure
from fairlead_agent.runtime.settings import SupervisorSettings
from fairlead_agent.runtime.spec import HostSpec, Outcome, read_outcome

MIB = 2**20
_CONNECT_POLL_S = 0.01


class HandshakeError(RuntimeError):
    """A worker does not answer as the worker of its spec."""


class RunListener(Protocol):
    """What a run tells its instance."""

    def noted(self, run: WorkerRun, status: HostStatus) -> None:
        """The worker told its status."""

    def heard(self, fields: dict[str, Any]) -> None:
        """The worker sent an event other than its status."""


class WorkerRun:
    """One worker. It ends by itself, by :meth:`kill`, or is left alone by :meth:`detach`."""

    def __init__(
        self,
        spec: HostSpec,
        process: WorkerProcess,
        confinement: Confinement,
        settings: SupervisorSettings,
        listener: RunListener,
    ) -> None:
        self.process = process
        self.control: ControlClient | None = None
        self.status: HostStatus | None = None
        self.verdict = ""
        self.memory_bytes: int | None = None
        self.measurements: dict[str, float] = {}
        self._spec = spec
        self._confinement = confinement
        self._settings = settings
        self._listener = listener
        self._log = WorkerLog(spec.log_path, settings.log_max_bytes)
        self._prepared_at_s: float | None = None
        self._lease: tuple[int, float] = (0, 0.0)
        self._detached = False

    @property
    def is_prepared(self) -> bool:
        """Whether the worker has stood by, so that it takes a lease and a budget."""
        return self._prepared_at_s is not None and self.control is not None

    @property
    def prepared_for_s(self) -> float:
        """For how long it has stood by or served; 0 if it never did."""
        return 0.0 if self._prepared_at_s is None else time.monotonic() - self._prepared_at_s

    async def shake_hands(self) -> HostStatus:
        """Connect to a worker that an earlier agent started.

        Raises:
            HandshakeError: it does not answer, or as another one.
        """
        try:
            status = await self._connect_once(self._settings.probe_timeout_s)
        except (OSError, ControlError, TimeoutError) as error:
            raise HandshakeError(f"handshake failed: {error or 'no answer in time'}") from error
        if status.key != self._spec.key or status.pid != self.process.pid:
            raise HandshakeError(f"handshake is of {status.key}, pid {status.pid}; expected pid {self.process.pid}")
        return status

    async def until_exit(self) -> int | None:
        """Watch over the worker until it and all its processes are gone; its exit code, None if unknown."""
        watchers: list[asyncio.Task[None]] = []
        try:
            self._admit()
            if self.control is None:
                await self._connect()
            watchers = [asyncio.create_task(each) for each in (self._watch(), self._probe(), self._measure())]
            return await asyncio.shield(self.process.exited)
        finally:
            for watcher in watchers:
                watcher.cancel()
            if not self._detached:
                await self.bury()

    async def bury(self) -> None:
        """Make sure that nothing of the worker is left."""
        self.kill_members()
        if not self.process.exited.done():
            await asyncio.wait((self.process.exited,), timeout=self._settings.stop_grace_s)
        self._hang_up()
        if not self.verdict and self._confinement.exceeded():
            self.verdict = self._over_budget()
        ProcessMark.path(self._spec.folder).unlink(missing_ok=True)

    def detach(self) -> None:
        """Leave the worker alone, for the next agent."""
        self._detached = True
        self._hang_up()
        self.process.detach()

    def outcome(self) -> Outcome | None:
        """What the worker wrote at its end. None: it could not, or it was killed."""
        return None if self.verdict else read_outcome(self._spec.outcome_path)

    async def request(self, operation: Operation, timeout_s: float) -> dict[str, Any]:
        """Ask the worker's host.

        Raises:
            ControlError: it refuses.
            ControlLostError: it is not connected, or not any more.
            TimeoutError: no answer in time.
        """
        if self.control is None:
            raise ControlLostError("the worker is not connected")
        return await self.control.request(operation, timeout_s=timeout_s)

    async def offer(self, budget: Budget, deadline_s: float) -> BudgetReply | None:
        """Ask the plugin to fit into a budget; None: it did not answer by the deadline."""
        operation = Reconfigure(budget=budget, deadline_s=deadline_s)
        try:
            # The host keeps the deadline; the margin is for a host that cannot.
            return BudgetReply.model_validate(await self.request(operation, deadline_s + 0.25))
        except TimeoutError:
            return None
        except ControlError as error:
            return None if error.kind == "TimeoutError" else BudgetReply(accepted=False, reason=str(error))
        except ControlLostError as error:
            return BudgetReply(reason=f"the worker ended meanwhile ({error}); the next starts within this budget")

    def granted(self, epoch: int, expires_boottime_s: float) -> None:
        """The worker took this lease: a status that tells of an earlier one was written before."""
        self._lease = max(self._lease, (epoch, expires_boottime_s))

    def terminate(self) -> None:
        """Ask the worker's process group to end."""
        self.process.signal_group(signal.SIGTERM)

    def kill(self, why: str) -> None:
        """Kill the worker; the first reason counts."""
        self.verdict = self.verdict or why
        self.kill_members()

    def kill_members(self) -> None:
        """Kill the process group, and what left the group but not the confinement."""
        strays = [pid for pid in self._confinement.members() if pid != self.process.pid]
        self.process.signal_group(signal.SIGKILL)
        for pid in strays:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _admit(self) -> None:
        try:
            self._confinement.admit(self.process.pid)
        except ProcessLookupError:  # it is gone already, and its exit will say why
            pass

    async def _connect(self) -> None:
        """Connect to a fresh worker, which needs a moment to open its socket."""
        limit_s = self._settings.connect_timeout_s
        deadline_s = time.monotonic() + limit_s
        while not self.process.exited.done():
            try:
                await self._connect_once(limit_s)
                return None
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.wait((self.process.exited,), timeout=_CONNECT_POLL_S)
            except (OSError, ControlError) as error:
                return await self._lost_control(f"{error or 'no answer in time'}")
            if time.monotonic() > deadline_s:
                self.kill(f"it opened no control socket within {limit_s:g} s")
                break
        return None

    async def _connect_once(self, timeout_s: float) -> HostStatus:
        self.control = await ControlClient.connect(self._spec.control_socket, self._spec.cookie, self._on_event)
        status = await self.control.hello(timeout_s=timeout_s)
        self._note(status)
        return status

    async def _watch(self) -> None:
        """Memory and the log's size, now and then."""
        started_s, limit_s = time.monotonic(), self._settings.prepare_timeout_s
        while True:
            await asyncio.sleep(self._settings.watch_interval_s)
            self.memory_bytes = self._confinement.usage_bytes()
            self._log.rotate()
            if self._confinement.exceeded():
                return self.kill(self._over_budget())
            if limit_s is not None and not self.is_prepared and time.monotonic() - started_s > limit_s:
                return self.kill(f"it was not prepared within {limit_s:g} s")

    async def _probe(self) -> None:
        """Ask for life signs on control; kill what gives none."""
        while self.control is not None:
            timeout_s, data_hang_s = self._settings.probe_timeout_s, self._settings.data_hang_s
            try:
                status = await self.control.status(timeout_s=timeout_s)
            except TimeoutError:
                self.kill(f"it hung: no answer on its control socket for {timeout_s:g} s")
                break
            except (ControlError, ControlLostError) as error:
                await self._lost_control(str(error))
                break
            self._note(status)
            if data_hang_s is not None and status.data_blocked_s > data_hang_s:
                self.kill(f"it hung: its data loop has been blocked for {status.data_blocked_s:.1f} s")
            await asyncio.sleep(self._settings.probe_interval_s)

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(self._settings.measure_interval_s)
            if not self.is_prepared:
                continue
            try:
                answer = await self.request(Measure(), self._settings.probe_timeout_s)
                self.measurements = {**self.measurements, **answer["measurements"]}
            except (ControlError, ControlLostError, TimeoutError) as error:
                self._listener.heard({"event": "fault", "what": "measurements", "why": str(error)})

    async def _lost_control(self, why: str) -> None:
        """Kill a worker without control, but let one that is just ending say itself why."""
        await asyncio.wait((self.process.exited,), timeout=self._settings.probe_timeout_s)
        if not self.process.exited.done():
            self.kill(f"its control socket failed: {why}")

    def _on_event(self, fields: dict[str, Any]) -> None:
        if fields["event"] == "state":
            self._note(HostStatus.model_validate(fields["status"]))
        else:
            self._listener.heard(fields)

    def _note(self, status: HostStatus) -> None:
        lease = (status.epoch, status.expires_boottime_s)
        # The worker's threads announce side by side. Leases only grow, and what is prepared stays so.
        if lease < self._lease or (self.is_prepared and status.state is InstanceState.PREPARING):
            return
        self._lease, self.status = lease, status
        if status.state is not InstanceState.PREPARING and self._prepared_at_s is None:
            self._prepared_at_s = time.monotonic()
        self._listener.noted(self, status)

    def _hang_up(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None

    def _over_budget(self) -> str:
        limit_bytes = self._confinement.limit_bytes or 0
        return f"exceeded its memory budget of {limit_bytes / MIB:g} MiB ({self._confinement.kind})"
