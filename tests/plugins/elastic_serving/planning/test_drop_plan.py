"""Drop plans: each group still covers the model, enough is freed, pipelines stay short."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.planning.drop_plan import Group, Stage, most_freeable, plan_drop, plan_restore


def alone(names: str | int, layers: int) -> list[Group]:
    names = [f"i{number}" for number in range(names)] if isinstance(names, int) else list(names)
    return [(Stage(name, 0, layers),) for name in names]


def covered(group: Group, layers: int) -> bool:
    return [layer for stage in group for layer in stage.layers] == list(range(layers))


SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 12), SIZES, st.data())
def test_plans_after_plans_cover_the_model_and_free_what_they_say(instances: int, sizes: list[int], data) -> None:
    layers, whole, groups = len(sizes), sum(sizes), alone(instances, len(sizes))
    for epoch in range(3):
        required = data.draw(st.integers(0, whole * instances))
        held = {stage.instance: set(stage.layers) for group in groups for stage in group}
        plan = plan_drop(groups, sizes, required, epoch)
        assert all(covered(group, layers) for group in plan.groups)
        freed = sum(sizes[layer] for gone in plan.dropped.values() for layer in gone)
        assert freed == plan.freed_bytes == most_freeable(len(groups), len(plan.groups), whole)
        assert plan.enough == (freed >= required)
        assert plan.enough or len(plan.groups) == 1, "it stops only when enough is freed or one group is left"
        assert freed - whole < required or not freed, "and not later"
        for group in plan.groups:
            for stage in group:
                kept = set(stage.layers)
                assert kept <= held[stage.instance], "nothing has to be fetched"
                assert held[stage.instance] - kept == set(plan.dropped.get(stage.instance, ()))
        groups = list(plan.groups)


def test_the_smallest_groups_merge_first() -> None:
    groups = [(Stage("a", 0, 2), Stage("b", 2, 4)), *alone("cde", 4)]
    plan = plan_drop(groups, [10] * 4, 40, 1)
    assert sorted(len(group) for group in plan.groups) == [1, 2, 2]
    assert plan.dropped == {"c": (2, 3), "d": (0, 1)}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 16), st.integers(1, 16))
def test_pipelines_are_as_short_as_the_number_of_groups_allows(instances: int, merges: int) -> None:
    merges = min(merges, instances - 1)
    plan = plan_drop(alone(instances, 8), [1] * 8, 8 * merges, 1)
    sizes = [len(group) for group in plan.groups]
    assert len(sizes) == instances - merges
    assert max(sizes) < 2 * -(-instances // len(sizes)) + 1


def test_stages_are_even_where_they_can_be() -> None:
    plan = plan_drop(alone("abcd", 32), [5] * 32, 10**9, 1)
    assert [len(stage.layers) for stage in plan.groups[0]] == [8, 8, 8, 8]
    uneven = [(Stage("a", 0, 32),), (Stage("b", 0, 12), Stage("c", 12, 32))]
    merged = plan_drop(uneven, [5] * 32, 1, 1).groups[0]
    assert sorted(len(stage.layers) for stage in merged) == [10, 11, 11]


def test_layers_of_different_sizes_are_spread_by_bytes() -> None:
    plan = plan_drop(alone("ab", 4), [9, 3, 3, 3], 1, 7)
    assert [tuple(stage.layers) for stage in plan.groups[0]] == [(0,), (1, 2, 3)]
    assert plan.epoch == 7


def test_groups_do_not_get_longer_than_allowed() -> None:
    plan = plan_drop(alone(5, 4), [1] * 4, 10**6, 1, most_stages=2)
    assert sorted(len(group) for group in plan.groups) == [1, 2, 2]
    assert not plan.enough


def test_nothing_is_dropped_where_nothing_is_required() -> None:
    plan = plan_drop(alone("ab", 4), [1] * 4, 0, 1)
    assert plan.groups == tuple(alone("ab", 4)) and not plan.dropped and plan.enough


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([(Stage("a", 0, 3),)], "accepted: all of layers 0 to 3"),
        ([(Stage("a", 0, 2), Stage("b", 1, 4))], "accepted: all of layers 0 to 3"),
        (alone("aa", 4), r"instances \['a'\] are in two places"),
    ],
)
def test_groups_that_do_not_hold_the_model_once_are_refused(groups: list[Group], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_drop(groups, [1] * 4, 1, 1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 9), SIZES)
def test_restoring_splits_the_longest_group_and_fetches_only(instances: int, sizes: list[int]) -> None:
    layers = len(sizes)
    groups = plan_drop(alone(instances, layers), sizes, sum(sizes) * instances, 1).groups
    restore = plan_restore(groups, layers, 2)
    assert len(restore.group) == max(map(len, groups))
    assert all(covered(part, layers) for part in restore.parts)
    assert {stage.instance for part in restore.parts for stage in part} == {stage.instance for stage in restore.group}
    had = {stage.instance: set(stage.layers) for stage in restore.group}
    for part in restore.parts:
        for stage in part:
            assert had[stage.instance] <= set(stage.layers)
            assert set(stage.layers) - had[stage.instance] == set(restore.fetched.get(stage.instance, ()))
    assert sum(sizes[layer] for needs in restore.fetched.values() for layer in needs) == sum(sizes)


def test_a_pair_restores_to_two_whole_copies() -> None:
    plan = plan_drop(alone("ab", 6), [1] * 6, 1, 1)
    restore = plan_restore(plan.groups, 6, 2)
    assert restore.fetched == {"a": (3, 4, 5), "b": (0, 1, 2)}


def test_nothing_to_restore_is_said() -> None:
    with pytest.raises(ValueError, match="nothing was dropped"):
        plan_restore(alone("ab", 2), 2, 1)
