"""The worker in a real process under the runtime's supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from fairlead_agent.messages import InstanceState, LeaseKey
from fairlead_agent.plugin import Budget
from fairlead_agent.runtime.relay import forward
from fairlead_agent.runtime.spec import InstanceSpec
from fairlead_agent.runtime.supervisor import Supervisor
from fairlead_kernels import backend
from tests.patience import patient, supervisor_settings

MIB = 2**20
KEY = LeaseKey(site="home", workload="chat", replica=0)
PACKAGES = Path(__file__).parents[3] / "plugins"


def boottime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def spec(folder: Path, checkpoint: Path, **fields: Any) -> InstanceSpec:
    given: dict[str, Any] = {
        "key": KEY,
        "variant": "q8-sparse-native" if backend().name == "native" else "q8-sparse-numpy",
        "node": "desk",
        "worker": "fairlead_sparse_inference.worker:worker",
        "sys_path": tuple(PACKAGES / name for name in ("sparse_inference", "language_model")),
        "cache_dir": folder / "cache",
        "config": {"model": str(checkpoint)},
        "budget": Budget(memory_bytes={"dram": 192 * MIB}, cores=1),
    }
    return InstanceSpec(**{**given, **fields})


async def send(supervisor: Supervisor, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    headers = [("Fairlead-Epoch", "1"), ("content-type", "application/json")]
    socket_path = supervisor.get(KEY).spec.data_socket
    return await forward(socket_path, method, path, headers, content, read_timeout_s=patient(20))


async def ask(supervisor: Supervisor, body: dict[str, Any]) -> dict[str, Any]:
    answer = await send(supervisor, "POST", "/v1/completions", body)
    text = b"".join([piece async for piece in answer.body])
    assert answer.status == 200, text
    return json.loads(text)


async def metrics(supervisor: Supervisor) -> dict[str, float]:
    answer = await send(supervisor, "GET", "/metrics")
    text = b"".join([piece async for piece in answer.body]).decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("fairlead_sparse_")]
    return {name.removeprefix("fairlead_sparse_"): float(value) for name, value in lines}


@pytest.mark.skipif("FAIRLEAD_TEST_EMULATED" in os.environ, reason="an emulator's own code counts as a worker's memory")
async def test_an_instance_serves_within_a_phones_budget_and_shrinks(tmp_path: Path, checkpoint: Path) -> None:
    supervisor = Supervisor(tmp_path, node="desk", clock=boottime_s, settings=supervisor_settings())
    try:
        instance = await supervisor.start(spec(tmp_path, checkpoint))
        state = await instance.until(InstanceState.STANDBY, timeout_s=patient(60))
        assert state is InstanceState.STANDBY, instance.reason
        await supervisor.activate(KEY, 1, boottime_s() + patient(60))
        body = {"model": "chat", "prompt": "The rain", "max_tokens": 8, "temperature": 0}
        answer = await ask(supervisor, body)
        reply = await supervisor.reconfigure(KEY, Budget(memory_bytes={"dram": 128 * MIB}, cores=1), patient(10))
        assert reply.accepted, reply.reason
        assert reply.minimum["dram"] <= reply.in_use["dram"] <= 128 * MIB
        assert (await ask(supervisor, body))["choices"] == answer["choices"]
        refused = await supervisor.reconfigure(KEY, Budget(memory_bytes={"dram": 8 * MIB}), patient(10))
        assert not refused.accepted
        assert (await ask(supervisor, body))["choices"] == answer["choices"]
        status = instance.status
        assert status is not None
        # What the engine says that it holds covers what the system sees.
        assert status.memory_bytes is None or status.memory_bytes <= reply.in_use["dram"]
    finally:
        await supervisor.shutdown()


def ended(found: dict[str, float]) -> bool:
    """Whether four streams of 120 tokens are over, some of them early unless the machine let nobody leave in time."""
    under_way = [found[f'sequences{{state="{state}"}}'] for state in ("active", "waiting")]
    early = found['requests_ended_early_total{why="aborted"}'] > 0
    return not any([*under_way, found['kv_pages{state="used"}']]) and (
        early or found['tokens_total{kind="completion"}'] == 4 * 120
    )


async def test_a_client_that_leaves_a_stream_stops_its_generation(tmp_path: Path, checkpoint: Path) -> None:
    supervisor = Supervisor(tmp_path, node="desk", clock=boottime_s, settings=supervisor_settings())
    try:
        instance = await supervisor.start(spec(tmp_path, checkpoint))
        state = await instance.until(InstanceState.STANDBY, timeout_s=patient(60))
        assert state is InstanceState.STANDBY, instance.reason
        await supervisor.activate(KEY, 1, boottime_s() + patient(60))
        ends = {"1": -100, "4": -100}
        body = {"model": "chat", "prompt": "The", "max_tokens": 120, "stream": True, "logit_bias": ends}
        # The tiny model is quick: of several streams that are left at once, some are left in time.
        streams = [await send(supervisor, "POST", "/v1/completions", body) for _ in range(4)]
        for stream in streams:
            await stream.body.aclose()
        async with asyncio.timeout(patient(60)):
            while not ended(await metrics(supervisor)):
                await asyncio.sleep(0.05)
    finally:
        await supervisor.shutdown()


async def test_a_model_that_is_gone_fails_with_its_path(tmp_path: Path, checkpoint: Path) -> None:
    supervisor = Supervisor(tmp_path, node="desk", clock=boottime_s, settings=supervisor_settings())
    try:
        instance = await supervisor.start(spec(tmp_path, checkpoint, config={"model": str(tmp_path / "gone")}))
        state = await instance.until(InstanceState.FAILED, InstanceState.QUARANTINED, timeout_s=patient(60))
        assert state in (InstanceState.FAILED, InstanceState.QUARANTINED)
        assert "gone" in instance.reason
    finally:
        await supervisor.shutdown()
