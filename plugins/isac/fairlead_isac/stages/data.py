"""Dwells that carry data: in space where the band has one gain, in resource blocks where it has many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fairlead_isac.scenario import ComplexArray, FloatArray
from fairlead_isac.solvers import allocate, wmmse
from fairlead_isac.stages.beams import Peak, matched_directions, peak, sinr_of
from fairlead_isac.stages.decision import Dwell
from fairlead_isac.stages.scene import Scene

Fairness = Literal["balanced", "sum"]
"""balanced: what is beyond the needs grows alike for all, by weight. sum: the weighted sum of rates is largest."""
_ROUNDS, _ABOVE = 60, 1.15
"""Least rates are aimed at from above: a round's weight falls as its need is met."""


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """A dwell for users, and how it came about.

    Args:
        dwell: of fraction 1.
        efficiency: float [K], bit/s/Hz that it gives.
        fallback: why it is not what was asked for, or None.
        gap: relative, as proved.
    """

    dwell: Dwell
    efficiency: FloatArray
    fallback: str | None = None
    gap: float = 0.0


def needed_efficiency(scene: Scene, time: float = 1.0) -> FloatArray:
    """Bit/s/Hz that users need in a share ``time`` of the time in which the cell sends; float [K]."""
    band = scene.cell.numerology.bandwidth_hz * max(scene.downlink_fraction * time, 1e-12)
    return np.array([user.min_rate_bits_per_s for user in scene.users]) / band


def weights(scene: Scene) -> FloatArray:
    """Users' weights, 1 on average; float [K]."""
    values = np.array([user.weight for user in scene.users])
    return values / values.mean() if len(values) else values


def data(scene: Scene, time: float, fairness: Fairness, delay: tuple[float, FloatArray] | None = None) -> Data:
    """A dwell of fraction 1 for a stage that gives users ``time`` of the frame and all power.

    Args:
        scene: whom to serve.
        time: share of the frame, for the needs.
        fairness: how what is left is divided, in space.
        delay: in resource blocks, the delay information to reach in this dwell and what 1 W on each block adds to it
            for a squared distance of 1 (rad/s)^2 from the centre, float [RB].
    """
    if scene.selective:
        return block_data(scene, needed_efficiency(scene, time), scene.budget.power_watts, delay)
    found = space_peak(scene, scene.channels, time, scene.budget.power_watts, scene.noise_watts, fairness)
    dwell = Dwell(1.0, found.beamformers, tuple(user.name for user in scene.users))
    return Data(dwell, found.efficiency, shortfall(found, needed_efficiency(scene, time)))


def space_peak(
    scene: Scene, channels: ComplexArray, time: float, power_watts: float, noise_watts: float, fairness: Fairness
) -> Peak:
    """The users' best with all of a power: their needs first, and what is left by fairness."""
    need = needed_efficiency(scene, time)
    if fairness == "sum":
        beams = wmmse(channels, power_watts, noise_watts, weights(scene)).beamformers
        reached = np.log2(1 + sinr_of(channels, beams, noise_watts))
        if (reached >= need).all():
            return Peak(reached, beams, 1.0, True)
    found = peak(channels, need, weights(scene), power_watts, noise_watts)
    if found.scale < 0 and need.any():
        return peak(channels, np.zeros_like(need), need, power_watts, noise_watts)
    return found


def shortfall(found: Peak, need: FloatArray) -> str | None:
    """Why a peak is not what was asked for; None: it is."""
    if not found.converged:
        return "rates are within rounding of their peak: the fixed point was not reached"
    short = found.efficiency < need * (1 - 1e-6)
    if not short.any():
        return None
    share = float((found.efficiency[short] / need[short]).min())
    return f"infeasible: users' least rates exceed the power; all get {100 * share:.0f} % of them"


def block_data(
    scene: Scene,
    need: FloatArray,
    power_watts: float,
    delay: tuple[float, FloatArray] | None = None,
    channels: ComplexArray | None = None,
) -> Data:
    """Blocks, users and power by the dual of the weighted sum of rates, least rates by raising weights in rounds.

    A user whose mean rate over rounds is short of its need weighs more in the next one (virtual queues, Neely 2010);
    the mean of the rounds' powers and shares is taken, which gives at least the mean of their rates.

    Args:
        scene: whom to serve.
        need: float [K], bit/s/Hz.
        power_watts: for all blocks.
        delay: as for :func:`data`.
        channels: complex [K, RB, N] where not all antennas or blocks may be used.
    """
    channels = _limited(scene, scene.channels if channels is None else channels)
    blocks = channels.shape[1]
    gains = (np.abs(channels) ** 2).sum(axis=-1) * (blocks / scene.noise_watts)
    wanted, per_watt = delay if delay is not None else (0.0, np.zeros(blocks))
    base, power, share, gap = weights(scene), np.zeros_like(gains), np.zeros_like(gains), 0.0
    weight, fallback = base, None
    for number in range(1, _ROUNDS + 1):
        found = allocate(gains, weight, power_watts, wanted, _positions(scene, blocks), per_watt)
        power, share = power + (found.power - power) / number, share + (found.shares - share) / number
        gap, fallback = max(gap, found.gap), fallback or found.fallback
        efficiency = _efficiency(gains, power, share)
        short = efficiency < need * (1 - 1e-6)
        if not short.any():
            break
        missing = 1 - efficiency / np.where(need > 0, _ABOVE * need, 1)
        weight = base + np.where(need > 0, np.maximum(number * missing, 0.0), 0.0)
    names = tuple(user.name for user in scene.users)
    lines = [fallback] if fallback else []
    if short.any():
        lines.append("users' least rates were not all reached")
    dwell = Dwell(1.0, matched_directions(channels), names, None, power, share)
    return Data(dwell, efficiency, "; ".join(lines) or None, gap)


def _efficiency(gains: FloatArray, power: FloatArray, share: FloatArray) -> FloatArray:
    """Bit/s/Hz of users on blocks that they share in time, float [K]."""
    return (share * np.log2(1 + power * gains / np.maximum(share, 1e-12))).mean(axis=1)


def _limited(scene: Scene, channels: ComplexArray) -> ComplexArray:
    """Channels in which no more blocks than the budget's are heard: those with the largest gains."""
    most = scene.budget.resource_blocks
    if most is None or most >= channels.shape[1]:
        return channels
    strength = (np.abs(channels) ** 2).sum(axis=-1).max(axis=0)
    kept = np.zeros(channels.shape[1], bool)
    kept[np.argsort(-strength)[:most]] = True
    return channels * kept[None, :, None]


def _positions(scene: Scene, blocks: int) -> FloatArray:
    """Centre frequencies of blocks in rad/s, float [RB]."""
    return 2 * np.pi * (np.arange(blocks) + 0.5) * (scene.cell.numerology.bandwidth_hz / blocks)
