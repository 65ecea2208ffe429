"""What all stages hold to: needs, bounds, hard inputs, switching."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.scenario import Budget, Target, User
from fairlead_isac.stages.catalogue import stage, switch
from fairlead_isac.stages.protocol import Stage
from tests.plugins.isac.stages.scenes import CELL, NUMEROLOGY, channels, targets, users

NAMES = ("separated", "orthogonal", "converged")
BUDGET = Budget(10.0)


def made(name: str, user_count: int, target_count: int, min_rate: float = 0.0, **need: float) -> Stage:
    return stage(name, CELL, users=users(user_count, min_rate), targets=targets(target_count, **need))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("blocks", [0, 24])
def test_needs_that_can_be_met_are_met_within_power_and_time(name: str, blocks: int) -> None:
    asked = made(name, 2, 2, min_rate=0.5, range_std_m=1.0, detection_probability=0.9)
    decision = asked.decide(channels(1, 2, 2, blocks=blocks), BUDGET)
    assert decision.fallback is None and not decision.unmet
    assert not any(result.unmet for result in decision.sensing.values())
    assert sum(dwell.fraction for dwell in decision.dwells) == pytest.approx(1)
    assert all(dwell.sent_watts <= BUDGET.power_watts * (1 + 1e-9) for dwell in decision.dwells)


@pytest.mark.parametrize("name", NAMES)
def test_reported_rates_follow_from_the_beams(name: str) -> None:
    decision = made(name, 3, 1).decide(channels(2, 3, 1), BUDGET)
    (dwell,) = [each for each in decision.dwells if not each.silent]
    heard = np.abs(channels(2, 3, 1).users.conj() @ dwell.beamformers.T) ** 2
    sinr = heard.diagonal() / (heard.sum(1) - heard.diagonal() + 1)
    wanted = NUMEROLOGY.bandwidth_hz * dwell.fraction * np.log2(1 + sinr)
    assert list(decision.rate_bits_per_s.values()) == pytest.approx(list(wanted))


@pytest.mark.parametrize("blocks", [0, 24])
def test_prices_move_decisions_from_users_to_targets(blocks: int) -> None:
    for name in ("orthogonal", "converged"):
        cheap, dear = (
            made(name, 2, 1).decide(channels(3, 2, 1, blocks=blocks), Budget(10.0, price_sensing=price))
            for price in (0.0, 1000.0)
        )
        assert dear.sensing["t0"].illumination_watts > 2 * cheap.sensing["t0"].illumination_watts
        assert sum(dear.rate_bits_per_s.values()) < 0.5 * sum(cheap.rate_bits_per_s.values())


def test_sharing_more_gives_more_light_at_the_same_rates() -> None:
    need = {"min_rate": 2.0}
    price = Budget(10.0, price_rate=0.0, price_sensing=1.0)
    for seed in range(5):
        lit = [
            made(name, 2, 1, **need).decide(channels(seed, 2, 1), price).sensing["t0"].illumination_watts
            for name in NAMES
        ]
        assert lit[2] > lit[1] and lit[2] > lit[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("blocks", [0, 24])
def test_infeasible_needs_are_named_and_what_can_be_done_is_done(name: str, blocks: int) -> None:
    asked = made(name, 2, 1, min_rate=40.0, range_std_m=1e-6)
    decision = asked.decide(channels(4, 2, 1, blocks=blocks), BUDGET)
    assert decision.fallback is not None
    assert {line.split(".")[0] for line in decision.unmet} == {"u0", "u1"}
    assert "t0.range_std_m" in decision.sensing["t0"].unmet[0]
    assert all(dwell.sent_watts <= BUDGET.power_watts * (1 + 1e-9) for dwell in decision.dwells)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_user_whose_channel_cannot_be_used_is_left_out_and_named(name: str, bad: float) -> None:
    found = channels(5, 3, 1)
    found.users[1] = bad
    decision = made(name, 3, 1).decide(found, BUDGET)
    assert decision.fallback is not None and "user u1" in decision.fallback
    assert decision.rate_bits_per_s.keys() == {"u0", "u2"}
    assert min(decision.rate_bits_per_s.values()) > 0
    assert np.isfinite(decision.covariance).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("blocks", [0, 24])
def test_zero_users_zero_targets_or_neither(name: str, blocks: int) -> None:
    dark = made(name, 2, 0).decide(channels(6, 2, 0, blocks=blocks), BUDGET)
    assert dark.sensing == {} and min(dark.rate_bits_per_s.values()) > 0
    alone = made(name, 0, 2).decide(channels(6, 0, 2, blocks=blocks), BUDGET)
    assert alone.rate_bits_per_s == {} and min(r.illumination_watts for r in alone.sensing.values()) > 1
    nothing = made(name, 0, 0).decide(channels(6, 0, 0, blocks=blocks), BUDGET)
    assert nothing.dwells == () and nothing.power_watts == 0 and "nothing is sent" in nothing.reason


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("blocks", [0, 24])
def test_users_that_tie_get_the_same_or_share(name: str, blocks: int) -> None:
    found = channels(7, 2, 1, blocks=blocks)
    found.users[1] = found.users[0]
    decision = made(name, 2, 1).decide(found, BUDGET)
    rates = list(decision.rate_bits_per_s.values())
    assert sum(rates) > 0 and np.isfinite(rates).all()
    if not blocks:
        assert rates[0] == pytest.approx(rates[1], rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_more_users_than_antennas_are_served(name: str) -> None:
    decision = made(name, 12, 1).decide(channels(8, 12, 1), BUDGET)
    assert min(decision.rate_bits_per_s.values()) > 0
    assert decision.sensing["t0"].illumination_watts > 0


def test_a_solver_that_fails_costs_the_optimum_and_not_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = made("converged", 2, 1)
    found = channels(9, 2, 1)
    before = asked.decide(found, BUDGET)

    def fail(*_: object) -> None:
        raise np.linalg.LinAlgError("no convergence")

    monkeypatch.setattr("fairlead_isac.stages.converged.space_peak", fail)
    again = asked.decide(found, replace(BUDGET, power_watts=5.0))
    assert "previous decision kept" in (again.fallback or "")
    assert again.power_watts == pytest.approx(5.0) and before.power_watts == pytest.approx(10.0)
    asked.add_target(targets(2)[1])
    fresh = asked.decide(channels(9, 2, 2), BUDGET)
    assert "maximum-ratio" in (fresh.fallback or "")
    assert min(r.illumination_watts for r in fresh.sensing.values()) > 1


def test_names_are_taken_once_and_removed_once() -> None:
    asked = made("orthogonal", 1, 1)
    with pytest.raises(IsacError, match="user 'u0' is already"):
        asked.add_user(User("u0"))
    with pytest.raises(IsacError, match="target 'x' is not in stage 'orthogonal'; accepted: t0"):
        asked.remove_target("x")
    asked.remove_user("u0")
    with pytest.raises(IsacError, match="accepted: nothing"):
        asked.remove_user("u0")
    with pytest.raises(IsacError, match="accepted: separated, orthogonal"):
        stage("merged", CELL)


def test_switching_keeps_users_and_targets_and_decides_with_them() -> None:
    asked = made("separated", 2, 1)
    asked.add_user(User("late"))
    asked.add_target(Target("far", -0.2, 300.0))
    found = channels(10, 3, 2)
    found = replace(found, user_names=("u0", "u1", "late"), target_names=("t0", "far"))
    for name in ("orthogonal", "converged", "separated"):
        asked = switch(asked, name, CELL)
        decision = asked.decide(found, BUDGET)
        assert asked.name == decision.stage == name
        assert decision.rate_bits_per_s.keys() == {"u0", "u1", "late"}
        assert decision.sensing.keys() == {"t0", "far"}
    assert switch(asked, "separated", CELL) is asked


def test_least_rates_of_unequal_users_in_blocks_are_met_at_little_cost() -> None:
    for seed in range(4):
        found = channels(seed, 5, 1, blocks=24)
        found.users[:] *= np.logspace(-0.5, 0.5, 5)[:, None, None]
        needing, free = (made("converged", 5, 1, min_rate=least).decide(found, BUDGET) for least in (0.1, 0.0))
        assert needing.fallback is None and not needing.unmet
        assert min(needing.rate_bits_per_s.values()) >= 0.1 * NUMEROLOGY.bandwidth_hz * (1 - 1e-6)
        assert sum(needing.rate_bits_per_s.values()) > 0.6 * sum(free.rate_bits_per_s.values())
