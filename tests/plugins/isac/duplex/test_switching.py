"""Half or full duplex: break-even, hysteresis, and a stage's decisions in both modes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fairlead_isac.duplex.switching import DuplexSwitch, break_even_db, measured_break_even_db
from fairlead_isac.errors import IsacError
from fairlead_isac.physics.channel import rayleigh
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.scenario import Budget, Cell, Channels, SensingNeed, Target, User
from fairlead_isac.stages.catalogue import stage

CELL = Cell("cell", 8, 1.0, 5.0, Numerology.new_radio(3.5e9, 1, 24, 56))
USERS = [User("d0"), User("d1"), User("up0", direction="up"), User("up1", direction="up")]


def channels(seed: int, cancellation_db: float | None) -> Channels:
    """A noise of 1e-12 W, the uplink stronger than the downlink; a residual of 1 W reaches the noise at 120 dB."""
    rng = np.random.default_rng(seed)
    down, up = rayleigh(2, 8, rng) * 10**-5, rayleigh(2, 8, rng) * 10**-4
    return Channels(
        down,
        ("d0", "d1"),
        1e-12,
        np.array([1e-12]),
        ("t",),
        None,
        up,
        ("up0", "up1"),
        np.full(2, 0.01),
        cancellation_db,
    )


def test_the_break_even_is_where_the_ratio_is_one() -> None:
    assert break_even_db(lambda db: db / 96) == pytest.approx(96, abs=0.02)
    assert break_even_db(lambda db: 0.5) is None
    assert break_even_db(lambda db: 2.0, 40) == 40


def test_the_switch_keeps_its_mode_within_the_hysteresis() -> None:
    switch = DuplexSwitch(2.0)
    seen = [switch.choose(db, 96.0) for db in (95, 97, 98, 97, 95, 94, 93, 97, math.nan, 99)]
    assert seen == ["half", "half", "full", "full", "full", "full", "half", "half", "half", "full"]
    assert switch.choose(None, 96.0) == "half"
    with pytest.raises(IsacError, match="hysteresis_db is -1"):
        DuplexSwitch(-1)


@pytest.mark.parametrize("name", ["separated", "orthogonal", "converged"])
def test_a_stage_measures_its_break_even_and_is_right_on_both_sides(name: str) -> None:
    asked, budget = stage(name, CELL, users=USERS), Budget(1.0)
    point = measured_break_even_db(asked, channels(1, None), budget)
    assert point is not None and 60 < point < 130
    for cancellation_db, better in ((point - 5, "half"), (point + 5, "full")):
        seen = channels(1, cancellation_db)
        sums = {
            mode: sum(asked.decide(seen, replace(budget, duplex=mode)).rate_bits_per_s.values())
            for mode in ("half", "full")
        }
        assert max(sums, key=sums.__getitem__) == better


def test_full_duplex_hears_echoes_all_the_time_beside_users_that_send() -> None:
    target = Target("t", 0.3, 100.0, required=SensingNeed(range_std_m=0.5))
    asked = stage("converged", CELL, users=USERS, targets=[target])
    half = asked.decide(channels(2, 130.0), Budget(1.0))
    full = asked.decide(channels(2, 130.0), Budget(1.0, duplex="full"))
    assert full.rate_bits_per_s["up0"] == pytest.approx(2 * half.rate_bits_per_s["up0"], rel=0.2)
    assert full.rate_bits_per_s.keys() == {"d0", "d1", "up0", "up1"}
    assert not full.sensing["t"].unmet and not half.sensing["t"].unmet


@pytest.mark.parametrize("name", ["separated", "orthogonal", "converged"])
def test_the_cell_sends_no_louder_than_sending_users_bear(name: str) -> None:
    band = CELL.numerology.bandwidth_hz
    needing = [replace(user, min_rate_bits_per_s=5 * band) if user.direction == "up" else user for user in USERS]
    for least, users in ((False, USERS), (True, needing)):
        asked = stage(name, CELL, users=users, targets=[Target("t", 0.3, 100.0)])
        decision = asked.decide(channels(3, 90.0), Budget(1.0, duplex="full"))
        heard = min(decision.rate_bits_per_s["up0"], decision.rate_bits_per_s["up1"]) / band
        if least:
            assert heard == pytest.approx(5, abs=0.1) and not decision.unmet
            assert 0.001 < decision.power_watts < 0.9
        else:
            assert heard < 4.5 and decision.power_watts == pytest.approx(1.0)
