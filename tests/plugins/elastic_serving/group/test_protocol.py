"""The protocol of groups: plans under a network that delays, instances that die, coordinators that change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.group.decision import Costs, decide
from fairlead_elastic_serving.group.member import Drain, Enter, Send
from fairlead_elastic_serving.group.plan import Kind, Phase, Plan, PlanRefused, Report
from fairlead_elastic_serving.planning.drop_plan import Stage
from tests.plugins.elastic_serving.group.protocol_world import LAYERS, OWN_PAGES, World


def _overload(world: World, *names: str) -> None:
    for name in names:
        world.held[name], world.queued[name] = OWN_PAGES - 1, (8, 8, 8)


def _calm(world: World) -> None:
    for name in world.members:
        world.held[name], world.queued[name] = 3, ()


def test_a_burst_makes_a_group_and_its_end_takes_it_apart() -> None:
    world = World(["a", "b"], seed=1)
    world.run(1.0)
    assert not world.entered
    _overload(world, "b")
    world.run(2.0)
    assert [member.phase for member in world.members.values()] == [Phase.GROUPED] * 2
    assert world.members["a"].group == (Stage("a", 0, 3), Stage("b", 3, 6))
    first = world.members["a"].epoch
    _calm(world)
    world.run(4.0)
    assert [member.phase for member in world.members.values()] == [Phase.SOLO] * 2
    assert all(member.epoch > first for member in world.members.values())


def test_layers_stay_given_away_between_the_waves_of_a_burst() -> None:
    world = World(["a", "b"], seed=8)
    _overload(world, "a", "b")
    world.run(2.0)
    epoch = world.members["a"].epoch
    for _ in range(8):
        _calm(world)
        world.run(0.2)
        world.held.update(dict.fromkeys("ab", OWN_PAGES + 5))
        world.run(0.2)
    assert {(member.phase, member.epoch) for member in world.members.values()} == {(Phase.GROUPED, epoch)}
    _calm(world)
    world.run(4.0)
    assert {member.phase for member in world.members.values()} == {Phase.SOLO}


def test_a_wave_that_comes_when_layers_are_back_waits_for_no_pause() -> None:
    world = World(["a", "b"], seed=9)
    _overload(world, "a", "b")
    world.run(2.0)
    _calm(world)
    while any(member.phase is not Phase.SOLO for member in world.members.values()):
        world.run(0.02)
    _overload(world, "a", "b")
    world.run(0.3)
    assert any(member.phase in (Phase.DROPPING, Phase.GROUPED) for member in world.members.values())


def test_more_is_merged_while_more_is_missing() -> None:
    world = World(list("abcd"), seed=2)
    for name in "abcd":
        world.held[name], world.queued[name] = OWN_PAGES, (40, 40, 40)
    world.run(6.0)
    assert {len(member.group) for member in world.members.values()} == {4}
    assert len({member.epoch for member in world.members.values()}) == 1


def test_survivors_of_a_group_are_whole_again_and_the_next_coordinator_plans_above_all_epochs() -> None:
    world = World(list("abc"), seed=3)
    _overload(world, *"abc")
    world.run(3.0)
    highest = max(member.epoch for member in world.members.values())
    assert highest > 0
    world.kill("a")
    assert all(member.phase in (Phase.RECOVERING, Phase.SOLO) for member in world.members.values())
    world.run(4.0)
    assert {member.phase for member in world.members.values()} == {Phase.GROUPED}
    assert min(member.epoch for member in world.members.values()) > highest


def test_members_abandon_a_plan_whose_coordinator_died() -> None:
    world = World(["a", "b"], seed=4)
    plan = Plan(7, Kind.DROP, ((Stage("a", 0, 3), Stage("b", 3, LAYERS)),))
    member = world.members["b"]
    assert member.receive(0.0, "a", "prepare", plan.to_fields()) == [Drain(7)]
    assert member.draining and member.phase is Phase.DROPPING
    world.kill("a")
    assert not member.draining and member.phase is Phase.SOLO
    assert member.receive(0.1, "a", "commit", {"epoch": 7})[0].kind == "refused"
    assert member.phase is Phase.SOLO


def test_stale_plans_and_plans_of_others_are_refused() -> None:
    world = World(list("abc"), seed=5)
    member = world.members["c"]
    plan = Plan(3, Kind.DROP, ((Stage("a", 0, 3), Stage("c", 3, LAYERS)),))
    member.receive(0.0, "a", "prepare", plan.to_fields())
    [entered] = member.receive(0.1, "a", "commit", {"epoch": 3})
    assert isinstance(entered, Enter) and member.group == plan.groups[0]
    for epoch in (2, 3):
        stale = Plan(epoch, Kind.DROP, plan.groups)
        assert member.receive(0.2, "a", "prepare", stale.to_fields()) == [
            Send("a", "refused", {"epoch": epoch, "seen": 3})
        ]
    assert member.receive(0.2, "b", "prepare", Plan(9, Kind.DROP, plan.groups).to_fields())[0].kind == "refused"
    assert member.epoch == 3 and not member.stale(3) and member.stale(2) and member.stale(4)
    with pytest.raises(PlanRefused, match="in no group"):
        member.receive(0.3, "a", "fetch", Plan(8, Kind.RESTORE, ((Stage("a", 0, LAYERS),),)).to_fields())
    with pytest.raises(PlanRefused, match="groups"):
        member.receive(0.3, "a", "prepare", {"epoch": 8, "kind": "drop"})


def test_a_new_burst_calls_a_restore_off() -> None:
    world = World(["a", "b"], seed=6)
    _overload(world, "a", "b")
    world.run(2.0)
    _calm(world)
    while not any(member.phase is Phase.RESTORING for member in world.members.values()):
        world.run(0.1)
    _overload(world, "a", "b")
    for name in world.held:
        world.held[name] = 10 * OWN_PAGES
    epoch = world.members["a"].epoch
    world.run(0.5)
    assert [member.phase for member in world.members.values()] == [Phase.GROUPED] * 2
    assert {member.epoch for member in world.members.values()} == {epoch}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.sampled_from("oockrn"), max_size=12))
def test_whatever_happens_groups_agree_and_calm_ends_solo(seed: int, events: list[str]) -> None:
    world, number = World(list("abc"), seed), 0
    for event in events:
        names = sorted(world.members)
        if event == "o":
            _overload(world, *world.random.sample(names, world.random.randint(1, len(names))))
        elif event == "c":
            _calm(world)
        elif event == "k" and len(names) > 1:
            world.kill(world.random.choice(names))
        elif event == "n" and len(names) < 4:
            number += 1
            world.start(world.random.choice("abc") + str(number))
        world.run(world.random.random())
    _calm(world)
    world.run(40.0)
    assert {member.phase for member in world.members.values()} == {Phase.SOLO}
    assert not any(member.draining for member in world.members.values())


def _report(**changes: object) -> Report:
    known = {
        "phase": Phase.SOLO,
        "epoch": 0,
        "seen": 0,
        "group": (Stage("a", 0, LAYERS),),
        "settled": True,
        "fetched": 0,
        "held": 50,
        "capacity": 50,
        "own_capacity": 50,
        "queued": (10,) * 5,
        "running": 5,
        "running_tokens": 1000,
        "residence_s": 4.0,
    }
    return Report(**(known | changes))


COSTS = Costs(page_bytes=1000, token_bytes=50.0, link_bytes_per_s=1e6, memory_bytes_per_s=1e9)


def test_what_is_done_is_what_delays_least() -> None:
    two = [_report(), _report(queued=())]
    assert decide(two, 2, 60_000, 50, COSTS) == ("drop",)
    assert decide(two, 2, 60_000, 500, COSTS) == ("drop",)
    # Over a link so slow waiting is less bad; where requests end at once, waiting is nothing.
    assert decide(two, 2, 60_000, 50, replace(COSTS, link_bytes_per_s=1e2)) == ()
    assert decide([_report(residence_s=1e-4), _report(queued=(), residence_s=1e-4)], 2, 60_000, 50, COSTS) == ()
    # What can be compressed cheaply is, before layers are given away; if that is not enough, both are done.
    dense = replace(COSTS, ratio=5.0)
    packed = [_report(compressible_tokens=1000), _report(queued=())]
    assert decide(packed, 2, 60_000, 30, dense) == ("compress",)
    assert set(decide(packed, 2, 60_000, 90, dense)) == {"compress", "drop"}
    assert decide(packed, 1, 0, 50, COSTS) == ()
    assert decide(packed, 2, 60_000, 90, replace(dense, allowed=frozenset())) == ()


def test_reports_and_plans_come_back_from_their_fields() -> None:
    report, plan = _report(), Plan(4, Kind.RESTORE, ((Stage("a", 0, 6),), (Stage("b", 0, 6),)))
    assert Report.from_fields(report.to_fields()) == report and Plan.from_fields(plan.to_fields()) == plan
    with pytest.raises(PlanRefused, match="nonsense"):
        Report.from_fields(report.to_fields() | {"nonsense": 1})
