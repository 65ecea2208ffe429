"""Answers of one worker, straight and through the relay."""

from __future__ import annotations

import asyncio
import json

import pytest

from fairlead_agent.plugin import Peer
from fairlead_agent.runtime.relay import RelayError, forward
from tests.patience import patient

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_another_epoch_gets_409_with_the_held_one(served):
    for asked in (3, 5):
        status, headers, body = await served.get("/echo", epoch=asked)
        assert status == 409
        assert json.loads(body)["epoch"] == 4
        assert str(asked) in json.loads(body)["error"]
        assert headers["fairlead-epoch"] == "4"
        assert str(asked) in headers["fairlead-refused"]


async def test_an_epoch_that_is_no_number_is_a_clear_error(served):
    instance = served.supervisor.get(served.key)
    answer = await forward(instance.spec.data_socket, "GET", "/echo", [("Fairlead-Epoch", "new")])
    body = b"".join([piece async for piece in answer.body])
    assert answer.status == 400 and b"'new'" in body and b"whole number" in body


async def test_every_answer_carries_epoch_and_node(served):
    for path, expected in (("/nowhere", 404), ("/raise", 500), ("/-/metrics", 404), ("/-/ready", 200)):
        status, headers, _ = await served.get(path)
        assert status == expected
        assert (headers["fairlead-epoch"], headers["fairlead-node"]) == ("4", "desk")


async def test_serves_on_tcp_where_peers_may_reach_it(served):
    instance = served.supervisor.get(served.key)
    address = instance.report().address
    assert address.startswith("http://127.0.0.1:")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    writer.write(b"GET /echo?tcp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), patient(10))
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200") and b"tcp" in answer


async def test_metrics_are_exposed(served):
    await served.get("/metric")
    status, headers, body = await served.get("/-/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    assert b"echo_things_total 3.0" in body


async def test_peers_stream_into_the_worker(served):
    waiting = asyncio.create_task(served.get("/peers"))
    await asyncio.sleep(patient(0.1))
    peers = [Peer(workload="echo", replica=n, node=f"n{n}", epoch=1, address=None) for n in (1, 2)]
    await served.supervisor.show_peers(served.key, peers)
    assert (await asyncio.wait_for(waiting, patient(10)))[2] == b"n1,n2"


async def test_state_moves_by_checkpoint_and_restore(served):
    await served.supervisor.restore(served.key, b"\x00state")
    assert await served.supervisor.checkpoint(served.key) == b"\x00state!"


async def test_bodies_both_ways_and_queries(served):
    instance = served.supervisor.get(served.key)
    big = bytes(range(256)) * 8192

    async def pieces():
        for start in range(0, len(big), 100_000):
            yield big[start : start + 100_000]

    for body in (big, pieces()):
        answer = await forward(instance.spec.data_socket, "POST", "/echo?a=1&b=%20", (), body)
        assert b"".join([piece async for piece in answer.body]) == big
    assert (await served.get("/echo?a=1&b=%20"))[2] == b"a=1&b=%20"


async def test_an_answer_streams_and_may_be_left_half_read(served):
    instance = served.supervisor.get(served.key)
    answer = await forward(instance.spec.data_socket, "GET", "/stream")
    pieces = aiter(answer.body)
    assert (await anext(pieces)).startswith(b"000000")
    await served.in_flight(1)
    await answer.body.aclose()
    await served.in_flight(0)
    assert (await served.get("/echo?next"))[0] == 200


async def test_a_worker_that_is_not_there(tmp_path):
    with pytest.raises(RelayError, match=r"none\.sock"):
        await forward(tmp_path / "none.sock", "GET", "/")


async def test_headers_of_one_hop_stay_behind(served):
    instance = served.supervisor.get(served.key)
    headers = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Host", "elsewhere"), ("X-Kept", "1")]
    answer = await forward(instance.spec.data_socket, "GET", "/echo?q", headers)
    assert b"".join([piece async for piece in answer.body]) == b"q"
