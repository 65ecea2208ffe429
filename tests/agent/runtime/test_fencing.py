"""A holder whose lease is gone does not answer, whatever held it up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time

import pytest

from fairlead_agent.messages import InstanceState
from fairlead_agent.runtime.relay import RelayError, forward
from tests.patience import patient


async def _collect(body) -> tuple[bytes, bool]:
    """What arrived, and whether the answer came to its proper end."""
    received = b""
    try:
        async for piece in body:
            received += piece
    except RelayError:
        return received, False
    return received, True


async def test_at_expiry_it_stops_by_itself_and_a_renewal_brings_it_back(bench, boottime_s):
    instance = await bench.start()
    async for epoch in bench.leases(0.5):
        if (status := (await bench.get("/echo?x", epoch=epoch))[0]) == 200:
            break
    assert status == 200
    await instance.until(InstanceState.STANDBY, timeout_s=patient(60))
    status, _, body = await bench.get("/echo?x", epoch=epoch)
    assert status == 503 and "no live lease" in json.loads(body)["error"]
    await bench.supervisor.extend(bench.key, epoch, boottime_s() + patient(60))
    assert (await bench.get("/echo?x", epoch=epoch))[0] == 200


async def test_extensions_keep_it_serving_past_the_first_expiry(bench, boottime_s):
    instance = await bench.start()

    async def kept_up(epoch: int) -> bool:
        first_expiry_s = instance.expires_boottime_s
        ttl_s = first_expiry_s - boottime_s()
        while boottime_s() < first_expiry_s + ttl_s / 2:
            await bench.supervisor.extend(bench.key, epoch, boottime_s() + ttl_s)
            if (await bench.get("/echo?x"))[0] != 200:
                return False
            await asyncio.sleep(0.2)
        return True

    async for epoch in bench.leases(1.0):
        if kept := await kept_up(epoch):
            break
    assert kept


async def test_a_stream_is_cut_at_expiry(bench, boottime_s):
    instance = await bench.start()
    async for _ in bench.leases(0.8):
        answer = await forward(instance.spec.data_socket, "GET", "/stream")
        received, complete = await _collect(answer.body)
        if received and answer.status == 200:
            break
    assert received and answer.status == 200 and not complete
    # Alone it would go on for at least forty seconds.
    assert instance.expires_boottime_s <= boottime_s() < instance.expires_boottime_s + 35


async def test_a_request_that_has_not_begun_its_answer_gets_an_explicit_error(bench):
    await bench.start()
    async for _ in bench.leases(0.6):
        status, _, body = await bench.get("/slow?600")
        if "no live lease" not in json.loads(body)["error"]:
            break
    assert status == 503 and "ran out" in json.loads(body)["error"]


async def test_a_new_epoch_cuts_the_answers_of_the_old_one(bench, boottime_s):
    instance = await bench.serve()
    answer = await forward(instance.spec.data_socket, "GET", "/stream")
    await bench.supervisor.activate(bench.key, 2, boottime_s() + patient(60))
    _, complete = await _collect(answer.body)
    assert not complete


@pytest.mark.parametrize("path", ["/stream", "/flood"])
async def test_a_worker_paused_past_expiry_sends_nothing_when_it_goes_on(bench, boottime_s, path):
    """SIGSTOP in the middle of an answer, SIGCONT after expiry: also bytes that waited in a buffer stay there."""
    instance = await bench.serve(ttl_s=patient(1.2))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(instance.spec.data_socket))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert await asyncio.to_thread(client.recv, 4096)
        os.kill(instance.pid, signal.SIGSTOP)
        await asyncio.to_thread(_read_what_is_there, client)
        while boottime_s() < instance.expires_boottime_s + 0.2:
            await asyncio.sleep(0.05)
        os.kill(instance.pid, signal.SIGCONT)
        late = await asyncio.to_thread(_read_to_end, client)
    assert late == b""


async def test_a_paused_worker_refuses_requests_that_waited(bench, boottime_s):
    instance = await bench.serve(ttl_s=patient(1.0))
    os.kill(instance.pid, signal.SIGSTOP)
    waiting = asyncio.create_task(bench.get("/echo?late", epoch=1))
    while boottime_s() < instance.expires_boottime_s + 0.2:
        await asyncio.sleep(0.05)
    os.kill(instance.pid, signal.SIGCONT)
    status, _, body = await asyncio.wait_for(waiting, patient(60))
    assert status == 503 and b"late" not in body


async def test_a_blocked_data_loop_does_not_answer_after_expiry(bench):
    await bench.serve(ttl_s=patient(0.5))
    status, _, body = await bench.get(f"/block?{patient(1.0)}")
    assert status == 503 and body != b"blocked"


async def test_after_expiry_and_grace_the_worker_ends(bench):
    instance = await bench.serve(ttl_s=patient(0.3), expiry_grace_s=0.3)
    pid = instance.pid
    assert await instance.until(InstanceState.STOPPED, timeout_s=patient(60)) is InstanceState.STOPPED
    assert "lease of epoch 1 ran out" in instance.reason
    assert instance.restarts == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def _read_what_is_there(client: socket.socket) -> bytes:
    """What the kernel holds of a stopped worker's output."""
    client.settimeout(0.2)
    received = b""
    try:
        while piece := client.recv(2**20):
            received += piece
    except TimeoutError:
        pass
    return received


def _read_to_end(client: socket.socket) -> bytes:
    client.settimeout(patient(5))
    received, until_s = b"", time.monotonic() + patient(1.5)
    while time.monotonic() < until_s:
        try:
            piece = client.recv(2**20)
        except ConnectionError:
            break
        if not piece:
            break
        received += piece
    return received
