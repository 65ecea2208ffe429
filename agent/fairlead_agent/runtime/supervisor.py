"""All instances of one node. Light: nothing here imports a web server or a numeric library."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import os
import secrets
import signal
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fairlead_agent.messages.instance import InstanceReport
from fairlead_agent.messages.lease import LeaseKey
from fairlead_agent.plugin.budget import Budget, BudgetReply
from fairlead_agent.plugin.context import Logger, Peer
from fairlead_agent.runtime import protocol
from fairlead_agent.runtime.adoption import Candidate, Remains, clear_remains, find_candidates
from fairlead_agent.runtime.instance import Instance, InstanceError
from fairlead_agent.runtime.light_structlog import structlog
from fairlead_agent.runtime.limits import LimitBusyError, Limiter, choose_limiter
from fairlead_agent.runtime.limits.resize import TIER
from fairlead_agent.runtime.process import WorkerProcess
from fairlead_agent.runtime.settings import SupervisorSettings
from fairlead_agent.runtime.spec import SOCKET_PATH_MAX_BYTES, HostSpec, InstanceName, InstanceSpec
from fairlead_agent.runtime.worker_run import HandshakeError

ReportCallback = Callable[[InstanceReport], None]
FactCallback = Callable[[LeaseKey, str, str, float, float], None]
Unsubscribe = Callable[[], None]


class SupervisorBusyError(RuntimeError):
    """Another agent uses the state folder."""


class Supervisor:
    """Starts, adopts, watches and stops instances. Belongs to one event loop.

    Args:
        state_dir: the agent's own; holds a folder for each instance. One supervisor at a time.
        node: this node's name.
        clock: CLOCK_BOOTTIME in seconds.
        limiter: what enforces memory limits; default: the strongest that works here.
        log: a structlog logger.
        settings: times and sizes.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        node: str,
        clock: Callable[[], float],
        limiter: Limiter | None = None,
        log: Logger | None = None,
        settings: SupervisorSettings | None = None,
    ) -> None:
        self._folder = Path(state_dir).resolve() / "instances"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(self._folder / "lock")
        self._node = node
        self._clock = clock
        self._log: Logger = log or structlog.get_logger("fairlead.runtime")
        self._settings = settings or SupervisorSettings()
        self._limiter = limiter or choose_limiter(f"fairlead.{self._digest()}")
        self._instances: dict[InstanceName, Instance] = {}
        self._report_callbacks: list[ReportCallback] = []
        self._fact_callbacks: list[FactCallback] = []

    @property
    def limiter(self) -> Limiter:
        """What enforces memory limits here, and why (``limiter.kind``, ``limiter.why``)."""
        return self._limiter

    async def start(self, spec: InstanceSpec) -> Instance:
        """Start an instance and return at once; it is PREPARING. An ended one of the same key is replaced.

        Raises:
            InstanceError: one of that key runs already, or the spec is for another node.
            OSError: the instance's folder or its memory limit cannot be made.
        """
        if spec.node != self._node:
            raise InstanceError(f"{spec.key}: field node is {spec.node!r}, this node is {self._node!r}")
        present = self._instances.get(spec.name)
        if present is not None and not present.ended:
            raise InstanceError(f"{spec.key} runs already ({present.state})")
        instance = self._make(self._host_spec(spec))
        instance.start()
        self.changed(instance)
        return instance

    def get(self, key: LeaseKey, negotiation: str = "") -> Instance:
        """The instance of a key that a negotiation led to.

        Raises:
            InstanceError: there is none.
        """
        try:
            return self._instances[(key, negotiation)]
        except KeyError:
            raise InstanceError(f"{key}: there is no such instance on node {self._node}") from None

    def keys(self) -> tuple[LeaseKey, ...]:
        """The keys of all instances, ended ones too until they are forgotten."""
        return tuple(key for key, _ in self._instances)

    def instances(self) -> tuple[Instance, ...]:
        """All instances, ended ones too until they are forgotten."""
        return tuple(self._instances.values())

    def holder(self, key: LeaseKey, epoch: int) -> Instance | None:
        """The instance of a key that holds an epoch, if there is one."""
        found = (each for (other, _), each in self._instances.items() if other == key and each.epoch == epoch)
        return next((each for each in found if not each.ended), None)

    def newest(self, key: LeaseKey) -> Instance:
        """The instance of a key that was started last.

        Raises:
            InstanceError: there is none.
        """
        for (other, _), instance in reversed(self._instances.items()):
            if other == key:
                return instance
        raise InstanceError(f"{key}: there is no such instance on node {self._node}")

    async def activate(self, key: LeaseKey, epoch: int, expires_boottime_s: float, negotiation: str = "") -> None:
        """Let an instance serve under an epoch until a time on CLOCK_BOOTTIME."""
        await self.get(key, negotiation).activate(epoch, expires_boottime_s)

    async def extend(self, key: LeaseKey, epoch: int, expires_boottime_s: float, negotiation: str = "") -> None:
        """Move the expiry of the epoch that an instance holds."""
        await self.get(key, negotiation).extend(epoch, expires_boottime_s)

    async def reconfigure(self, key: LeaseKey, budget: Budget, deadline_s: float, negotiation: str = "") -> BudgetReply:
        """Grow or shrink an instance. On a shrink the limit falls only after its reply or the deadline."""
        return await self.get(key, negotiation).reconfigure(budget, deadline_s)

    async def drain(self, key: LeaseKey, deadline_s: float, negotiation: str = "") -> bool:
        """Take no new request and finish those under way; False: some were not finished in time."""
        return await self.get(key, negotiation).drain(deadline_s)

    async def checkpoint(self, key: LeaseKey, deadline_s: float = 30.0, negotiation: str = "") -> bytes:
        """The state that a successor may restore."""
        answer = await self.get(key, negotiation).ask(
            protocol.Checkpoint(deadline_s=deadline_s), timeout_s=deadline_s + 1
        )
        return base64.b64decode(answer["state_base64"])

    async def restore(self, key: LeaseKey, state: bytes, deadline_s: float = 30.0, negotiation: str = "") -> None:
        """Hand a predecessor's state to an instance."""
        operation = protocol.Restore(state_base64=base64.b64encode(state).decode(), deadline_s=deadline_s)
        await self.get(key, negotiation).ask(operation, timeout_s=deadline_s + 1)

    async def show_peers(self, key: LeaseKey, peers: Iterable[Peer], negotiation: str = "") -> None:
        """Tell an instance who else serves its workload."""
        await self.get(key, negotiation).ask(protocol.Peers(peers=tuple(peers)))

    async def stop(self, key: LeaseKey, reason: str = "stopped", negotiation: str = "") -> None:
        """End an instance; when this returns no process of it is left. It stays in the reports until forgotten."""
        await self.get(key, negotiation).stop(reason)

    async def forget(self, key: LeaseKey, negotiation: str = "") -> None:
        """Drop an instance with its folder and its log; a running one is stopped first."""
        instance = self.get(key, negotiation)
        await instance.stop("forgotten")
        instance.remove_folder()
        self._instances.pop(instance.spec.name, None)

    async def shutdown(self, reason: str = "the agent shuts down") -> None:
        """Stop all instances and let go of the state folder."""
        await asyncio.gather(*(each.stop(reason) for each in self._instances.values()))
        await self.detach()
        self._limiter.close()

    async def detach(self) -> None:
        """Let go of the state folder and leave the workers running, for the next agent to adopt."""
        for instance in self._instances.values():
            await instance.detach()
        self._instances.clear()
        os.close(self._lock)

    async def adopt(self) -> list[Instance]:
        """Take over the workers that an earlier agent left; what is left of others is cleared away.

        A process is only killed if pid, start time, boot and command line all say that it is a worker of this folder.
        """
        candidates, remains = find_candidates(self._folder)
        for each in remains:
            if each.folder not in {instance.spec.folder for instance in self._instances.values()}:
                self._clear_remains(each)
        adopted = [await self._adopt(each) for each in candidates if each.spec.name not in self._instances]
        return [each for each in adopted if each is not None]

    def reports(self) -> tuple[InstanceReport, ...]:
        """All instances, ordered by key."""
        return tuple(
            self._instances[name].report() for name in sorted(self._instances, key=lambda name: (str(name[0]), name[1]))
        )

    def subscribe(self, callback: ReportCallback) -> Unsubscribe:
        """Call back with the report of every instance that changes its state."""
        return _register(self._report_callbacks, callback)

    def subscribe_facts(self, callback: FactCallback) -> Unsubscribe:
        """Call back with (key, vertex, attribute, value, uncertainty) of every fact that a plugin publishes."""
        return _register(self._fact_callbacks, callback)

    def tail(self, key: LeaseKey, count: int = 100) -> list[str]:
        """The last lines that an instance's workers wrote."""
        return self.newest(key).log.tail(count)

    def changed(self, instance: Instance) -> None:
        """Called by instances."""
        report = instance.report()
        self._log.info("instance", key=str(report.key), state=report.state.value, reason=report.reason)
        for callback in list(self._report_callbacks):
            self._call(callback, report)

    def fact(self, key: LeaseKey, vertex: str, attribute: str, value: float, uncertainty: float) -> None:
        """Called by instances."""
        for callback in list(self._fact_callbacks):
            self._call(callback, key, vertex, attribute, value, uncertainty)

    def warning(self, event: str, **values: Any) -> None:
        """Called by instances."""
        self._log.warning(event, **values)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            self._log.error("subscriber.raised", error=repr(error))

    def _clear_remains(self, remains: Remains) -> None:
        self._log.info("adopt.cleared", folder=remains.folder.name, why=remains.why)
        try:
            clear_remains(remains, self._limiter)
        except OSError as error:
            self._log.warning("adopt.not_cleared", folder=remains.folder.name, why=str(error))

    async def _adopt(self, candidate: Candidate) -> Instance | None:
        key, process = candidate.spec.key, WorkerProcess(candidate.mark)
        try:
            instance = self._make(candidate.spec)
            await instance.adopt(process)
        except (HandshakeError, LimitBusyError, OSError) as error:
            # A worker that cannot be led or limited must not go on beside its successor.
            process.signal_group(signal.SIGKILL)
            self._log.warning("adopt.killed", instance=str(key), why=str(error))
            self._instances.pop(candidate.spec.name, None)
            return None
        self._log.info("adopt", instance=str(key), epoch=instance.epoch)
        return instance

    def _make(self, spec: HostSpec) -> Instance:
        confinement = self._limiter.confine(spec.folder.name, spec.budget.memory_bytes.get(TIER))
        instance = Instance(spec, confinement, self._settings, self, self._clock)
        self._instances[spec.name] = instance
        return instance

    def _host_spec(self, spec: InstanceSpec) -> HostSpec:
        # A workload of another site may have the same name, and a dot is in no name.
        name = f"{spec.key.site}.{spec.key.workload}.{spec.key.replica}"
        if spec.negotiation:
            name += "." + hashlib.sha256(spec.negotiation.encode()).hexdigest()[:8]
        folder = self._folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
        sockets = self._socket_folder(folder)
        fields = {each: getattr(spec, each) for each in InstanceSpec.model_fields}
        return HostSpec(
            **fields,
            folder=folder,
            data_socket=sockets / "data.sock",
            control_socket=sockets / "control.sock",
            cookie=secrets.token_urlsafe(24),
        )

    def _socket_folder(self, folder: Path) -> Path:
        """The instance's folder, or a short one elsewhere if a socket's path would be too long."""
        if len(str(folder / "control.sock").encode()) <= SOCKET_PATH_MAX_BYTES:
            return folder
        return Path(tempfile.mkdtemp(prefix="fairlead-"))

    def _digest(self) -> str:
        return hashlib.sha256(f"{self._node} {self._folder}".encode()).hexdigest()[:12]


def _register(callbacks: list[Any], callback: Any) -> Unsubscribe:
    callbacks.append(callback)

    def unsubscribe() -> None:
        if callback in callbacks:
            callbacks.remove(callback)

    return unsubscribe


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SupervisorBusyError(f"{path.parent} is in use by another agent") from None
    return descriptor
