"""Workers that die, hang or never start cost one instance for a while, never the agent."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from fairlead_agent.messages import InstanceState
from fairlead_agent.runtime.backoff import BackoffPolicy
from tests.patience import patient


async def _back(instance, restarts: int = 1) -> None:
    """Wait until the instance has had that many restarts and serves again."""
    async with asyncio.timeout(patient(30)):
        while instance.restarts < restarts or instance.state is not InstanceState.READY:
            await asyncio.sleep(0.05)


async def test_a_killed_worker_is_started_again_within_its_lease(bench):
    instance = await bench.serve(epoch=3)
    pid = instance.pid
    os.kill(pid, signal.SIGKILL)
    await _back(instance)
    assert instance.pid != pid
    assert (await bench.get("/echo?again", epoch=3))[::2] == (200, b"again")
    failed = next(report for report in bench.reports if report.state is InstanceState.FAILED)
    assert "SIGKILL" in failed.reason
    assert instance.report().restarts == 1


async def test_a_worker_that_leaves_by_itself_is_started_again(bench):
    instance = await bench.serve()
    with pytest.raises(ConnectionError):
        await bench.get("/exit")
    await _back(instance)
    assert any("exit code 7" in report.reason for report in bench.reports)
    assert any("about to leave" in line for line in bench.supervisor.tail(bench.key))


async def test_a_kernel_without_pidfd_is_polled(bench, monkeypatch):
    monkeypatch.setattr("fairlead_agent.runtime.process._open_pidfd", lambda pid: None)
    instance = await bench.serve()
    os.kill(instance.pid, signal.SIGKILL)
    await _back(instance)
    assert any("SIGKILL" in report.reason for report in bench.reports)


async def test_sigterm_of_a_stranger_is_a_crash_and_not_a_stop(bench):
    instance = await bench.serve()
    os.kill(instance.pid, signal.SIGTERM)
    await _back(instance)


async def test_a_worker_that_hangs_is_killed_and_started_again(bench):
    instance = await bench.serve()
    pid = instance.pid
    os.kill(pid, signal.SIGSTOP)
    bench.hasten(probe_timeout_s=patient(0.6))
    await _back(instance)
    assert instance.pid != pid
    assert any("it hung: no answer on its control socket" in report.reason for report in bench.reports)


async def test_a_blocked_data_loop_leaves_control_alive_and_is_killed_when_it_lasts(bench):
    instance = await bench.serve()
    blocked = asyncio.create_task(bench.get("/block?600"))
    async with asyncio.timeout(patient(30)):
        while instance.status.data_blocked_s < 0.2:
            await asyncio.sleep(0.02)
    await bench.supervisor.checkpoint(bench.key, deadline_s=patient(30))  # control and sync hooks still answer
    bench.hasten(data_hang_s=0.5)
    await _back(instance)
    assert any("its data loop has been blocked" in report.reason for report in bench.reports)
    with pytest.raises(ConnectionError):
        await blocked


async def test_a_crash_loop_ends_in_quarantine_with_the_reason_and_the_last_lines(bench):
    instance = await bench.supervisor.start(bench.spec(worker="bad_workers:RaisesInPrepare"))
    assert await instance.until(InstanceState.QUARANTINED, timeout_s=patient(40)) is InstanceState.QUARANTINED
    assert "crashed 3 times in a row: RuntimeError: no such tensor" in instance.reason
    assert "the last words of this worker" in instance.reason
    assert instance.report().pid is None
    failures = [report.reason for report in bench.reports if report.state is InstanceState.FAILED]
    assert [reason.rpartition("next start in ")[2] for reason in failures] == ["0.05 s", "0.1 s"]
    await bench.start()  # the same key with a plugin that works


@pytest.mark.parametrize(
    ("worker", "why"),
    [
        ("bad_import:Worker", "ValueError: weights are missing"),
        ("no_such_module:Worker", "No module named 'no_such_module'"),
        ("bad_workers:NoSuchObject", "NoSuchObject"),
        ("bad_workers:no_hooks", "no hook application"),
        ("bad_workers:ExitsSilently", "exit code 7"),
        ("bad_workers:RefusesToStart", "lifespan start-up failed"),
    ],
)
async def test_what_is_wrong_with_a_plugin_is_said(tmp_path, bench_at, worker, why):
    bench = bench_at(tmp_path, backoff=BackoffPolicy(quarantine_after=1))
    instance = await bench.supervisor.start(bench.spec(worker=worker))
    assert await instance.until(timeout_s=patient(20)) is InstanceState.QUARANTINED
    assert why in instance.reason


async def test_an_interpreter_that_does_not_exist(tmp_path, bench_at):
    bench = bench_at(tmp_path, backoff=BackoffPolicy(quarantine_after=1))
    instance = await bench.supervisor.start(bench.spec(python=Path("/nonexistent/python")))
    assert await instance.until(timeout_s=patient(20)) is InstanceState.QUARANTINED
    assert "cannot be started" in instance.reason and "/nonexistent/python" in instance.reason


async def test_preparing_too_long(tmp_path, bench_at):
    bench = bench_at(tmp_path, prepare_timeout_s=0.8, backoff=BackoffPolicy(quarantine_after=1))
    instance = await bench.supervisor.start(bench.spec(config={"prepare_s": 60}))
    assert await instance.until(timeout_s=patient(20)) is InstanceState.QUARANTINED
    assert "not prepared within 0.8 s" in instance.reason


async def test_a_worker_that_prepares_can_be_stopped(bench):
    instance = await bench.supervisor.start(bench.spec(config={"prepare_s": 60}))
    async with asyncio.timeout(patient(20)):
        while "half way" not in instance.reason:
            await asyncio.sleep(0.05)
    pid = instance.pid
    await bench.supervisor.stop(bench.key)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_children_of_a_worker_do_not_outlive_it(bench, how):
    children = []
    bench.supervisor.subscribe_facts(lambda *fact: children.append(int(fact[3])))
    instance = await bench.start(worker="bad_workers:LeavesChildren")
    async with asyncio.timeout(patient(10)):
        while not children:  # the worker tells of its child while it prepares; the news may come after its readiness
            await asyncio.sleep(0.02)
    if how == "stop":
        await bench.supervisor.stop(bench.key)
    else:
        os.kill(instance.pid, signal.SIGKILL)
        await instance.until(InstanceState.FAILED, timeout_s=patient(10))
    async with asyncio.timeout(patient(10)):
        while _alive(children[0]):
            await asyncio.sleep(0.05)


async def test_a_subscriber_that_raises_costs_nothing(bench):
    def raises(report):
        raise RuntimeError("subscriber")

    bench.supervisor.subscribe(raises)
    await bench.serve()
    assert (await bench.get("/echo?x"))[0] == 200


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
