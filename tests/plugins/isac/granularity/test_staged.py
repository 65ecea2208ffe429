"""A stage under layers: its choice, its budget, its frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.granularity.hierarchy import Hierarchy
from fairlead_isac.granularity.staged import BudgetLayer, FrameLayer, Measured, StageBudget, StageLayer
from fairlead_isac.physics.channel import noise_power_watts, radar_gain, rayleigh
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.scenario import Budget, Cell, Channels, SensingNeed, Target, User
from fairlead_isac.stages.decision import Decision

NUMEROLOGY = Numerology.new_radio(3.5e9, 1, 20, 280)
CELL = Cell("cell", 8, 1.0, 5.0, NUMEROLOGY)
NOISE = noise_power_watts(NUMEROLOGY.bandwidth_hz, 5.0)
USERS = (User("a"), User("b"))


def measured(seed: int = 0, range_m: float = 150.0, **changes: object) -> Measured:
    target = Target("car", 0.3, range_m, 5.0, 1.0, SensingNeed(range_std_m=0.2, refresh_s=0.1))
    gains = radar_gain([range_m], 3.5e9, [1.0])
    fading = rayleigh(2, 8, np.random.default_rng(seed)) * np.sqrt(30 * NOISE)
    known = {"users": USERS, "targets": (target,), "bounds": Budget(1.0, (0.0, 0.5)), **changes}
    return Measured(CELL, Channels(fading, ("a", "b"), NOISE, gains, ("car",)), **known)  # type: ignore[arg-type]


def layers(*stages: str) -> Hierarchy:
    return Hierarchy([StageLayer(stages or ("orthogonal", "converged")), BudgetLayer(0.1), FrameLayer(0.01)])


def test_frames_are_decided_within_the_layers_above() -> None:
    hierarchy, counts = layers("orthogonal"), {"band": 0, "cell": 0, "slot": 0}
    for number in range(21):
        for decision in hierarchy.step(number * 0.01, measured(number)):
            counts[decision.layer] += 1
            assert decision.fallback is None
    assert counts == {"band": 1, "cell": 3, "slot": 21}
    frame = hierarchy.setting("slot")
    assert isinstance(frame, Decision) and frame.stage == "orthogonal"
    assert set(frame.rate_bits_per_s) == {"a", "b"} and "car" in frame.sensing


def test_the_stage_changes_with_the_illumination_and_not_for_little() -> None:
    layer = StageLayer(("orthogonal", "converged"))
    chosen = [layer.decide(0.0, measured(illumination=share), None).setting for share in (0.0, 0.02, 0.5, 0.02)]
    assert chosen == ["orthogonal", "orthogonal", "converged", "converged"]
    with pytest.raises(IsacError, match="accepted: separated"):
        StageLayer(("merged",))


def test_missed_needs_raise_the_price_of_sensing_and_met_ones_lower_it() -> None:
    frame, budget = FrameLayer(0.01), BudgetLayer(0.1)
    far = measured(range_m=3000.0)
    missed = frame.decide(0.0, far, StageBudget("orthogonal", Budget(1.0, (0.0, 0.1)))).setting
    met = frame.decide(0.0, measured(), StageBudget("orthogonal", Budget(1.0))).setting
    prices = [
        budget.decide(0.0, replace(far, last=last), "orthogonal").prices["sensing"]
        for last in (None, missed, missed, met)
    ]
    assert prices == pytest.approx([0.0, 1.0, 2.0, 1.8])


def test_the_duplex_mode_follows_the_break_even_under_these_channels() -> None:
    up = User("up", direction="up")
    heard = rayleigh(1, 8, np.random.default_rng(5)) * np.sqrt(30 * NOISE)
    modes = []
    for cancellation in (40.0, 150.0, None):
        seen = measured(users=(*USERS, up), targets=())
        channels = replace(
            seen.channels,
            uplink=heard,
            uplink_names=("up",),
            uplink_power_watts=np.array([0.1]),
            cancellation_db=cancellation,
        )
        setting = BudgetLayer(0.1).decide(0.0, replace(seen, channels=channels), "orthogonal").setting
        modes.append(setting.budget.duplex)
    assert modes[1:] == ["full", "half"]


def test_a_change_of_stage_or_of_users_needs_no_new_layer() -> None:
    frame = FrameLayer(0.01)
    first = frame.decide(0.0, measured(), StageBudget("orthogonal", Budget(1.0))).setting
    second = frame.decide(0.01, measured(), StageBudget("converged", Budget(1.0))).setting
    fewer = measured(users=(USERS[0],))
    third = frame.decide(0.02, fewer, StageBudget("converged", Budget(1.0))).setting
    assert [each.stage for each in (first, second, third)] == ["orthogonal", "converged", "converged"]
    assert set(third.rate_bits_per_s) == {"a"}


def test_layers_that_do_not_fit_keep_what_there_was() -> None:
    hierarchy = Hierarchy([BudgetLayer(0.1), FrameLayer(0.01)])
    budget, frame = hierarchy.step(0.0, measured())
    assert "name of a stage" in str(budget.fallback)
    assert frame.fallback is None and frame.setting.rate_bits_per_s
    assert "StageBudget" in str(Hierarchy([FrameLayer(0.01)]).step(0.0, measured())[0].fallback)
