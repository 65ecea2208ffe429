"""The answering side of HTTP over MQTT."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import structlog

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.mailbox import Seen
from fairlead_agent.bus.streams import CHUNK_BYTES, Headers
from fairlead_agent.messages import (
    Body,
    Envelope,
    StreamAbort,
    StreamChunk,
    StreamCredit,
    StreamEnd,
    StreamHead,
    StreamRequest,
)

log = structlog.get_logger(__name__)

Answer = tuple[int, Headers, AsyncIterator[bytes]]
StreamHandler = Callable[[StreamRequest], Awaitable[Answer]]

MAX_STREAMS = 64
#: A client that grants no credit for so long has gone.
STALL_S = 60.0


class ServedStream:
    """One answer under way: its credit and its numbering."""

    def __init__(self, bus: Bus, request: StreamRequest, stall_s: float) -> None:
        self._bus = bus
        self._request = request
        self._stall_s = stall_s
        self._credit = request.credit
        self._granted = asyncio.Event()
        self._sent = 0

    async def answer(self, handler: StreamHandler) -> None:
        """Run ``handler`` and send all that it gives; an exception breaks the stream off with one line."""
        body: AsyncIterator[bytes] | None = None
        error = ""
        try:
            status, headers, body = await handler(self._request)
            await self._say(StreamHead(stream=self._request.stream, status=status, headers=headers))
            async for piece in body:
                await self._send(piece)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"[:500]
            log.warning("stream broke", stream=self._request.stream, path=self._request.path, reason=error)
        finally:
            await _close(body)
        await self._say(StreamEnd(stream=self._request.stream, chunks=self._sent, error=error))

    async def refuse(self, reason: str) -> None:
        """Answer that nothing will come."""
        await self._say(StreamEnd(stream=self._request.stream, chunks=0, error=reason))

    def grant(self, credit: int) -> None:
        """The client allows ``credit`` more chunks."""
        self._credit += credit
        self._granted.set()

    async def _send(self, piece: bytes) -> None:
        for part in _parts(piece):
            await self._wait_for_credit()
            data = base64.b64encode(part).decode()
            await self._say(StreamChunk(stream=self._request.stream, index=self._sent, data_base64=data))
            self._sent += 1

    async def _wait_for_credit(self) -> None:
        while self._credit <= 0:
            self._granted.clear()
            async with asyncio.timeout(self._stall_s):
                await self._granted.wait()
        self._credit -= 1

    async def _say(self, body: Body) -> None:
        await self._bus.send(self._request.reply_to, body, epoch=self._request.epoch, qos=0)


class StreamServer:
    """Answers the stream requests that reach this node.

    Args:
        bus: where they arrive.
        handler: gives status, headers and the pieces of the body. An exception of it, or of the pieces, is one
            StreamError at the client; closing the pieces' iterator is how the handler learns that the client has gone.
        max_streams: answers under way at once; more are refused.
        stall_s: a client that grants no credit for so long has gone.
    """

    def __init__(
        self, bus: Bus, handler: StreamHandler, *, max_streams: int = MAX_STREAMS, stall_s: float = STALL_S
    ) -> None:
        self._bus = bus
        self._handler = handler
        self._max_streams = max_streams
        self._stall_s = stall_s
        self._served: dict[tuple[str, str], tuple[ServedStream, asyncio.Task[None]]] = {}
        self._seen = Seen(1024)
        self._stop = bus.on((StreamRequest, StreamCredit, StreamAbort), self._arrived)

    def __len__(self) -> int:
        return len(self._served)

    async def close(self) -> None:
        """Break off all answers."""
        self._stop()
        tasks = [task for _, task in self._served.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _arrived(self, envelope: Envelope) -> None:
        frame = envelope.data
        if isinstance(frame, StreamRequest):
            await self._begin((envelope.source, frame.stream), frame)
        elif isinstance(frame, StreamCredit | StreamAbort):
            stream, task = self._served.get((envelope.source, frame.stream), (None, None))
            if stream is not None and isinstance(frame, StreamCredit):
                stream.grant(frame.credit)
            elif task is not None:
                task.cancel()

    async def _begin(self, key: tuple[str, str], request: StreamRequest) -> None:
        if not self._seen.add(key):
            return
        stream = ServedStream(self._bus, request, self._stall_s)
        if len(self._served) >= self._max_streams:
            await stream.refuse(f"{self._bus.node} serves {self._max_streams} streams, no more at once")
            return
        task = asyncio.create_task(stream.answer(self._handler), name=f"stream {request.stream}")
        self._served[key] = (stream, task)
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        self._served.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("stream could not be ended", stream=key[1], client=key[0], reason=str(error))


def decode_body(request: StreamRequest) -> bytes:
    """The bytes of a request's body. ValueError when it is not base64."""
    try:
        return base64.b64decode(request.body_base64, validate=True)
    except binascii.Error as error:
        raise ValueError(f"stream {request.stream}: body_base64 is not base64: {error}") from None


def _parts(piece: bytes) -> Iterator[bytes]:
    for start in range(0, len(piece), CHUNK_BYTES):
        yield piece[start : start + CHUNK_BYTES]


async def _close(body: AsyncIterator[bytes] | None) -> None:
    closer = getattr(body, "aclose", None)
    if closer is not None:
        await closer()
