"""Small real servers that stand where a worker host stands."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from tests.patience import patient

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(app: Any, *, lifespan: str = "off") -> AsyncIterator[str]:
    """Serve ``app`` on a free port of the loopback interface; yields the address."""
    # A client that keeps a connection open for less long closes it first, however late either has its turn.
    keep = {"timeout_keep_alive": 3600, "timeout_graceful_shutdown": 1}
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan=lifespan, **keep)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(_serve(server))
    async with asyncio.timeout(patient(60)):
        while not server.started:
            if task.done():
                task.result()
                raise RuntimeError("the server ended while it started")
            await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def _serve(server: uvicorn.Server) -> None:
    # Not server.serve(): it would take this process's signal handlers.
    config = server.config
    if not config.loaded:
        config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    if not server.should_exit:
        await server.main_loop()
    await server.shutdown()


async def body_of(receive: Receive) -> bytes:
    read = b""
    while True:
        message = await receive()
        read += message.get("body", b"")
        if not message.get("more_body"):
            return read


async def start(send: Send, epoch: int, *headers: tuple[str, str], status: int = 200) -> None:
    """The head, stamped as a worker host stamps it."""
    sent = [("fairlead-epoch", str(epoch)), ("fairlead-node", "n"), *headers]
    raw = [(name.encode(), value.encode()) for name, value in sent]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def piece(send: Send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def answer(send: Send, epoch: int, body: bytes, *, status: int = 200, kind: str = "application/json") -> None:
    await start(send, epoch, ("content-type", kind), ("content-length", str(len(body))), status=status)
    await piece(send, body, more=False)


def echo(name: str, epoch: int) -> App:
    """Answers with what it was asked."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [[key.decode(), value.decode()] for key, value in scope["headers"]]
        said = {
            "name": name,
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": headers,
            "body": (await body_of(receive)).decode("latin-1"),
        }
        await answer(send, epoch, json.dumps(said).encode())

    return app


class Dying:
    """Breaks the connection at a chosen moment; counts how often it was asked.

    Args:
        epoch: that it answers with.
        moment: ``head`` (before it), ``body`` (an announced body in its middle), ``first`` (a stream before its first
            piece), ``stream`` (after one event), ``chunks`` (in the middle of a body of unknown length).
    """

    def __init__(self, epoch: int, moment: str) -> None:
        self.epoch, self.moment, self.asked = epoch, moment, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await body_of(receive)
        match self.moment:
            case "head":
                pass
            case "body":
                await start(send, self.epoch, ("content-length", "100"))
                await piece(send, b"half")
            case "first":
                await start(send, self.epoch, ("content-type", "text/event-stream"))
            case "stream":
                await start(send, self.epoch, ("content-type", "text/event-stream; charset=utf-8"))
                await piece(send, b"data: one\n\nda")
            case _:
                await start(send, self.epoch, ("content-type", "application/octet-stream"))
                await piece(send, b"half")
        raise ConnectionAbortedError("as a killed worker")


class Held:
    """Sends the head and one event of a stream, then waits until it is released; notices a client that leaves."""

    def __init__(self, epoch: int, *, early: bool = True) -> None:
        self.epoch, self.early = epoch, early
        self.asked, self.release, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        self.asked.set()
        if self.early:
            await start(send, self.epoch, ("content-type", "text/event-stream"))
            await piece(send, b"data: one\n\n")
        leaving = asyncio.ensure_future(self._watch(receive))
        waiting = asyncio.ensure_future(self.release.wait())
        await asyncio.wait({leaving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not self.release.is_set():
            waiting.cancel()
            return
        if not self.early:
            await answer(send, self.epoch, b"late")
        else:
            await piece(send, b"data: two\n\n", more=False)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()
