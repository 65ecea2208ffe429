"""A full-duplex cell's stage: joint beams where they apply, the converged stage's where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics.channel import rayleigh
from fairlead_isac.scenario import Budget, Channels, User
from fairlead_isac.stages.catalogue import stage
from fairlead_isac.stages.decision import Decision
from tests.plugins.isac.stages.scenes import CELL, NUMEROLOGY, targets, users
from tests.plugins.isac.stages.scenes import channels as receiving

FULL = Budget(CELL.power_watts, duplex="full")
BAND = NUMEROLOGY.bandwidth_hz
#: A target whose detection takes about a third of what all power would give.
NEED = {"detection_probability": 0.9}


def senders(least: float = 1.0) -> list[User]:
    return [User(f"s{at}", min_rate_bits_per_s=least * BAND, direction="up") for at in range(2)]


def both_ways(seed: int, gain: float = 2e-5, **more: object) -> Channels:
    """Two users each way at a noise of 1 W, 90 dB of cancellation, clutter up to 9 dB above the noise at two angles."""
    rng = np.random.default_rng(100 + seed)
    made = receiving(seed, 2, 1, gain=gain)
    return replace(
        made,
        uplink=rayleigh(2, CELL.antennas, rng),
        uplink_names=("s0", "s1"),
        uplink_power_watts=np.full(2, 5.0),
        cancellation_db=20.0,
        clutter_angles_rad=np.array([-0.6, 1.0]),
        clutter_gains=np.full(2, 0.1),
        **more,
    )


def decide(name: str, channels: Channels, budget: Budget = FULL, least: float = 0.5, up: float = 1.0) -> Decision:
    made = stage(name, CELL, users=[*users(2, least), *senders(up)], targets=targets(1, **NEED))
    return made.decide(channels, budget)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_joint_beams_meet_what_is_asked_and_leave_users_at_least_as_much(seed: int) -> None:
    channels = both_ways(seed)
    joint, plain = decide("full_duplex", channels), decide("converged", channels)
    for decision in (joint, plain):
        assert decision.duplex == "full" and not decision.unmet and not decision.sensing["t0"].unmet
    assert joint.stage == "full_duplex" and "joint beams" in joint.reason
    assert sum(d.fraction for d in joint.dwells) <= 1 + 1e-9 and joint.power_watts <= CELL.power_watts * (1 + 1e-6)
    down = [sum(decision.rate_bits_per_s[name] for name in ("u0", "u1")) for decision in (joint, plain)]
    assert down[0] > 0.99 * down[1], "of few points the farthest is found to a hundredth"


def test_what_is_lit_avoids_clutter() -> None:
    """With a need out of reach both stages light the target as much as the least rates leave."""
    channels = both_ways(1, gain=1e-7)
    joint, plain = (decide(name, channels).sensing["t0"].integrated_snr for name in ("full_duplex", "converged"))
    assert joint > 1.02 * plain
    free = replace(channels, clutter_angles_rad=None, clutter_gains=None)
    assert decide("converged", free).sensing["t0"].integrated_snr > joint


@pytest.mark.parametrize("seed", [0, 1])
def test_users_that_send_much_cost_the_echo_less_than_power(seed: int) -> None:
    """The converged stage sends with so little power that users are heard; joint beams leave clutter unlit instead."""
    joint, plain = (decide(name, both_ways(seed, gain=1e-7), up=5.0) for name in ("full_duplex", "converged"))
    assert not joint.unmet and not plain.unmet
    assert joint.sensing["t0"].integrated_snr > 2 * plain.sensing["t0"].integrated_snr
    assert joint.power_watts > 2 * plain.power_watts
    assert joint.rate_bits_per_s["u0"] >= plain.rate_bits_per_s["u0"] * (1 - 1e-4)


def test_half_duplex_and_selective_channels_are_the_converged_stages() -> None:
    half = Budget(CELL.power_watts)
    joint, plain = (decide(name, both_ways(2), half) for name in ("full_duplex", "converged"))
    assert joint.rate_bits_per_s == plain.rate_bits_per_s and joint.reason == plain.reason
    blocks = receiving(2, 2, 1, blocks=6)
    made = [stage(name, CELL, users=users(2), targets=targets(1)) for name in ("full_duplex", "converged")]
    decided = [each.decide(blocks, FULL) for each in made]
    assert decided[0].rate_bits_per_s == decided[1].rate_bits_per_s
    assert not stage("full_duplex", CELL, users=users(2)).decide(receiving(2, 2, 0), FULL).fallback
    assert not stage("full_duplex", CELL, targets=targets(1)).decide(receiving(2, 0, 1), FULL).fallback


def test_users_that_send_more_than_is_possible_are_named() -> None:
    decision = decide("full_duplex", both_ways(3), up=40.0)
    assert any("s0.min_rate_bits_per_s" in line for line in decision.unmet)
    assert np.isfinite(decision.covariance).all()


def test_a_deadline_costs_rate_and_no_need() -> None:
    ticks = iter(range(1000))
    made = stage(
        "full_duplex",
        CELL,
        users=[*users(2, 0.5), *senders()],
        targets=targets(1, **NEED),
        deadline_s=2.5,
        clock=lambda: float(next(ticks)),
    )
    decision = made.decide(both_ways(1, gain=1e-5), FULL)
    assert decision.fallback == "the deadline is over after 2 of 6 points: users might have more"
    whole = decide("full_duplex", both_ways(1, gain=1e-5))
    assert not decision.unmet and not decision.sensing["t0"].unmet and whole.fallback is None
    assert decision.rate_bits_per_s["u0"] <= whole.rate_bits_per_s["u0"] * (1 + 1e-9)
    with pytest.raises(IsacError, match="deadline_s = 0; accepted: seconds above 0"):
        stage("full_duplex", CELL, deadline_s=0)


def test_clutter_without_angles_is_refused() -> None:
    with pytest.raises(IsacError, match=r"clutter_gains has shape \(2,\); accepted: that of clutter_angles_rad"):
        replace(receiving(1, 2, 1), clutter_gains=np.ones(2))
