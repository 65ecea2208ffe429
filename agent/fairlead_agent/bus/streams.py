"""HTTP over MQTT: one request, one streamed answer, flow control by credit (see :mod:`fairlead_agent.messages.stream`).

The client grants credit in chunks; the server never has more chunks under way, so a client holds at most its window
in memory however slow its reader is, and a gap in the chunk numbers is an error at once. After the request, which is
acknowledged, everything travels with QoS 0: a broker that writes acknowledged messages to disk would do so for every
piece, and a stream that loses one breaks visibly anyway.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Self

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.transport import TransportError
from fairlead_agent.messages import (
    Envelope,
    StreamAbort,
    StreamChunk,
    StreamCredit,
    StreamEnd,
    StreamHead,
    StreamRequest,
)

Headers = tuple[tuple[str, str], ...]

#: Largest piece of a body in one message.
CHUNK_BYTES = 48 * 1024
#: Largest body of a request: it travels in one message of at most 1 MiB, base64-encoded.
MAX_REQUEST_BODY_BYTES = 704 * 1024
WINDOW_CHUNKS = 16


class StreamError(ConnectionError):
    """The answer broke off, or never came; the text says why, on one line."""


class StreamResponse:
    """An answer that arrives in pieces: iterate over it, and close it (or use ``async with``).

    ``status`` and ``headers`` stand as soon as :meth:`StreamClient.request` returns.
    """

    def __init__(self, client: StreamClient, node: str, stream: str, idle_timeout_s: float) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.stream = stream
        self.node = node
        self._client = client
        self._idle_timeout_s = idle_timeout_s
        self._chunks: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._received = 0
        self._taken = 0
        #: Nothing more will be read; ``_over``: nothing more will be sent, either.
        self._ended = False
        self._over = False
        self._error = ""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterate()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def read(self) -> bytes:
        """The whole body. StreamError when it breaks off."""
        return b"".join([piece async for piece in self])

    async def aclose(self) -> None:
        """Let go of the answer; a server that still sends is told to stop."""
        await self._client.release(self, abort=not self._over)

    async def wait_head(self, timeout_s: float) -> None:
        """Wait for status and headers. StreamError when they do not come."""
        if not self.status:
            await self._wait(timeout_s, f"no answer within {timeout_s} s")
        if not self.status:
            raise self._broken()

    def head(self, head: StreamHead) -> None:
        """Status and headers have arrived."""
        if not self.status:
            self.status, self.headers = head.status, head.headers
            self._news.set()

    def chunk(self, chunk: StreamChunk) -> None:
        """A piece has arrived; one that was here before is ignored."""
        if self._ended or chunk.index < self._received:
            return
        if not self.status:
            self.fail("a piece came before the status")
        elif chunk.index > self._received:
            self.fail(f"chunk {self._received} is missing (chunk {chunk.index} came)")
        elif len(self._chunks) >= WINDOW_CHUNKS:
            self.fail(f"the server sent more than its credit of {WINDOW_CHUNKS} chunks")
        else:
            self._accept(chunk)

    def end(self, end: StreamEnd) -> None:
        """The answer is complete or has broken off."""
        self._over = True
        if self._ended:
            return
        if end.error:
            self.fail(end.error)
        elif end.chunks != self._received:
            self.fail(f"it ended after {end.chunks} chunks, {self._received} came")
        elif not self.status:
            self.fail("it ended without a status")
        self._ended = True
        self._news.set()

    def fail(self, reason: str) -> None:
        """The answer is broken; what came before can still be read."""
        self._error = self._error or reason
        self._ended = True
        self._news.set()

    def _accept(self, chunk: StreamChunk) -> None:
        try:
            self._chunks.append(base64.b64decode(chunk.data_base64, validate=True))
        except binascii.Error:
            self.fail(f"chunk {chunk.index} is not base64")
        self._received += 1
        self._news.set()

    async def _iterate(self) -> AsyncIterator[bytes]:
        try:
            while True:
                while self._chunks:
                    piece = self._chunks.popleft()
                    await self._took()
                    yield piece
                if self._ended:
                    break
                await self._wait(self._idle_timeout_s, f"nothing came for {self._idle_timeout_s} s")
            if self._error:
                raise self._broken()
        finally:
            await self.aclose()

    async def _took(self) -> None:
        self._taken += 1
        if self._taken >= WINDOW_CHUNKS // 2 and not self._ended:
            granted, self._taken = self._taken, 0
            await self._client.grant(self, granted)

    async def _wait(self, timeout_s: float, complaint: str) -> None:
        self._news.clear()
        if self._chunks or self._ended:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            self._error = self._error or complaint
            raise self._broken() from None

    def _broken(self) -> StreamError:
        return StreamError(f"stream {self.stream} from {self.node} broke: {self._error or 'no status'}")


class StreamClient:
    """Sends HTTP requests to other nodes.

    Args:
        bus: where they travel.
        new_id: a new unique text of at most 64 characters at each call.
        reply_to: the inbox that takes the answers; default: the bus's own.
    """

    def __init__(self, bus: Bus, new_id: Callable[[], str], *, reply_to: str | None = None) -> None:
        self._bus = bus
        self._new_id = new_id
        self._reply_to = reply_to or bus.node
        self._streams: dict[str, StreamResponse] = {}
        self._stop = bus.on((StreamHead, StreamChunk, StreamEnd), self._arrived)

    def close(self) -> None:
        """Stop listening; open answers break."""
        self._stop()
        for response in list(self._streams.values()):
            response.fail("the client was closed")

    async def request(
        self,
        node: str,
        target: str,
        epoch: int,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        timeout_s: float,
        *,
        idle_timeout_s: float | None = None,
    ) -> StreamResponse:
        """Send a request and wait for the head of its answer.

        Args:
            node: the node that runs the instance.
            target: a lease key as text, or 'node'.
            epoch: the lease's epoch that the caller knows.
            method, path, headers, body: as in HTTP; ``path`` with its query.
            timeout_s: until the head must be here. A node that reads the request later than that drops it.
            idle_timeout_s: longest silence between two pieces; default: ``timeout_s``.

        Raises:
            StreamError: no head in time, or the server broke off.
            ValueError: the body is larger than :data:`MAX_REQUEST_BODY_BYTES`.
        """
        if len(body) > MAX_REQUEST_BODY_BYTES:
            raise ValueError(f"{path}: body of {len(body)} bytes, {MAX_REQUEST_BODY_BYTES} can be relayed over MQTT")
        request = StreamRequest(
            stream=self._new_id(),
            reply_to=self._reply_to,
            target=target,
            epoch=epoch,
            method=method,
            path=path,
            headers=tuple(headers),
            body_base64=base64.b64encode(body).decode(),
            credit=WINDOW_CHUNKS,
        )
        return await self._open(node, request, timeout_s, idle_timeout_s or timeout_s)

    async def grant(self, response: StreamResponse, chunks: int) -> None:
        """Allow the server ``chunks`` more."""
        await self._bus.send(response.node, StreamCredit(stream=response.stream, credit=chunks), qos=0)

    async def release(self, response: StreamResponse, *, abort: bool) -> None:
        """Forget a stream; ``abort``: tell the server."""
        if self._streams.pop(response.stream, None) is not None and abort:
            abort_frame = StreamAbort(stream=response.stream, reason="the client has gone")
            with contextlib.suppress(TransportError):
                await self._bus.send(response.node, abort_frame, qos=0)

    async def _open(self, node: str, request: StreamRequest, timeout_s: float, idle_s: float) -> StreamResponse:
        response = StreamResponse(self, node, request.stream, idle_s)
        self._streams[request.stream] = response
        try:
            await self._bus.send(node, request, expires_in_s=timeout_s)
            await response.wait_head(timeout_s)
        except BaseException:
            await response.aclose()
            raise
        return response

    async def _arrived(self, envelope: Envelope) -> None:
        frame = envelope.data
        if not isinstance(frame, StreamHead | StreamChunk | StreamEnd):
            return
        response = self._streams.get(frame.stream)
        if response is None or response.node != envelope.source:
            return
        if isinstance(frame, StreamHead):
            response.head(frame)
        elif isinstance(frame, StreamChunk):
            response.chunk(frame)
        else:
            response.end(frame)
