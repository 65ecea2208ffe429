"""HTTP over MQTT: whole answers, slow readers, broken ones, and those who leave."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator

import pytest

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.memory import Faults, MemoryBroker
from fairlead_agent.bus.stream_server import StreamServer, decode_body
from fairlead_agent.bus.streams import (
    CHUNK_BYTES,
    MAX_REQUEST_BODY_BYTES,
    WINDOW_CHUNKS,
    StreamClient,
    StreamError,
    StreamResponse,
)
from fairlead_agent.messages import StreamChunk, StreamEnd, StreamHead, StreamRequest
from tests.agent.bus.support import SITE, Clients, eventually, ids
from tests.patience import patient


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class Pair:
    """A client and a server on a network in memory."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(draw=random.Random(5))
        self.requests: list[StreamRequest] = []
        self.produced = 0
        self.closed = 0

    async def start(self, **options: float) -> Pair:
        transports = [self.broker.transport(name) for name in ("gateway", "node")]
        for transport in transports:
            await transport.start()
        self.gateway, self.node = (
            Bus(t, SITE, n, 1, lambda: 100.0, ids(n)) for t, n in zip(transports, ("gateway", "node"), strict=True)
        )
        self.client = StreamClient(self.gateway, ids("s"))
        self.server = StreamServer(self.node, self.handle, **options)
        return self

    async def close(self) -> None:
        self.client.close()
        await self.server.close()
        for bus in (self.gateway, self.node):
            bus.close()
            await bus.transport.close()

    async def handle(self, request: StreamRequest) -> tuple[int, tuple[tuple[str, str], ...], AsyncIterator[bytes]]:
        self.requests.append(request)
        if request.path == "/echo":
            return 200, (("content-type", "text/plain"),), pieces(decode_body(request))
        if request.path == "/endless":
            return 200, (), self.endless()
        if request.path == "/breaks":
            return 200, (), self.breaking()
        if request.path == "/hangs":
            await asyncio.sleep(3600)
        raise LookupError(f"no {request.path}")

    async def endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                self.produced += 1
                yield b"%d;" % self.produced
        finally:
            self.closed += 1

    async def breaking(self) -> AsyncIterator[bytes]:
        yield b"good"
        raise RuntimeError("the worker died")

    async def get(
        self, path: str, body: bytes = b"", timeout_s: float = patient(60.0), idle_s: float | None = None
    ) -> StreamResponse:
        return await self.client.request(
            "node", "node", 3, "POST", path, [("a", "b")], body, timeout_s, idle_timeout_s=idle_s
        )


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = await Pair().start()
    yield made
    await made.close()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, MAX_REQUEST_BODY_BYTES])
async def test_bodies_of_every_size_come_back_whole(pair: Pair, size: int) -> None:
    body = random.Random(size).randbytes(size)
    response = await pair.get("/echo", body)
    assert response.status == 200
    assert response.headers == (("content-type", "text/plain"),)
    assert await response.read() == body
    [request] = pair.requests
    assert (request.method, request.epoch, request.headers) == ("POST", 3, (("a", "b"),))
    await eventually(lambda: len(pair.server) == 0)


async def test_larger_request_bodies_are_refused_with_the_limit(pair: Pair) -> None:
    with pytest.raises(ValueError, match=str(MAX_REQUEST_BODY_BYTES)):
        await pair.get("/echo", bytes(MAX_REQUEST_BODY_BYTES + 1))


async def test_slow_reader_holds_the_server_back_and_loses_nothing(pair: Pair) -> None:
    response = await pair.get("/endless")
    await eventually(lambda: pair.produced > WINDOW_CHUNKS)
    await asyncio.sleep(0.05)
    assert pair.produced == WINDOW_CHUNKS + 1
    got = b""
    async for piece in response:
        got += piece
        if got.count(b";") == 100:
            break
        await asyncio.sleep(0)
    assert got == b"".join(b"%d;" % number for number in range(1, 101))
    assert pair.produced <= 100 + WINDOW_CHUNKS + 1
    await response.aclose()


async def test_leaving_stops_the_server(pair: Pair) -> None:
    async with await pair.get("/endless") as response:
        async for _ in response:
            break
    await eventually(lambda: pair.closed == 1 and len(pair.server) == 0)


async def test_answer_that_breaks_is_one_clear_error_after_what_came(pair: Pair) -> None:
    response = await pair.get("/breaks")
    got: list[bytes] = []
    with pytest.raises(StreamError, match="the worker died"):
        async for piece in response:
            got += [piece]
    assert got == [b"good"]


async def test_handler_that_fails_and_node_that_hangs(pair: Pair) -> None:
    with pytest.raises(StreamError, match="no /nowhere"):
        await pair.get("/nowhere")
    with pytest.raises(StreamError, match="no answer within"):
        await pair.get("/hangs", timeout_s=0.05)
    await eventually(lambda: len(pair.server) == 0)


async def test_silent_node_in_mid_stream_is_an_error(pair: Pair) -> None:
    response = await pair.get("/endless", idle_s=0.2)
    await eventually(lambda: pair.produced > WINDOW_CHUNKS)
    pair.broker.network.cut("node")
    with pytest.raises(StreamError, match="nothing came"):
        await response.read()


async def test_duplicates_do_no_harm(pair: Pair) -> None:
    pair.broker.network.faults = Faults(duplicate=1.0)
    body = random.Random(0).randbytes(5 * CHUNK_BYTES)
    assert await (await pair.get("/echo", body)).read() == body


async def test_lost_chunk_is_noticed(pair: Pair) -> None:
    body = random.Random(0).randbytes(14 * CHUNK_BYTES)
    response = await pair.get("/echo")
    await response.read()
    pair.broker.network.faults = Faults(loss=0.5)
    for _ in range(5):
        with pytest.raises(StreamError):
            await (await pair.get("/echo", body, timeout_s=0.2)).read()


async def test_client_that_grants_nothing_is_given_up() -> None:
    pair = await Pair().start(stall_s=0.05)
    response = await pair.get("/endless")
    await eventually(lambda: pair.closed == 1)
    with pytest.raises(StreamError, match="TimeoutError"):
        await response.read()
    await pair.close()


async def test_reader_that_breaks_off_tells_the_server(pair: Pair) -> None:
    response = await pair.get("/endless")
    await pair.node.send("gateway", chunk(99).model_copy(update={"stream": response.stream}))
    with pytest.raises(StreamError, match="is missing"):
        await response.read()
    await eventually(lambda: pair.closed == 1 and len(pair.server) == 0)


async def test_closing_the_client_ends_its_streams_on_both_sides(pair: Pair) -> None:
    response = await pair.get("/endless")
    reading = asyncio.create_task(response.read())
    await eventually(lambda: pair.produced > 2 * WINDOW_CHUNKS)
    pair.client.close()
    with pytest.raises(StreamError, match="client was closed"):
        await reading
    await eventually(lambda: pair.closed == 1)


async def test_more_streams_than_allowed_are_refused() -> None:
    pair = await Pair().start(max_streams=2)
    kept = [await pair.get("/endless") for _ in range(2)]
    with pytest.raises(StreamError, match="serves 2 streams"):
        await pair.get("/echo")
    for response in kept:
        await response.aclose()
    await eventually(lambda: len(pair.server) == 0)
    assert (await pair.get("/echo")).status == 200
    await pair.close()


async def forged(pair: Pair, *frames: StreamHead | StreamChunk | StreamEnd) -> StreamResponse:
    """An answer made of ``frames`` of stream s-0, from a server that breaks the rules."""
    await pair.server.close()
    opening = asyncio.create_task(pair.get("/"))
    await asyncio.sleep(0.01)
    for frame in frames:
        await pair.node.send("gateway", frame)
    return await opening


HEAD = StreamHead(stream="s-0", status=200)


def chunk(index: int) -> StreamChunk:
    return StreamChunk(stream="s-0", index=index, data_base64=base64.b64encode(b"%d" % index).decode())


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([HEAD, chunk(0), chunk(2)], "chunk 1 is missing"),
        ([HEAD, chunk(0), StreamEnd(stream="s-0", chunks=2)], "ended after 2 chunks, 1 came"),
        ([HEAD, *(chunk(number) for number in range(WINDOW_CHUNKS + 1))], "more than its credit"),
        ([HEAD, StreamChunk(stream="s-0", index=0, data_base64="!")], "not base64"),
        ([chunk(0)], "before the status"),
        ([StreamEnd(stream="s-0", chunks=0)], "without a status"),
    ],
)
async def test_servers_that_break_the_rules(pair: Pair, frames: list, complaint: str) -> None:
    with pytest.raises(StreamError, match=complaint):
        await (await forged(pair, *frames)).read()


async def test_frames_of_strangers_are_ignored(pair: Pair) -> None:
    response = await pair.get("/endless")
    stranger = Bus(pair.broker.transport("stranger"), SITE, "stranger", 1, lambda: 100.0, ids("x"))
    await stranger.transport.start()
    await stranger.send("gateway", StreamEnd(stream=response.stream, chunks=0, error="forged"))
    got = 0
    async for _ in response:
        got += 1
        if got == 3 * WINDOW_CHUNKS:
            break
    assert got == 3 * WINDOW_CHUNKS
    await stranger.transport.close()


async def test_large_answer_over_a_real_broker(clients: Clients) -> None:
    transports = await clients.start("gateway", "node")
    gateway, node = (Bus(t, SITE, t._options.client_id, 1, lambda: 1.0, ids(t._options.client_id)) for t in transports)
    body = random.Random(9).randbytes(4_000_000)

    async def handle(request: StreamRequest) -> tuple[int, tuple[()], AsyncIterator[bytes]]:
        return 206, (), pieces(body[:3_000_000], body[3_000_000:])

    StreamServer(node, handle)
    client = StreamClient(gateway, ids("s"))
    for transport in transports:
        assert await transport.flush(patient(60))
    response = await client.request("node", "node", 0, "GET", "/", (), b"", patient(60))
    assert response.status == 206
    assert await response.read() == body
