"""A worker outlives its agent, until its lease ends, and the next agent takes it over."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead_agent.messages import InstanceState
from fairlead_agent.runtime.control_client import ControlClient
from fairlead_agent.runtime.process import ProcessMark, environment
from fairlead_agent.runtime.process_facts import boot_id, start_ticks
from fairlead_agent.runtime.relay import forward
from fairlead_agent.runtime.supervisor import Supervisor, SupervisorBusyError
from tests.patience import patient

AGENT = Path(__file__).parent / "agent_process.py"


@pytest.fixture
async def orphan(tmp_path, idle_bench):
    """A worker whose agent was killed, the bench whose supervisor may adopt it, and the end of its lease."""

    async def make(ttl_s: float = patient(60.0), **fields) -> tuple:
        bench = idle_bench(tmp_path)
        spec = bench.spec(**fields)
        spec_path = tmp_path / "given.json"
        spec_path.write_text(spec.model_dump_json())
        agent = await asyncio.create_subprocess_exec(
            sys.executable,
            str(AGENT),
            str(tmp_path),
            str(spec_path),
            str(ttl_s),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        async with asyncio.timeout(patient(40)):
            while not (line := await agent.stdout.readline()).startswith(b"SERVING"):
                assert line, "the agent ended early"
        agent.kill()
        await agent.wait()
        _, pid, expires_s = line.split()
        return bench, int(pid), float(expires_s)

    return make


async def test_the_worker_outlives_its_agent_and_is_adopted_with_its_epoch(orphan, boottime_s):
    bench, pid, _ = await orphan()
    assert start_ticks(pid) is not None
    supervisor = bench.open()
    (adopted,) = await supervisor.adopt()
    assert (adopted.pid, adopted.epoch, adopted.state) == (pid, 6, InstanceState.READY)
    assert (await bench.get("/echo?adopted", epoch=6))[::2] == (200, b"adopted")
    await supervisor.extend(bench.key, 6, boottime_s() + patient(120))
    await supervisor.stop(bench.key)
    assert start_ticks(pid) is None


async def test_an_adopted_worker_that_dies_is_started_again_in_its_lease(orphan):
    bench, pid, _ = await orphan()
    supervisor = bench.open()
    (adopted,) = await supervisor.adopt()
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(patient(30)):
        while not (adopted.restarts and adopted.state is InstanceState.READY):
            await asyncio.sleep(0.05)
    assert (await bench.get("/echo?x", epoch=6))[0] == 200


async def test_without_an_agent_the_worker_serves_until_its_lease_ends_and_then_goes(orphan, boottime_s):
    bench, pid, expires_s = await orphan(ttl_s=patient(1.5), expiry_grace_s=0.2)
    socket_path = bench.folder / "instances" / "home.echo.0" / "data.sock"
    answer = await forward(socket_path, "GET", "/echo?alone")
    # A machine that stands still may have let the lease end before the question came.
    assert answer.status == 200 or boottime_s() >= expires_s
    await answer.body.aclose()
    async with asyncio.timeout(patient(20)):
        while start_ticks(pid) is not None:
            await asyncio.sleep(0.05)
    supervisor = bench.open()
    assert await supervisor.adopt() == []
    assert [path.name for path in socket_path.parent.iterdir()] == ["worker.log"]
    assert supervisor.limiter.confine("home.echo.0", None).members() == []


async def test_facts_that_nobody_heard_wait_for_the_next_agent(bench):
    instance = await bench.serve()
    socket_path = instance.spec.data_socket
    await bench.supervisor.detach()
    # A worker that has answered another connection has noticed that the one of its agent is closed.
    other = await ControlClient.connect(instance.spec.control_socket, instance.spec.cookie, lambda _: None)
    await other.status(timeout_s=patient(30))
    other.close()
    assert (await forward(socket_path, "GET", "/fact")).status == 200
    facts: list[tuple] = []
    supervisor = bench.open()
    supervisor.subscribe_facts(lambda *fact: facts.append(fact))
    await supervisor.adopt()
    async with asyncio.timeout(patient(10)):
        while not facts:
            await asyncio.sleep(0.05)
    assert facts == [(bench.key, "late", "count", 1.0, 0.0)]


async def test_a_worker_that_does_not_know_the_cookie_is_killed(orphan):
    bench, pid, _ = await orphan()
    spec_path = bench.folder / "instances" / "home.echo.0" / "spec.json"
    text = spec_path.read_text()
    cookie = text.partition('"cookie": "')[2].partition('"')[0]
    spec_path.write_text(text.replace(cookie, "another-cookie-of-the-right-length"))
    assert await bench.open().adopt() == []
    assert start_ticks(pid) is None
    assert not spec_path.exists()


async def test_a_stranger_under_a_used_pid_is_left_alone(bench, tmp_path):
    """The folder names a process that is none of ours: same pid and start, other command."""
    instance = await bench.start()
    spec = instance.spec
    spec_text = spec.path.read_text()
    await bench.supervisor.stop(bench.key)
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    mark = ProcessMark(pid=stranger.pid, start_ticks=start_ticks(stranger.pid), boot_id=boot_id())
    ProcessMark.path(spec.folder).write_text(mark.model_dump_json())
    spec.path.write_text(spec_text)
    await bench.supervisor.detach()
    assert await bench.open().adopt() == []
    assert stranger.returncode is None and start_ticks(stranger.pid) is not None
    stranger.kill()
    await stranger.wait()


async def test_spoilt_folders_do_not_stop_adoption(bench):
    instances = bench.folder / "instances"
    for name, text in (("a.b.0", "{"), ("a.c.0", "{}"), ("a.d.0", "")):
        (instances / name).mkdir()
        (instances / name / "spec.json").write_text(text)
    assert await bench.supervisor.adopt() == []


async def test_a_detached_worker_is_adopted_by_the_next_supervisor(bench):
    instance = await bench.serve(epoch=2)
    pid = instance.pid
    await bench.supervisor.detach()
    bench.open()
    (adopted,) = await bench.supervisor.adopt()
    assert (adopted.pid, adopted.epoch) == (pid, 2)
    assert (await bench.get("/echo?x", epoch=2))[0] == 200


async def test_one_state_folder_one_supervisor(bench, boottime_s):
    with pytest.raises(SupervisorBusyError, match="in use by another agent"):
        Supervisor(bench.folder, node="desk", clock=boottime_s)


async def test_an_orphan_without_a_lease_ends(bench):
    instance = await bench.start(orphan_s=patient(0.4))
    pid = instance.pid
    await asyncio.sleep(patient(1.0))
    assert start_ticks(pid) is not None  # it has an agent
    await bench.supervisor.detach()
    async with asyncio.timeout(patient(20)):
        while start_ticks(pid) is not None:
            await asyncio.sleep(0.05)
    bench.open()


def test_secrets_of_the_agent_do_not_reach_the_worker(monkeypatch, host_spec):
    monkeypatch.setenv("SOME_API_KEY", "x")
    monkeypatch.setenv("BROKER_PASSWORD", "x")
    monkeypatch.setenv("HARMLESS", "y")
    seen = environment(host_spec)
    assert "SOME_API_KEY" not in seen and "BROKER_PASSWORD" not in seen and seen["HARMLESS"] == "y"
    assert host_spec.cookie not in seen.values()
