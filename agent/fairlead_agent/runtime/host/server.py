"""uvicorn, cut down to what a worker needs: no reload, no signal handlers, no polling."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any

from fairlead_agent.runtime.host.gate import Application, Gate, Receive, Scope, Send

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError as error:
    raise ImportError(
        f"the worker host needs uvicorn ({error}); install the extra: pip install 'fairlead-agent[worker]'"
    ) from error


class ApplicationStartError(RuntimeError):
    """The application's lifespan start-up failed."""


class Server(uvicorn.Server):
    """Serves one gate on given sockets until told to stop."""

    def __init__(self, gate: Gate, application: Application, *, shutdown_timeout_s: float) -> None:
        super().__init__(_configuration(gate, application, shutdown_timeout_s))
        self.listening = asyncio.Event()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Stop listening and end; called on the data loop."""
        self.should_exit = True
        self._stop.set()

    async def run_until_stopped(self, sockets: list[socket.socket]) -> None:
        """Serve.

        Raises:
            ApplicationStartError: the application refused to start.
        """
        try:
            await self.serve(sockets)
        except SystemExit:
            raise ApplicationStartError("the application's lifespan start-up failed") from None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        # uvicorn's own wakes ten times a second for features that are switched off here.
        await self._stop.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _configuration(gate: Gate, application: Application, shutdown_timeout_s: float) -> uvicorn.Config:
    class GatedProtocol(H11Protocol):
        """HTTP/1.1 whose requests pass the gate together with their connection."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.app = self._pass_gate

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            # Back-pressure from the first byte: at most one message waits in the buffer.
            transport.set_write_buffer_limits(high=0)
            super().connection_made(transport)

        async def _pass_gate(self, scope: Scope, receive: Receive, send: Send) -> None:
            await gate.serve(scope, receive, send, self.transport)

    return uvicorn.Config(
        application,  # type: ignore[arg-type]
        http=GatedProtocol,
        ws="none",
        loop="asyncio",
        lifespan="auto",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(shutdown_timeout_s)),
    )
