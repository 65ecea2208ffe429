"""Memory budgets on real processes: enforced, reported, taken away again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fairlead_agent.messages import InstanceState
from fairlead_agent.plugin import Budget
from fairlead_agent.runtime.backoff import BackoffPolicy
from fairlead_agent.runtime.limits import choose_limiter
from fairlead_agent.runtime.limits.cgroup_v1 import CgroupV1Confinement
from fairlead_agent.runtime.limits.watchdog import WatchdogLimiter
from tests.patience import patient

MIB = 2**20
ONCE = BackoffPolicy(quarantine_after=1)


@pytest.fixture(params=["cgroup", "watchdog"])
def limiter(request, tmp_path):
    if request.param == "watchdog":
        return WatchdogLimiter()
    limiter = choose_limiter(f"fairlead.test.{tmp_path.name}")
    if limiter.kind == "watchdog":
        pytest.skip(f"no control group can be made here: {limiter.why}")
    return limiter


def _budget(mebibytes: int) -> Budget:
    return Budget(memory_bytes={"dram": mebibytes * MIB})


@pytest.mark.parametrize("child", [False, True])
async def test_more_than_the_budget_is_killed_and_said(tmp_path, bench_at, limiter, child):
    bench = bench_at(tmp_path, limiter=limiter, backoff=ONCE)
    spec = bench.spec(worker="bad_workers:Greedy", config={"mebibytes": 600, "child": child}, budget=_budget(192))
    instance = await bench.supervisor.start(spec)
    assert await instance.until(timeout_s=patient(30)) is InstanceState.QUARANTINED
    assert "exceeded its memory budget of 192 MiB" in instance.reason
    assert instance.report().limiter == limiter.kind


async def test_within_the_budget_it_serves_and_its_use_is_reported(tmp_path, bench_at, limiter):
    bench = bench_at(tmp_path, limiter=limiter)
    instance = await bench.serve(budget=_budget(400))
    assert (await bench.get("/allocate?120"))[0] == 200
    async with asyncio.timeout(patient(20)):
        while (instance.report().memory_bytes or 0) < 120 * MIB:
            await asyncio.sleep(0.05)
    report = instance.report()
    assert report.limit_bytes == 400 * MIB and report.memory_bytes < 400 * MIB
    assert instance.restarts == 0


async def test_too_much_while_serving_costs_a_restart_and_not_the_agent(tmp_path, bench_at, limiter):
    bench = bench_at(tmp_path, limiter=limiter)
    instance = await bench.serve(budget=_budget(200))
    with pytest.raises((ConnectionError, AssertionError)):
        status, _, _ = await bench.get("/allocate?600")
        # The watchdog looks only now and then: the answer may have come before the end.
        assert status != 200 or limiter.kind != "watchdog"
    async with asyncio.timeout(patient(30)):
        while not (instance.restarts and instance.state is InstanceState.READY):
            await asyncio.sleep(0.05)
    assert any("exceeded its memory budget of 200 MiB" in report.reason for report in bench.reports)
    assert (await bench.get("/echo?alive"))[0] == 200


async def test_the_group_goes_with_the_instance(tmp_path, bench_at):
    limiter = choose_limiter(f"fairlead.test.{tmp_path.name}")
    if limiter.kind != "cgroup-v1":
        pytest.skip(f"needs control groups version 1, this machine has {limiter.kind}: {limiter.why}")
    bench = bench_at(tmp_path, limiter=limiter)
    instance = await bench.start(budget=_budget(200))
    confinement = instance._confinement
    assert isinstance(confinement, CgroupV1Confinement)
    group: Path = confinement._group
    assert str(instance.pid) in (group / "cgroup.procs").read_text().split()
    assert (group / "memory.limit_in_bytes").read_text().strip() == str(200 * MIB)
    await bench.supervisor.stop(bench.key)
    assert str(group) not in map(str, group.parent.parent.rglob(group.name))
