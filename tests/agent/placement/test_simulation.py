"""A whole site under faults: what must never happen does not, and what should be there is there in the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_agent.messages import Estimate, LeaseKey, PlacementPolicy, Workload
from fairlead_agent.messages.signing import DesiredWorkload
from fairlead_agent.placement import PlacementSettings
from tests.agent.placement.simulation import (
    SITE,
    Faults,
    Node,
    Simulation,
    default_estimate,
    deleted,
    desired,
    workload,
)

HARSH = Faults(
    loss=0.1,
    repeat=0.1,
    delay_s=0.08,
    cut_every_s=8,
    restart_every_s=9,
    freeze_every_s=9,
    authority_every_s=25,
    broken_instances=0.05,
)
#: Everything goes wrong all the time, and the margin is hardly more than the clocks need.
TIGHT = PlacementSettings(
    ttl_s=1.5,
    margin_s=0.02,
    bid_deadline_s=0.5,
    bid_hold_s=3.0,
    standby_timeout_s=30.0,
    candidate_timeout_s=6.0,
    release_poll_s=0.2,
)
HARSHER = Faults(
    loss=0.1,
    repeat=0.1,
    delay_s=0.12,
    cut_every_s=4,
    restart_every_s=8,
    freeze_every_s=5,
    authority_every_s=12,
    broken_instances=0.05,
)
CALM = Faults(delay_s=0.01)


def storm(
    seed: int, faults: Faults = HARSH, *, workloads: int = 6, numbers: PlacementSettings | None = None
) -> tuple[Simulation, list[DesiredWorkload]]:
    """A minute of faults during which desired state changes, too: scaled, changed, deleted."""
    sim = Simulation(seed, faults=faults, settings=numbers)
    first = [desired(workload(f"w{i}", replicas=1 + i % 3)) for i in range(workloads)]
    for item in first:
        sim.want(item)
    sim.run(30)
    final: list[DesiredWorkload] = []
    for index, item in enumerate(first):
        if index == 2:
            changed = deleted(item.name, 2)
        elif index % 3 == 0:
            changed = desired(workload(item.name, config=1, replicas=1), 2)
        else:
            changed = desired(workload(item.name, replicas=2), 2)
        sim.want(changed)
        final.append(changed)
    sim.run(60)
    sim.end_faults()
    return sim, final


def settle(sim: Simulation, wanted: list[DesiredWorkload], within_s: float = 200) -> None:
    """Run until everything is as it should be."""
    end = sim.now + within_s
    while sim.unsettled(wanted) and sim.now < end:
        sim.run(sim.now + 5)
    assert sim.unsettled(wanted) == []


def only_holder(sim: Simulation, name: str = "a", replica: int = 0) -> Node:
    found = sim.effective(LeaseKey(site=SITE, workload=name, replica=replica))
    assert len(found) == 1
    return sim.nodes[found[0][0]]


def placed(seed: int = 1, item: Workload | None = None, **options: object) -> Simulation:
    """One workload ``a`` on a calm site, running."""
    sim = Simulation(seed, **({"faults": CALM} | options))  # type: ignore[arg-type]
    sim.want(desired(item or workload("a")))
    sim.run(10)
    return sim


def gap_s(sim: Simulation, until: float, name: str = "a") -> float:
    """The longest time up to ``until`` in which nobody served replica 0, to 10 ms."""
    key, longest, since = LeaseKey(site=SITE, workload=name, replica=0), 0.0, None
    while sim.now < until:
        sim.run(sim.now + 0.01)
        if sim.effective(key):
            since = None
        else:
            since = sim.now if since is None else since
            longest = max(longest, sim.now - since)
    return longest


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_short_leases_on_a_terrible_network_are_safe_too(seed: int) -> None:
    sim, wanted = storm(seed, HARSHER, numbers=TIGHT)
    settle(sim, wanted)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_under_faults_no_two_hold_one_key_and_afterwards_all_is_placed(seed: int) -> None:
    sim, wanted = storm(seed)
    settle(sim, wanted)


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_without_a_control_plane_the_nodes_do_it_themselves(seed: int) -> None:
    sim = Simulation(seed, faults=HARSH, control_plane=False, stewards=4)
    wanted = [desired(workload(f"w{i}", replicas=2)) for i in range(4)]
    for item in wanted:
        sim.want(item)
    sim.run(60)
    sim.end_faults()
    settle(sim, wanted)


def test_one_seed_is_one_run() -> None:
    runs = [storm(7)[0] for _ in range(2)]
    assert runs[0].digest.hexdigest() == runs[1].digest.hexdigest()
    assert runs[0].steps == runs[1].steps > 3000
    assert storm(8)[0].digest.hexdigest() != runs[0].digest.hexdigest()


def test_a_calm_site_says_little() -> None:
    sim = placed()
    sim.run(60)
    before = sum(sim.sent.values())
    sim.run(360)
    per_second = (sum(sim.sent.values()) - before) / 300
    renewals, polls = 2 * 3 / sim.settings.ttl_s, 2 * 5 / sim.settings.ttl_s
    assert per_second < renewals + polls + 1.0


def test_faults_make_no_message_storm() -> None:
    sim, _ = storm(11)
    told = {name: count for name, count in sim.sent.items() if name not in ("NodeStatus", "NodeInstances")}
    assert sum(told.values()) / 60 < 40 * len(sim.nodes), told


def test_fail_over_takes_the_hold_and_hardly_more() -> None:
    for seed in range(5):
        sim = placed(seed)
        sim.crash(only_holder(sim), reboot=True)
        assert gap_s(sim, sim.now + 15) < sim.settings.hold_s(sim.settings.ttl_s) + 0.3


def test_a_holder_that_is_cut_off_stops_before_its_successor_serves() -> None:
    sim = placed()
    lost = only_holder(sim)
    lost.connected = False
    gap = gap_s(sim, sim.now + 15)
    assert 0 < gap < 1.0
    assert only_holder(sim) is not lost
    assert all(not worker.serving for worker in lost.workers.values())


def test_a_holder_that_comes_back_in_time_keeps_its_lease() -> None:
    sim = placed()
    before = len(sim.activations)
    sim.cut(only_holder(sim), 1.0)
    assert gap_s(sim, sim.now + 10) == 0.0
    assert len(sim.activations) == before


def test_the_authority_is_restarted_and_nobody_notices() -> None:
    sim = placed()
    sim.restart_authority(1.0)
    assert gap_s(sim, sim.now + 20) == 0.0


def test_an_authority_that_stays_away_stops_everyone_and_no_one_takes_over_without_it() -> None:
    sim = placed()
    sim.restart_authority(20.0)
    sim.run(sim.now + 10)
    assert sim.effective(LeaseKey(site=SITE, workload="a", replica=0)) == []
    settle(sim, [desired(workload("a"))], within_s=40)


def test_a_dead_steward_is_followed_and_nothing_moves() -> None:
    sim = placed()
    before = len(sim.activations)
    sim.crash(sim.nodes["cp"], reboot=True)
    assert gap_s(sim, sim.now + 30) == 0.0
    assert len(sim.activations) == before
    assert sim.records()["a"].steward in ("n0", "n1")
    sim.crash(only_holder(sim), reboot=True)
    settle(sim, [desired(workload("a"))], within_s=30)


def test_a_restarted_agent_adopts_what_still_serves() -> None:
    for seed in range(8):
        sim = placed(seed)
        node = only_holder(sim)
        sim.crash(node, reboot=False)
        sim.at(sim.now + 0.5, lambda node=node, sim=sim: sim.start(node))
        sim.run(sim.now + 20)
        settle(sim, [desired(workload("a"))], within_s=20)


def test_an_update_is_made_before_the_old_one_breaks() -> None:
    sim = placed()
    sim.want(desired(workload("a", config=1), 2))
    assert gap_s(sim, sim.now + 15) < 1.0
    settle(sim, [desired(workload("a", config=1), 2)])


def test_an_update_where_both_do_not_fit_goes_through_all_the_same() -> None:
    def tight(sim: Simulation, node: str, item: Workload, variant: str) -> Estimate | None:
        estimate = default_estimate(sim, node, item, "fast")
        big = estimate is not None and variant == "fast" and node == "n2"
        return estimate.model_copy(update={"memory_bytes": {"dram": 6 << 30}}) if estimate and big else None

    sim = placed(estimate=tight)
    assert only_holder(sim).name == "n2"
    sim.want(desired(workload("a", config=1), 2))
    settle(sim, [desired(workload("a", config=1), 2)], within_s=30)


def test_the_replicas_of_an_update_go_one_by_one() -> None:
    sim = placed(item=workload("a", replicas=3))
    sim.want(desired(workload("a", config=1, replicas=3), 2))
    fewest, end = 3, sim.now + 40
    while sim.now < end:
        sim.run(sim.now + 0.02)
        fewest = min(fewest, sum(len(sim.effective(LeaseKey(site=SITE, workload="a", replica=r))) for r in range(3)))
    assert fewest >= 2
    settle(sim, [desired(workload("a", config=1, replicas=3), 2)])


def test_a_draining_node_is_emptied_and_takes_nothing_new() -> None:
    sim = placed()
    node = only_holder(sim)
    node.draining = True
    assert node.bidder is not None
    node.bidder.draining = True
    sim.birth(node)
    sim.run(sim.now + 15)
    assert only_holder(sim) is not node
    assert node.workers == {}


def test_a_workload_that_fits_nowhere_does_not_keep_the_others_waiting() -> None:
    def picky(sim: Simulation, node: str, item: Workload, variant: str) -> Estimate | None:
        estimate = default_estimate(sim, node, item, variant)
        huge = {"memory_bytes": {"dram": 1 << 50}}
        return estimate.model_copy(update=huge) if estimate and item.name.startswith("bad") else estimate

    sim = Simulation(3, faults=CALM, estimate=picky)
    for index in range(12):
        sim.want(desired(workload(f"bad{index}", priority=100)))
    good = [desired(workload(f"good{index}", priority=1)) for index in range(4)]
    for item in good:
        sim.want(item)
    settle(sim, good, within_s=30)
    record = sim.records()["bad0"]
    assert record.slots[0].state == "unplaceable" and "not enough room" in record.slots[0].reason


def test_a_ttl_of_its_own_is_honoured() -> None:
    item = workload("a").model_copy(update={"placement": PlacementPolicy(ttl_s=1.0)})
    sim = placed(item=item)
    sim.crash(only_holder(sim), reboot=True)
    assert gap_s(sim, sim.now + 10) < 2.5


def alternating(period_s: float) -> Callable[[Simulation, str, Workload, str], Estimate | None]:
    """Nodes that are good by turns."""

    def estimate(sim: Simulation, node: str, item: Workload, variant: str) -> Estimate | None:
        made = default_estimate(sim, "any", item, variant)
        good = int(node[1:]) == int(sim.now / period_s) % 2
        slow = made.latency_s.scaled(1.0 if good else 3.0) if made is not None else None
        return made.model_copy(update={"latency_s": slow}) if made is not None else None

    return estimate


@pytest.mark.parametrize("period_s", [20.0, 90.0, 300.0])
def test_facts_that_come_and_go_do_not_make_a_workload_oscillate(period_s: float) -> None:
    fast = PlacementSettings(ttl_s=3.0, bid_deadline_s=0.5, bid_hold_s=3.0)
    sim = placed(nodes=2, estimate=alternating(period_s), settings=fast)
    start, before = sim.now, len(sim.activations)
    while sim.now < start + 3600:
        sim.run(sim.now + period_s)
        for node in sim.nodes.values():
            assert node.steward is not None
            sim.apply(node, node.steward.facts_changed("n0", node.clock.read(sim.now)))
    moves = len(sim.activations) - before
    assert moves <= 6, [(round(at), node) for at, _, node, _ in sim.activations]


def test_facts_that_stay_changed_move_the_workload_once() -> None:
    worse: set[str] = set()

    def estimate(sim: Simulation, node: str, item: Workload, variant: str) -> Estimate | None:
        made = default_estimate(sim, node, item, variant)
        slow = made.latency_s.scaled(20.0) if made is not None else None
        return made.model_copy(update={"latency_s": slow}) if made is not None and node in worse else made

    sim = placed(estimate=estimate)
    first = only_holder(sim)
    worse.add(first.name)
    steward = sim.nodes["cp"].steward
    assert steward is not None
    sim.apply(sim.nodes["cp"], steward.facts_changed(first.name, sim.nodes["cp"].clock.read(sim.now)))
    before = len(sim.activations)
    sim.run(sim.now + 600)
    assert only_holder(sim) is not first
    assert len(sim.activations) == before + 1
