"""Power of links that disturb each other, and bits for a joule: fractional programming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError
from fairlead_isac.solvers.checks import above_zero, array_of, at_least_zero
from fairlead_isac.solvers.water import water_fill

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LinkPowers:
    """Powers of links and their rates.

    Attributes:
        power: [links] watts.
        rate_bits: [links], ``log2(1 + SINR)``.
        weighted_rate: never falls from one iteration to the next.
        iterations: that were taken.
        fallback: why this is not a stationary point; None where it is.
    """

    power: Floats
    rate_bits: Floats
    weighted_rate: float
    iterations: int
    fallback: str | None


def control_power(
    gains: Any,
    limits_watts: Any,
    noise_watts: float,
    weights: Any = None,
    *,
    most_iterations: int = 500,
    tolerance: float = 1e-7,
) -> LinkPowers:
    """Maximise ``sum_k w_k log2(1 + G_kk p_k / (sum_j G_kj p_j + noise))`` subject to ``0 <= p_k <= limit_k``.

    The logarithm is taken out by its Lagrangian dual (gamma, the SINR), each ratio A / B becomes
    ``2 y sqrt(A) - y^2 B``, and all three of gamma, y and p are closed forms.
    Reaches a stationary point, not certainly the optimum.

    Source: Shen, Yu, "Fractional programming for communication systems", parts I and II, IEEE TSP 2018.

    Args:
        gains: [links, links], from transmitter j (column) to receiver k (row).
        limits_watts: [links].
        noise_watts: at each receiver.
        weights: [links]; None: 1 each.
        most_iterations: bounds the time.
        tolerance: stops where the weighted rate grows by less than this share.

    Raises:
        IsacError: a shape that does not fit, a number that is not finite or negative.
    """
    g = at_least_zero("gains", gains, None, None)
    links = g.shape[0]
    array_of("gains", gains, np.float64, links, links)
    limits = at_least_zero("limits_watts", limits_watts, links)
    w = np.ones(links) if weights is None else at_least_zero("weights", weights, links)
    noise = above_zero("noise_watts", noise_watts)
    power, rates = limits.copy(), _rates(g, limits, noise)
    for used in range(1, most_iterations + 1):
        power = _step(g, power, noise, w, limits)
        now = _rates(g, power, noise)
        if w @ now - w @ rates <= tolerance * (w @ now):
            return LinkPowers(power, now, float(w @ now), used, None)
        rates = now
    reason = f"stopped after {most_iterations} iterations: the rate was still growing"
    return LinkPowers(power, rates, float(w @ rates), most_iterations, reason)


def _step(g: Floats, power: Floats, noise: float, w: Floats, limits: Floats) -> Floats:
    own, total = g.diagonal() * power, g @ power + noise
    gamma = own / (total - own)
    y = np.sqrt(w * (1 + gamma) * own) / total
    cost = g.T @ y**2
    best = w * (1 + gamma) * g.diagonal() * (y / np.maximum(cost, 1e-300)) ** 2
    return np.minimum(limits, best)


def _rates(g: Floats, power: Floats, noise: float) -> Floats:
    own = g.diagonal() * power
    return np.log2(1 + own / (g @ power - own + noise))


@dataclass(frozen=True, slots=True)
class Efficiency:
    """The most bits for a joule.

    Attributes:
        power: [channels] watts.
        rate_bits: bits for each use of all channels.
        bits_per_joule: rate over circuit and transmitted power (for one use a second).
    """

    power: Floats
    rate_bits: float
    bits_per_joule: float


def most_efficient(gains: Any, power_watts: float, circuit_watts: float) -> Efficiency:
    """Maximise ``sum log2(1 + p g) / (circuit + sum p)`` subject to ``sum p <= P``: the global optimum.

    A concave over a linear function: Dinkelbach's ratio rises superlinearly; each step is water filling at a price.
    Source: Dinkelbach, "On nonlinear fractional programming", Management Science 1967.

    Raises:
        IsacError: no channel that hears, a number that is not finite or not in its range.
    """
    g = at_least_zero("gains", gains, None)
    most, circuit = above_zero("power_watts", power_watts), above_zero("circuit_watts", circuit_watts)
    if not g.any():
        raise IsacError("gains: one must be above 0")
    full, ratio = water_fill(g, most), 0.0
    power, heard = full.power, g[g > 0]
    for _ in range(100):
        rate = float(np.log2(1 + power * g).sum())
        better = rate / (circuit + power.sum())
        if better <= ratio * (1 + 1e-12):
            break
        ratio = better
        level = 1 / (ratio * np.log(2))
        wanted = np.maximum(level - 1 / heard, 0)
        power = full.power
        if wanted.sum() < most:
            power = np.zeros_like(g)
            power[g > 0] = wanted
    return Efficiency(power, float(np.log2(1 + power * g).sum()), ratio)
