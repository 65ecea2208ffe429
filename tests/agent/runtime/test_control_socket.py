"""The control socket takes nothing from strangers and survives nonsense."""

from __future__ import annotations

import asyncio
import json

import pytest

from fairlead_agent.runtime.control_client import ControlClient
from fairlead_agent.runtime.protocol import Activate, ControlError, ControlLostError, Status
from tests.patience import patient

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _say(instance, line: bytes) -> dict:
    reader, writer = await asyncio.open_unix_connection(str(instance.spec.control_socket))
    writer.write(line + b"\n")
    answer = json.loads(await asyncio.wait_for(reader.readline(), patient(10)))
    writer.close()
    return answer


async def test_nonsense_is_answered_with_what_is_wrong_and_the_worker_goes_on(served):
    instance = served.supervisor.get(served.key)
    cookie = instance.spec.cookie
    for line, why in (
        (b"\xff\xfe\x00garbage", "no JSON"),
        (b"[1, 2]", "no JSON object"),
        (b"{}", "wrong cookie"),
        (json.dumps({"id": 1, "cookie": cookie, "op": "explode"}).encode(), "op is 'explode', accepted are"),
        (json.dumps({"id": 1, "cookie": cookie, "op": "activate", "epoch": -3}).encode(), "activate: epoch"),
        (json.dumps({"id": 1, "cookie": cookie, "op": "restore", "state_base64": "%%"}).encode(), "no base64"),
    ):
        answer = await _say(instance, line)
        assert answer["ok"] is False and why in answer["error"], line
    _, writer = await asyncio.open_unix_connection(str(instance.spec.control_socket))
    writer.write(b"x" * 100_000)
    writer.close()
    assert (await served.get("/echo?fine"))[0] == 200
    assert instance.restarts == 0


async def test_a_wrong_cookie_is_refused(served):
    instance = served.supervisor.get(served.key)
    for cookie in ("", "wrong", "ä" * 20, None, 5, ["x"], instance.spec.cookie + "x"):
        request = {"id": 7, "cookie": cookie, "op": "activate", "epoch": 99, "expires_boottime_s": 1e12}
        answer = await _say(instance, json.dumps(request).encode())
        assert (answer["id"], answer["ok"], answer["error"]) == (7, False, "wrong cookie")
    assert (await served.get("/echo", epoch=4))[0] == 200


async def test_a_refused_connection_hears_no_events(served):
    instance = served.supervisor.get(served.key)
    events: list[dict] = []
    stranger = await ControlClient.connect(instance.spec.control_socket, "not the cookie at all", events.append)
    with pytest.raises(ControlError, match="wrong cookie"):
        await stranger.hello(timeout_s=patient(10))
    await served.get("/fact")
    await asyncio.sleep(0.2)
    assert events == []
    stranger.close()


async def test_many_requests_overlap_on_one_connection(served):
    instance = served.supervisor.get(served.key)
    client = await ControlClient.connect(instance.spec.control_socket, instance.spec.cookie, lambda _: None)
    answers = await asyncio.gather(*(client.status(timeout_s=patient(10)) for _ in range(50)))
    assert {answer.pid for answer in answers} == {instance.pid}
    with pytest.raises(ControlError) as refused:
        await client.request(Activate.model_construct(epoch=0, expires_boottime_s=0.0), timeout_s=patient(10))
    assert "epoch" in str(refused.value)
    client.close()
    with pytest.raises(ControlLostError):
        await client.request(Status(), timeout_s=patient(10))
