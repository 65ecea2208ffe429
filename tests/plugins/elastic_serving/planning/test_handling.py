"""Overload, what is done about it by cost, and the limits."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.planning.cost_model import CostModel
from fairlead_elastic_serving.planning.handling import (
    Way,
    choose,
    compress_way,
    drop_way,
    exchange_seconds,
    recompute_way,
    swap_way,
)
from fairlead_elastic_serving.planning.limits import Fleet, decode_step_seconds
from fairlead_elastic_serving.planning.overload import Demand, Watch, Wish, overloaded, required


def test_overload_is_a_head_that_does_not_fit() -> None:
    assert not overloaded(Demand(90, 100, 100))
    assert not overloaded(Demand(90, 100, 100, [10, 500]))
    assert overloaded(Demand(90, 100, 100, [11]))
    assert required(Demand(90, 100, 100, [11, 5])) == 6
    assert required(Demand(10, 100, 100, [11, 5])) == 0


def test_a_watch_drops_under_pressure_and_restores_when_it_falls() -> None:
    watch = Watch()
    assert watch.see(Demand(90, 100, 100, [5, 20])) is Wish.NOTHING, "the next one has room, and usage is below 95 %"
    assert watch.see(Demand(96, 100, 100, [2])) is Wish.NOTHING, "what waits will fit"
    assert watch.see(Demand(70, 100, 100, [40])) is Wish.DROP, "the next one has no room"
    assert watch.see(Demand(96, 100, 100, [2, 2])) is Wish.DROP
    assert watch.see(Demand(70, 150, 100)) is Wish.NOTHING
    assert watch.see(Demand(49, 150, 100, [1])) is Wish.NOTHING, "somebody waits"
    assert watch.see(Demand(50, 150, 100)) is Wish.NOTHING, "it rises"
    assert watch.see(Demand(48, 150, 100)) is Wish.RESTORE
    assert watch.see(Demand(20, 100, 100)) is Wish.NOTHING, "nothing is dropped"


def test_a_watch_restores_when_all_has_fitted_for_a_while() -> None:
    watch = Watch(calm_polls=3)
    low, wave = Demand(20, 150, 100), Demand(20, 150, 100, [50, 50])
    seen = [watch.see(demand) for demand in (wave, low, low, wave, low, low, low, low)]
    assert seen == [Wish.NOTHING] * 6 + [Wish.RESTORE] * 2


@pytest.mark.parametrize("thresholds", [(0.5, 0.95), (1.1, 0.5), (0.9, 0.0)])
def test_thresholds_that_flap_are_refused(thresholds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="accepted: 0 < restore_at < drop_at"):
        Watch(*thresholds)


@pytest.mark.parametrize("wrong", [(101, 100, 100), (-1, 100, 100), (5, 100, 120)])
def test_impossible_demands_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="accepted: 0 <= held <= capacity"):
        Demand(*wrong)


WAYS = st.lists(st.tuples(st.integers(0, 100), st.floats(0, 10)), max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(WAYS, st.integers(0, 200))
def test_the_cheapest_combination_that_frees_enough_is_chosen(some: list[tuple[int, float]], needed: int) -> None:
    ways = [Way(str(place), freed, seconds) for place, (freed, seconds) in enumerate(some)]
    chosen = choose(ways, needed)
    freed, seconds = sum(way.freed_bytes for way in chosen), sum(way.seconds for way in chosen)
    everything = [part for size in range(len(ways) + 1) for part in combinations(ways, size)]
    enough = [part for part in everything if sum(way.freed_bytes for way in part) >= needed]
    if enough:
        assert freed >= needed
        assert seconds == min(sum(way.seconds for way in part) for part in enough)
    else:
        assert freed == sum(way.freed_bytes for way in ways)


def test_ways_that_exclude_each_other_are_not_combined() -> None:
    model = CostModel(1e-8, 1e-5, 1e-3)
    ways = [recompute_way(100, [1000], model), swap_way(100, [1000], 1e9)]
    assert len(choose(ways, 10**9)) == 1
    assert choose(ways, 1)[0].name == "swap", "moving 200 kB takes less than computing a thousand tokens"


def test_a_slow_link_makes_computing_again_the_better_way() -> None:
    model = CostModel(1e-8, 1e-5, 1e-3)
    for bandwidth, name in ((1e9, "drop"), (1e3, "recompute")):
        ways = [
            drop_way(10**6, 100.0, 5000, 2, bandwidth, work_s=0.01, microbatches=12),
            recompute_way(1000.0, [2000], model),
        ]
        assert choose(ways, 10**6)[0].name == name


def test_costs_are_those_of_their_formulas() -> None:
    assert exchange_seconds(100.0, 1000, 4, 1e5) == pytest.approx(100 * 1000 * 3 / (4 * 1e5))
    dropped = drop_way(7, 100.0, 0, 2, 1e5, work_s=12.0, microbatches=12)
    assert dropped.seconds == pytest.approx(1.0), "a pipeline of two with 12 microbatches takes 13 steps for 12"
    compressed = compress_way(100.0, 1000, 4.0, 1e6)
    assert (compressed.freed_bytes, compressed.seconds) == (75000, pytest.approx(0.125))
    with pytest.raises(ValueError, match="accepted: 1 and above"):
        compress_way(1.0, 1, 0.5, 1.0)
    with pytest.raises(ValueError, match="microbatches 0: accepted: 1 and above"):
        drop_way(7, 100.0, 0, 2, 1e5, work_s=12.0, microbatches=0)


def test_limits_are_those_of_their_formulas() -> None:
    fleet = Fleet(4, memory_bytes=100, weight_bytes=60, activation_bytes=10, link_bytes_per_s=10.0)
    assert fleet.kv_capacity() == 120
    assert fleet.freeable(2) == 120
    assert fleet.restore_seconds(2) == 3.0
    assert fleet.tail_ttft(1.0, 120, 5.0) == 1.0
    assert fleet.tail_ttft(1.0, 240, 5.0) == 6.0
    assert fleet.tail_ttft(1.0, 240, 5.0, freed_bytes=120) == 1.0
    for memory in (70, 60):
        full = Fleet(4, memory_bytes=memory, weight_bytes=60, activation_bytes=10)
        with pytest.raises(ValueError, match=f"capacity {(memory - 70) * 4}; accepted: above 0"):
            full.tail_ttft(1.0, 120, 5.0)
        assert full.tail_ttft(1.0, 120, 5.0, freed_bytes=160) == 1.0
    assert decode_step_seconds(100, 2, 10, 5, 2, 10, 1, 1e9) == 15.0
    assert decode_step_seconds(0, 8, 0, 5, 1, 10, 100, 400) == 4.0
