"""The life of a worker process: prepare, stand by, serve while the lease lives, end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from fairlead_agent.messages.instance import InstanceState
from fairlead_agent.runtime.exits import Exit
from fairlead_agent.runtime.files import write_private
from fairlead_agent.runtime.host.context import WorkerContext
from fairlead_agent.runtime.host.control import ControlServer
from fairlead_agent.runtime.host.desk import ControlDesk
from fairlead_agent.runtime.host.fence import Fences
from fairlead_agent.runtime.host.gate import Gate
from fairlead_agent.runtime.host.hooks import Hooks, load_worker
from fairlead_agent.runtime.host.lease import HeldLease, boottime_s
from fairlead_agent.runtime.host.peers import PeerBoard
from fairlead_agent.runtime.host.server import Server
from fairlead_agent.runtime.host.tracebacks import print_plugin_traceback
from fairlead_agent.runtime.process_facts import memory_bytes, started_boottime_s
from fairlead_agent.runtime.protocol import HostStatus
from fairlead_agent.runtime.spec import HostSpec, Outcome

_TICK_S = 0.5
_SHUTDOWN_TIMEOUT_S = 5.0


class WorkerHost:
    """One worker process. The main thread runs data, a second one control."""

    def __init__(self, spec: HostSpec) -> None:
        self.spec = spec
        self.lease = HeldLease()
        self.peers = PeerBoard()
        self.hooks: Hooks | None = None
        self.data_loop: asyncio.AbstractEventLoop | None = None
        self.control = ControlServer(spec, ControlDesk(self).handlers())
        self.context = WorkerContext(spec, self.lease, self.peers, self.emit)
        self._fences = Fences(self.lease)
        self.gate = Gate(self.lease, self._fences, node=spec.node, metrics=self.context.exposition)
        self._server: Server | None = None
        self._address: str | None = None
        self._standby = False
        self._started_s: float | None = None
        self._progress: tuple[float, str] = (0.0, "")
        self._ping_sent_s: float | None = None
        self._lease_changed = asyncio.Event()
        self._orphaned_at_s = time.monotonic()
        self._ending = False

    def run(self) -> None:
        """Live until stopped, expired or failed. Ends the process and does not return."""
        try:
            self.control.start(self._tend)
        except OSError as error:
            self.exit(Exit.SOCKET_FAILED, f"control socket {self.spec.control_socket}: {error}")
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            asyncio.run(self._serve_data())
        except Exception as error:
            print_plugin_traceback(error)
            self.exit(Exit.PLUGIN_FAILED, f"{type(error).__name__}: {error}")
        self.exit(Exit.STOPPED, "stopped")

    def emit(self, event: str, **values: Any) -> None:
        """Tell the agent; from any thread."""
        if event == "progress":
            self._progress = (values["share"], values["what"])
        self.control.emit(event, **values)

    @property
    def is_prepared(self) -> bool:
        """Whether the application stands ready to serve."""
        return self._standby

    def state(self) -> InstanceState:
        """What this worker is now."""
        if not self._standby:
            return InstanceState.PREPARING
        if self.gate.draining:
            return InstanceState.DRAINING
        return InstanceState.READY if self.lease.live_epoch() else InstanceState.STANDBY

    def status(self) -> HostStatus:
        """A picture of this worker now."""
        share, what = self._progress
        return HostStatus(
            key=self.spec.key,
            node=self.spec.node,
            variant=self.spec.variant,
            generation=self.spec.generation,
            pid=os.getpid(),
            state=self.state(),
            epoch=self.lease.epoch,
            expires_boottime_s=self.lease.expires_boottime_s,
            address=self._address,
            budget=self.context.budget,
            started_s=self._started_s,
            progress=share,
            progress_what=what,
            in_flight=self.gate.in_flight,
            answered=self.gate.answered,
            refused=self.gate.refused,
            cut=self.gate.cut,
            memory_bytes=memory_bytes(os.getpid()),
            data_blocked_s=self._data_blocked_s(),
        )

    def announce(self) -> None:
        """Tell the agent the state."""
        self.emit("state", status=self.status().model_dump(mode="json"))

    def lease_changed(self) -> None:
        """Wake the watch over the lease; on the control loop."""
        self._lease_changed.set()
        self._cut_stale()
        self.announce()

    def end(self, reason: str, grace_s: float = _SHUTDOWN_TIMEOUT_S) -> None:
        """Begin an orderly end; on the control loop."""
        if not self._standby or self.data_loop is None or self._server is None:
            self.exit(Exit.STOPPED, reason)
        if self._ending:
            return
        self._ending = True
        self.data_loop.call_soon_threadsafe(self._server.stop)
        self.control.loop.call_later(grace_s, self.exit, Exit.STOPPED, f"{reason}, after {grace_s:g} s of grace")

    def exit(self, code: Exit, reason: str) -> NoReturn:
        """End the process at once, leaving word why. Threads of the plugin cannot hold it up."""
        outcome = Outcome(code=code, reason=reason[:2000])
        write_private(self.spec.outcome_path, outcome.model_dump_json())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _on_sigterm(self, *_: object) -> None:
        self.control.loop.call_soon_threadsafe(self.end, "SIGTERM")

    async def _serve_data(self) -> None:
        self.data_loop = asyncio.get_running_loop()
        worker = load_worker(self.spec.worker, self.spec.sys_path)
        self.hooks = Hooks(worker)
        if self.hooks.has("prepare"):
            await self.hooks.on_data_loop("prepare", self.context)
        application = await self.hooks.on_data_loop("application", self.context)
        self.gate.application = application
        server = self._server = Server(self.gate, application, shutdown_timeout_s=_SHUTDOWN_TIMEOUT_S)
        serving = asyncio.create_task(server.run_until_stopped(self._sockets()))
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait((serving, listening), return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if not serving.done():
            self._stand_by()
        await serving

    def _sockets(self) -> list[socket.socket]:
        self.spec.data_socket.unlink(missing_ok=True)
        sockets = [self._fences.listen_unix(str(self.spec.data_socket))]
        if self.spec.tcp_host is not None:
            listener = self._fences.listen_tcp(self.spec.tcp_host, self.spec.tcp_port)
            host = f"[{self.spec.tcp_host}]" if ":" in self.spec.tcp_host else self.spec.tcp_host
            self._address = f"http://{host}:{listener.getsockname()[1]}"
            sockets.append(listener)
        return sockets

    def _stand_by(self) -> None:
        self._started_s = boottime_s() - started_boottime_s(os.getpid())
        self._standby = True
        self.announce()

    async def _tend(self) -> None:
        """Watch over the lease for the life of the process, on the control loop."""
        was_live = False
        while True:
            live = bool(self.lease.live_epoch())
            if was_live and not live:
                self._cut_stale()
                self.announce()
            was_live = live
            self._end_if_abandoned(live)
            # Short sleeps because asyncio's clock stands still while the device is suspended.
            delay_s = min(_TICK_S, self.lease.remaining_s() + 0.001) if live else _TICK_S
            self._lease_changed.clear()
            try:
                await asyncio.wait_for(self._lease_changed.wait(), delay_s)
            except TimeoutError:
                pass

    def _end_if_abandoned(self, live: bool) -> None:
        if self.lease.epoch:
            if not live and -self.lease.remaining_s() > self.spec.expiry_grace_s:
                self.exit(Exit.LEASE_EXPIRED, f"the lease of epoch {self.lease.epoch} ran out and was not renewed")
            return
        if self.control.has_agent:
            self._orphaned_at_s = time.monotonic()
        elif time.monotonic() - self._orphaned_at_s > self.spec.orphan_s:
            self.exit(Exit.ORPHANED, f"no lease and no agent for {self.spec.orphan_s:g} s")

    def _cut_stale(self) -> None:
        if self.data_loop is not None and not self.data_loop.is_closed():
            self.data_loop.call_soon_threadsafe(self.gate.cut_stale)

    def _data_blocked_s(self) -> float:
        """For how long the data loop has owed an answer to a ping; sends the next one when it owes none."""
        if not self._standby or self.data_loop is None:
            return 0.0
        if self._ping_sent_s is not None:
            return time.monotonic() - self._ping_sent_s
        self._ping_sent_s = time.monotonic()
        self.data_loop.call_soon_threadsafe(self._pong)
        return 0.0

    def _pong(self) -> None:
        self._ping_sent_s = None
