"""What a client sees of a worker: readiness, epochs, refusals."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time

import pytest

from fairlead_agent.messages import InstanceState, LeaseKey
from fairlead_agent.runtime.instance import InstanceError
from fairlead_agent.runtime.relay import RelayError, forward
from tests.patience import patient


async def test_serves_only_with_a_lease_and_says_who_answers(bench, boottime_s):
    instance = await bench.start()
    status, headers, body = await bench.get("/echo?hello")
    assert status == 503 and json.loads(body)["epoch"] == 0
    assert (await bench.get("/-/ready"))[0] == 503

    await bench.supervisor.activate(bench.key, 4, boottime_s() + patient(60))
    assert instance.state is InstanceState.READY
    assert (await bench.get("/-/ready"))[0] == 200
    status, headers, body = await bench.get("/echo?hello", epoch=4)
    assert (status, body) == (200, b"hello")
    assert (headers["fairlead-epoch"], headers["fairlead-node"]) == ("4", "desk")
    assert (await bench.get("/echo?no-header"))[0] == 200


async def test_epochs_only_grow(bench, boottime_s):
    await bench.serve(epoch=5)
    await bench.supervisor.activate(bench.key, 6, boottime_s() + patient(60))
    assert (await bench.get("/echo?x", epoch=6))[0] == 200
    with pytest.raises(InstanceError, match="epoch 5 is refused"):
        await bench.supervisor.activate(bench.key, 5, boottime_s() + patient(60))
    with pytest.raises(InstanceError, match="cannot be extended"):
        await bench.supervisor.extend(bench.key, 5, boottime_s() + patient(60))
    assert (await bench.get("/echo?x", epoch=5))[0] == 409


async def test_the_plugin_gets_its_context(bench):
    os.environ["SECRET_COOKIE_OF_AGENT"] = "x"
    try:
        await bench.serve(config={"a": 1})
    finally:
        del os.environ["SECRET_COOKIE_OF_AGENT"]
    seen = json.loads((await bench.get("/context"))[2])
    assert (seen["workload"], seen["replica"], seen["node"], seen["variant"]) == ("echo", 0, "desk", "plain")
    assert not seen["cookie_in_environment"]
    assert (bench.folder / "cache" / "prepared").read_text() == "yes"
    entry = json.loads(next(line for line in bench.supervisor.tail(bench.key) if "asked for context" in line))
    assert (entry["workload"], entry["epoch"]) == ("echo", 1)
    assert "hunter2" not in json.dumps(entry)


async def test_facts_progress_and_measurements_reach_the_agent(bench, boottime_s):
    facts = []
    bench.supervisor.subscribe_facts(lambda *fact: facts.append(fact))
    instance = await bench.supervisor.start(bench.spec(config={"prepare_until": str(bench.gate)}))
    async with asyncio.timeout(patient(30)):
        while not any(report.reason == "half way (50%)" for report in bench.reports):
            await asyncio.sleep(0.02)
        bench.open_gate()
        while (bench.key, "processor:0", "speed_hz", 2.0e9, 1e6) not in facts:
            await asyncio.sleep(0.02)
    await instance.until(InstanceState.STANDBY, timeout_s=patient(30))
    await bench.supervisor.activate(bench.key, 1, boottime_s() + patient(60))
    await bench.get("/echo?x")
    async with asyncio.timeout(patient(20)):
        while instance.report().latency_p90_s is None:
            await asyncio.sleep(0.05)
    assert instance.report().throughput_per_s == 12.5
    assert instance.report().started_s > 0


async def test_drain_finishes_what_is_under_way_and_refuses_what_is_new(bench):
    instance = await bench.serve()
    async with asyncio.timeout(patient(10)):
        while (ready := instance.status) is None or ready.state is not InstanceState.READY:
            await asyncio.sleep(0.02)
    slow = asyncio.create_task(bench.get("/gate"))
    await bench.in_flight(1)
    draining = asyncio.create_task(bench.supervisor.drain(bench.key, deadline_s=patient(60)))
    async with asyncio.timeout(patient(30)):
        while bench.supervisor.get(bench.key).state is not InstanceState.DRAINING:
            await asyncio.sleep(0.02)
        while (answer := await bench.get("/echo"))[0] != 503:
            await asyncio.sleep(0.02)
    assert b"draining" in answer[2]
    # What it said before, heard late, does not make it ready again.
    instance.noted(instance._run, ready)
    assert instance.state is InstanceState.DRAINING
    bench.open_gate()
    assert await draining is True
    assert (await slow)[::2] == (200, b"slow")


async def test_standing_by_that_is_heard_late_takes_no_lease_away(bench):
    """The thread that prepared may announce it after the thread that took the lease has answered."""
    instance = await bench.start()
    standing_by = instance.status
    assert standing_by is not None and standing_by.state is InstanceState.STANDBY
    # So may the answer to a question that was asked while it prepared.
    preparing = {**standing_by.model_dump(mode="json"), "state": "preparing"}
    instance._run._on_event({"event": "state", "status": preparing})
    assert instance.status is not None and instance.status.state is InstanceState.STANDBY
    await bench.supervisor.activate(bench.key, 1, time.clock_gettime(time.CLOCK_BOOTTIME) + patient(60))
    instance._run._on_event({"event": "state", "status": standing_by.model_dump(mode="json")})
    assert instance.state is InstanceState.READY
    async with asyncio.timeout(patient(10)):
        while instance.status.state is not InstanceState.READY:
            await asyncio.sleep(0.02)
    instance._run._on_event({"event": "state", "status": standing_by.model_dump(mode="json")})
    assert instance.state is instance.status.state is InstanceState.READY


async def test_drain_says_when_the_deadline_was_too_short(bench):
    await bench.serve()
    slow = asyncio.create_task(bench.get("/slow?600"))
    await bench.in_flight(1)
    assert await bench.supervisor.drain(bench.key, deadline_s=0.2) is False
    await bench.supervisor.stop(bench.key)
    with pytest.raises(RelayError):
        await slow


async def test_stop_leaves_nothing_but_the_log(bench):
    instance = await bench.serve()
    pid = instance.pid
    assert stat.S_IMODE(instance.spec.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(instance.spec.data_socket.stat().st_mode) & 0o077 == 0
    await bench.supervisor.stop(bench.key, "no longer wanted")
    assert (instance.state, instance.reason) == (InstanceState.STOPPED, "no longer wanted")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert [path.name for path in instance.spec.folder.iterdir()] == ["worker.log"]
    with pytest.raises(InstanceError, match="has ended"):
        await bench.supervisor.activate(bench.key, 9, 0)
    await bench.supervisor.forget(bench.key)
    assert not instance.spec.folder.exists()


async def test_an_instance_is_started_once_and_on_its_own_node(bench):
    await bench.start()
    with pytest.raises(InstanceError, match="runs already"):
        await bench.supervisor.start(bench.spec())
    with pytest.raises(InstanceError, match="field node is 'other'"):
        await bench.supervisor.start(bench.spec(node="other"))
    with pytest.raises(InstanceError, match="no such instance"):
        bench.supervisor.get(LeaseKey(site="home", workload="none", replica=0))


async def test_a_lease_given_while_preparing_takes_effect_once_prepared(bench, boottime_s):
    instance = await bench.supervisor.start(bench.spec(config={"prepare_until": str(bench.gate)}))
    await bench.supervisor.activate(bench.key, 3, boottime_s() + patient(60))
    assert instance.state is InstanceState.PREPARING
    bench.open_gate()
    assert await instance.until(InstanceState.READY, timeout_s=patient(20)) is InstanceState.READY
    assert (await bench.get("/echo?x", epoch=3))[0] == 200


async def test_the_agent_is_told_when_the_plugin_offers_no_such_hook(bench):
    await bench.start(worker="bad_workers:LeavesChildren")
    with pytest.raises(RuntimeError, match="no hook checkpoint"):
        await bench.supervisor.checkpoint(bench.key)


async def test_while_a_replica_moves_two_instances_of_one_key_live_side_by_side(bench, boottime_s):
    for negotiation, epoch in (("first", 1), ("second", 2)):
        instance = await bench.supervisor.start(bench.spec(negotiation=negotiation))
        await instance.until(InstanceState.STANDBY, timeout_s=patient(20))
        await bench.supervisor.activate(bench.key, epoch, boottime_s() + patient(60), negotiation)
    first, second = bench.supervisor.instances()
    assert bench.supervisor.holder(bench.key, 1) is first and bench.supervisor.newest(bench.key) is second
    await bench.supervisor.restore(bench.key, b"moved", negotiation="second")
    assert await bench.supervisor.checkpoint(bench.key, negotiation="second") == b"moved!"
    await bench.supervisor.stop(bench.key, negotiation="first")
    assert bench.supervisor.holder(bench.key, 1) is None
    assert [report.state for report in bench.supervisor.reports()] == [InstanceState.STOPPED, InstanceState.READY]
    answer = await forward(second.spec.data_socket, "GET", "/echo?second", [("Fairlead-Epoch", "2")])
    assert b"".join([piece async for piece in answer.body]) == b"second"


async def test_a_flood_of_progress_is_thinned(bench):
    began_s = time.monotonic()
    instance = await bench.supervisor.start(
        bench.spec(worker="bad_workers:TalksMuch", config={"until": str(bench.gate)})
    )
    steps = lambda: [int(report.reason.split()[1]) for report in bench.reports if "step" in report.reason]
    async with asyncio.timeout(patient(60)):
        while max(steps(), default=0) < 150:
            await asyncio.sleep(0.02)
    bench.open_gate()
    await instance.until(InstanceState.STANDBY, timeout_s=patient(30))
    # Four a second, and the one at the beginning.
    assert len(steps()) <= 2 + 4 * (time.monotonic() - began_s)
