"""What each layer decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.granularity.band import BandLayer, full_rate, rate_share, service_of
from fairlead_isac.granularity.cell import CellLayer, CellSetting, Group
from fairlead_isac.granularity.layer import SolverFailed
from fairlead_isac.granularity.single import FrozenSlotLayer, MyopicSlotLayer, PacedSlotLayer
from fairlead_isac.granularity.slot import MOST_LOOKS, SlotLayer, best_users
from fairlead_isac.granularity.symbol import SymbolLayer, comb_spacing, pilot_pattern, tapers
from fairlead_isac.physics.ambiguity import point_spread, side_lobes
from fairlead_isac.scenario import Budget, User
from fairlead_isac.solvers.allocation import allocate
from tests.plugins.isac.granularity.scenes import NUMEROLOGY, SLOT_S, seen, tracked


def test_the_band_serves_what_is_worth_its_air_and_says_why_not_the_rest() -> None:
    near, far = tracked("near", 80.0), tracked("far", 300.0, 0.02)
    observation = seen(near, far)
    cost = full_rate(observation) * service_of(near, observation).air_share * 0.1
    setting = BandLayer(2.0 * cost).decide(0.0, observation, None).setting
    assert set(setting.served) == {"near"} and "far" in setting.shed
    assert set(BandLayer(1e9, 1.0).decide(0.0, observation, None).setting.served) == {"near", "far"}
    assert not BandLayer(0.0).decide(0.0, observation, None).setting.served


def test_the_cap_on_sensing_goes_to_what_is_worth_most_and_sets_a_price() -> None:
    targets = [tracked(f"t{number}", 100.0 + 30.0 * number, 0.1) for number in range(6)]
    observation = seen(*targets)
    cheap = sum(service_of(each, observation).air_share for each in targets[:3])
    free = BandLayer(1e9, 1.0).decide(0.0, observation, None)
    capped = BandLayer(1e9, cheap * 1.0001).decide(0.0, observation, None)
    assert set(capped.setting.served) == {"t0", "t1", "t2"}
    assert capped.setting.air_price > free.setting.air_price
    assert "left for sensing" in capped.setting.shed["t3"]


def test_weight_moves_a_target_ahead() -> None:
    targets = [tracked("light", 150.0, 0.1), tracked("heavy", 160.0, 0.1)]
    targets[1] = replace(targets[1], target=replace(targets[1].target, weight=10.0))
    observation = seen(*targets)
    share = max(service_of(each, observation).air_share for each in targets)
    assert set(BandLayer(1e9, share).decide(0.0, observation, None).setting.served) == {"heavy"}


def test_a_dear_target_is_served_with_relaxed_needs_where_that_is_allowed() -> None:
    observation = seen(tracked("far", 250.0, 0.1))
    dear = full_rate(observation) * service_of(observation.targets[0], observation).air_share * 0.1
    assert not BandLayer(0.5 * dear).decide(0.0, observation, None).setting.served
    relaxed = BandLayer(0.5 * dear, relaxations=(1.0, 2.0)).decide(0.0, observation, None).setting.served["far"]
    assert relaxed.relaxed == 2.0


def test_the_band_is_as_wide_as_the_resolution_of_range_needs() -> None:
    layer = BandLayer(1e6, blocks=(6, 12, 24), range_resolution_m=5.0)
    with pytest.raises(SolverFailed, match="no band"):
        layer.decide(0.0, seen(), None)
    wide = replace(seen(), gains=np.ones((3, 100)), mean_gains=np.ones((3, 100)))
    setting = BandLayer(1e6, blocks=(50, 84, 100), range_resolution_m=5.0).decide(0.0, wide, None).setting
    assert setting.resource_blocks >= 84


def test_the_stage_is_the_one_that_leaves_most_rate() -> None:
    stages = ("separated", "orthogonal", "converged")
    observation = seen(*[tracked(f"t{n}", 260.0, 0.05) for n in range(4)])
    much = BandLayer(1e12, 1.0, stages=stages).decide(0.0, observation, None).setting
    assert much.stage == "converged"
    assert rate_share("orthogonal", 0.25) == pytest.approx(0.75)
    assert rate_share("separated", 0.5) == 0.0
    with pytest.raises(IsacError, match="accepted: separated"):
        rate_share("merged", 0.1)


def test_the_cell_plans_each_interval_once_and_finishes_what_runs() -> None:
    layer, band, observation = CellLayer(0.05), BandLayer(1e9, 1.0), seen(tracked())
    budget = band.decide(0.0, observation, None).setting
    begins: set[float] = set()
    for number in range(8):
        plan = layer.decide(number * 0.05, observation, budget).setting.plans["car"]
        assert len({group.begin_s for group in plan}) == len(plan)
        begins |= {group.begin_s for group in plan}
    needs = service_of(observation.targets[0], observation)
    assert len(begins) == 4 * max(needs.needs.groups, min(needs.symbols, 64))
    shed = replace(budget, served={})
    kept = layer.decide(0.4, observation, shed).setting.plans
    assert kept == {} or all(group.begin_s < 0.4 for group in kept["car"])


def test_duplex_follows_the_break_even_with_hysteresis() -> None:
    layer, band = CellLayer(0.05), BandLayer(1e6).decide(0.0, seen(), None).setting
    modes = []
    for cancellation in (90.0, 97.0, 99.0, 95.0, 93.0, None):
        observation = seen(cancellation_db=cancellation)
        modes.append(layer.decide(0.0, observation, band).setting.budget.duplex)
    assert modes == ["half", "half", "full", "full", "half", "half"]


def test_a_user_below_its_least_rate_gets_a_price_until_it_has_it() -> None:
    layer, band = CellLayer(0.05), BandLayer(0.0).decide(0.0, seen(), None).setting
    users = (User("a", 1.0, 2e7), User("b"), User("c"))
    poor = replace(seen(average_rates=np.array([1e7, 3e7, 3e7])), users=users)
    for _ in range(4):
        prices = layer.decide(0.0, poor, band).setting.rate_prices
    assert set(prices) == {"a"} and prices["a"] == pytest.approx(4 * 0.5 * 0.5)
    share = lambda prices: SlotLayer(SLOT_S).data(poor, 1.0, prices)[0].rate_bits[0]
    assert share(prices) > share({})
    rich = replace(poor, average_rates=np.array([8e7, 3e7, 3e7]))
    assert layer.decide(0.0, rich, band).setting.rate_prices["a"] == 0.0


def plan(*groups: Group, thresholds: np.ndarray | None = None) -> CellSetting:
    return CellSetting(Budget(1.0), {"car": groups}, np.zeros(64) if thresholds is None else thresholds, {}, {})


def looks(layer: SlotLayer, setting: CellSetting, slots: int) -> list[int]:
    return [
        layer.decide(number * SLOT_S, seen(seed=number), setting).setting.looks.get("car", 0) for number in range(slots)
    ]


def test_a_group_waits_for_cheap_data_and_is_served_at_the_latest_when_it_ends() -> None:
    group = Group(2 * SLOT_S, 8 * SLOT_S, 5)
    assert looks(SlotLayer(SLOT_S), plan(group), 12) == [0] * 7 + [5] + [0] * 4
    assert looks(SlotLayer(SLOT_S), plan(group, thresholds=np.full(64, 9.0)), 6) == [0, 0, 5, 0, 0, 0]


def test_a_large_group_begins_so_early_that_it_ends_in_time() -> None:
    sent = looks(SlotLayer(SLOT_S), plan(Group(0.0, 6 * SLOT_S, 30)), 8)
    assert sum(sent) == 30 and max(sent) <= MOST_LOOKS and sent[6:] == [0, 0]


def test_looks_take_symbols_from_data() -> None:
    setting = SlotLayer(SLOT_S).decide(0.0, seen(), plan(Group(0.0, 0.0, 5))).setting
    assert setting.data_symbols == 9
    assert setting.power.sum() == pytest.approx(1.0, rel=1e-3)
    np.testing.assert_allclose(setting.shares.sum(axis=0), 1.0)


def test_a_myopic_slot_sends_no_look_that_is_not_worth_its_data() -> None:
    target = tracked(range_m=80.0)
    assert MyopicSlotLayer(SLOT_S, 0.0).decide(0.0, seen(target), None).setting.looks == {}
    eager = MyopicSlotLayer(SLOT_S, 1e9)
    first = eager.decide(0.0, seen(target), None).setting.looks["car"]
    needs = service_of(target, seen()).needs
    assert first >= 1 and needs.energy > 0


def test_a_paced_slot_spreads_its_looks() -> None:
    target, layer = tracked(range_m=200.0, rcs=0.1), PacedSlotLayer(SLOT_S, 1e9)
    sent = [layer.decide(n * SLOT_S, seen(target, seed=n), None).setting.looks.get("car", 0) for n in range(190)]
    half = sum(sent[:95]) / sum(sent)
    assert 0.4 < half < 0.6 and sum(sent) >= service_of(target, seen()).symbols - 1


def test_a_frozen_slot_keeps_the_allocation_of_its_period() -> None:
    layer, setting = FrozenSlotLayer(SLOT_S), plan()
    first = layer.decide(0.0, seen(seed=1), setting).setting
    second = layer.decide(SLOT_S, seen(seed=2), setting).setting
    np.testing.assert_array_equal(first.power, second.power)


def test_tapers_have_the_side_lobes_that_they_say() -> None:
    plain = tapers()[0]
    spread = point_spread(np.ones((256, 1)), (16, 1))[:, 0]
    assert plain.pslr_db == pytest.approx(side_lobes(spread).pslr_db, abs=0.05)
    for taper in tapers()[1:]:
        assert taper.pslr_db > plain.pslr_db and taper.loss_db > 0.0 and taper.widening > 1.0


def test_the_taper_loses_no_more_than_the_side_lobes_ask_for() -> None:
    assert SymbolLayer(SLOT_S, pslr_db=13.0).taper.name == "rectangular"
    assert SymbolLayer(SLOT_S, pslr_db=30.0).taper.name == "hamming"
    with pytest.raises(IsacError, match="pslr_db"):
        SymbolLayer(SLOT_S, pslr_db=90.0)


def test_combs_stay_unambiguous_and_stagger_to_the_whole_band() -> None:
    spacing = comb_spacing(NUMEROLOGY, 600.0, 4)
    assert spacing == 4 and NUMEROLOGY.unambiguous_range_m / spacing >= 600.0
    assert comb_spacing(NUMEROLOGY, 2000.0, 4) == 2
    with pytest.raises(SolverFailed, match="farthest_m"):
        comb_spacing(NUMEROLOGY, 1e5, 1)
    slot = SlotLayer(SLOT_S).decide(0.0, seen(), plan(Group(0.0, 0.0, 4))).setting
    pattern = SymbolLayer(SLOT_S, 600.0, reuse=4).decide(0.0, seen(), slot).setting.looks["car"]
    mask = pattern.mask(NUMEROLOGY.subcarriers)
    assert mask.sum() == NUMEROLOGY.subcarriers and mask.any(axis=1).all()
    # The comb's cut repeats its peak just beyond what is unambiguous.
    cut = point_spread(mask[:, :1].astype(float), (1, 1))[:, 0]
    again = np.flatnonzero(cut > 0.999)
    assert again[1] * NUMEROLOGY.range_resolution_m == pytest.approx(pattern.unambiguous_range_m, rel=1e-6)


def test_pilots_follow_delay_spread_and_doppler() -> None:
    slow, fast = pilot_pattern(NUMEROLOGY, 1e-7, 10.0), pilot_pattern(NUMEROLOGY, 3e-6, 2000.0)
    assert slow.overhead < 0.01 < fast.overhead
    assert fast.subcarrier_spacing * 3e-6 * NUMEROLOGY.subcarrier_spacing_hz <= 0.5
    assert fast.symbol_spacing * 2 * 2000.0 * NUMEROLOGY.symbol_s <= 0.5


def test_best_users_are_near_the_optimum_where_blocks_are_good() -> None:
    random = np.random.default_rng(2)
    for _ in range(3):
        gains, weights = random.exponential(16.0 * 24, (4, 24)), random.uniform(0.5, 2.0, 4)
        quick, best = best_users(gains, weights, 1.0), allocate(gains, weights, 1.0)
        assert 0.97 < (weights @ quick.rate_bits) / (weights @ best.rate_bits) <= 1.0 + 1e-9
        assert quick.power.sum() == pytest.approx(1.0)
    assert best_users(np.zeros((0, 5)), np.zeros(0), 1.0).rate_bits.shape == (0,)
