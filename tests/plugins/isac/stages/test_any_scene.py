"""Whatever the scene: no exception, power and time are kept, figures are finite."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fairlead_isac.physics.channel import gaussian
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.scenario import Budget, Cell, Channels, SensingNeed, Target, User
from fairlead_isac.stages.beams import peak, sinr_of
from fairlead_isac.stages.catalogue import stage
from fairlead_isac.stages.kpis import kpis


def scene(rng: np.random.Generator) -> tuple[Cell, list[User], list[Target], Channels, Budget]:
    """Counts, gains over many decades, NaN, ties, infeasible needs, residuals: anything."""
    least, most = (2, 1, 0, 0, 0), (8, 8, 5, 2, 2)
    send, hear, down, seen, up = rng.integers(least, most, endpoint=True).tolist()
    blocks = int(rng.choice([0, 0, 1, 6]))
    cell = Cell("cell", send, 10 ** rng.uniform(-2, 2), 5.0, Numerology.new_radio(3.5e9, 1, 6, 14), hear)
    band = cell.numerology.bandwidth_hz
    users = [
        User(f"d{at}", float(10 ** rng.uniform(-2, 2)), band * float(rng.choice([0, 0, 0.1, 5, 50])))
        for at in range(down)
    ]
    users += [User(f"u{at}", 1.0, band * float(rng.choice([0, 2])), direction="up") for at in range(up)]
    needs = [SensingNeed(range_std_m=10 ** rng.uniform(-3, 2), detection_probability=0.9), SensingNeed()]
    targets = [Target(f"t{at}", rng.uniform(-1.5, 1.5), 50.0, required=needs[rng.integers(2)]) for at in range(seen)]
    found = gaussian((down, blocks, send) if blocks else (down, send), rng)
    found *= 10 ** rng.uniform(-5, 1, (down,) + (1,) * (found.ndim - 1))
    if down > 1:
        found[0] = rng.choice([np.nan, 0, 1, 1]) * found[1]
    channels = Channels(
        found,
        tuple(f"d{at}" for at in range(down)),
        10 ** rng.uniform(-10, 0),
        10 ** rng.uniform(-15, 0, seen),
        tuple(f"t{at}" for at in range(seen)),
        uplink=gaussian((up, hear), rng, 1e-8),
        uplink_names=tuple(f"u{at}" for at in range(up)),
        uplink_power_watts=np.full(up, 0.1),
        cancellation_db=float(rng.choice([60, 110])),
    )
    share = float(rng.choice([0, 0, 0.3]))
    budget = Budget(
        10 ** rng.uniform(-2, 2),
        (share, float(rng.uniform(share, 1))),
        int(rng.integers(1, 7)),
        rng.choice(["half", "full"]),
        float(rng.choice([0, 1])),
        float(rng.choice([0, 1, 100])),
    )
    return cell, users, targets, channels, budget


@pytest.mark.parametrize("seed", range(25))
def test_any_scene_is_decided(seed: int) -> None:
    cell, users, targets, channels, budget = scene(np.random.default_rng(seed))
    for name in ("separated", "orthogonal", "converged", "collaborative"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decision = stage(name, cell, users=users, targets=targets).decide(channels, budget)
        most = min(cell.power_watts, budget.power_watts) * (1 + 1e-6)
        assert all(dwell.sent_watts <= most and dwell.fraction >= 0 for dwell in decision.dwells), name
        assert sum(dwell.fraction for dwell in decision.dwells) <= 1 + 1e-9, name
        figures = kpis(decision, channels)
        assert np.isfinite([*decision.rate_bits_per_s.values(), figures.rate_sum_bits_per_s]).all(), name
        assert np.isfinite([result.illumination_watts for result in decision.sensing.values()]).all(), name


@pytest.mark.parametrize("users", [1, 3, 8, 11])
def test_the_peak_gives_all_the_same_and_no_more_could_be_had(users: int) -> None:
    rng = np.random.default_rng(users)
    for power in (0.01, 10.0, 1e5):
        found = gaussian((users, 8), rng)
        best = peak(found, np.zeros(users), np.ones(users), power, 1.0)
        assert best.converged
        assert np.log2(1 + sinr_of(found, best.beamformers, 1.0)) == pytest.approx(best.efficiency, rel=1e-5)
        assert np.ptp(best.efficiency) == pytest.approx(0, abs=1e-9)
        # Any other beams of the same power leave somebody worse off.
        for _ in range(20):
            other = best.beamformers + 0.05 * np.sqrt(power / users / 8) * gaussian(best.beamformers.shape, rng)
            other *= np.sqrt(power) / np.linalg.norm(other)
            assert np.log2(1 + sinr_of(found, other, 1.0)).min() <= best.efficiency.min() + 1e-9
