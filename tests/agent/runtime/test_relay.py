"""The relay passes requests and answers on, piece by piece."""

from __future__ import annotations

import asyncio

import pytest

from fairlead_agent.runtime.relay import RelayError, forward


async def test_bodies_both_ways_and_queries(bench):
    instance = await bench.serve()
    big = bytes(range(256)) * 8192

    async def pieces():
        for start in range(0, len(big), 100_000):
            yield big[start : start + 100_000]

    for body in (big, pieces()):
        answer = await forward(instance.spec.data_socket, "POST", "/echo?a=1&b=%20", (), body)
        assert b"".join([piece async for piece in answer.body]) == big
    assert (await bench.get("/echo?a=1&b=%20"))[2] == b"a=1&b=%20"


async def test_an_answer_streams_and_may_be_left_half_read(bench):
    instance = await bench.serve()
    answer = await forward(instance.spec.data_socket, "GET", "/stream")
    async for piece in answer.body:
        assert piece.startswith(b"000000")
        break
    await answer.body.aclose()
    async with asyncio.timeout(10):
        while instance.status is None or instance.status.in_flight:
            await asyncio.sleep(0.05)
    assert (await bench.get("/echo?next"))[0] == 200


async def test_a_worker_that_is_not_there(tmp_path):
    with pytest.raises(RelayError, match=r"none\.sock"):
        await forward(tmp_path / "none.sock", "GET", "/")


async def test_headers_of_one_hop_stay_behind(bench):
    instance = await bench.serve()
    headers = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Host", "elsewhere"), ("X-Kept", "1")]
    answer = await forward(instance.spec.data_socket, "GET", "/echo?q", headers)
    assert b"".join([piece async for piece in answer.body]) == b"q"
