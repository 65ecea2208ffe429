"""Water filling, and the split of a frame's time between sensing and communication."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError
from fairlead_isac.solvers.checks import above_zero, at_least_zero

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WaterFill:
    """Powers of parallel channels.

    Attributes:
        power: [channels] watts; sums to the power that there is where any channel hears.
        price: bits that a watt more would bring.
        rate_bits: the weighted sum of ``log2(1 + p g)``.
    """

    power: Floats
    price: float
    rate_bits: float


def water_fill(gains: Any, power_watts: float, weights: Any = None) -> WaterFill:
    """Maximise ``sum_n w_n log2(1 + p_n g_n)`` subject to ``sum p <= P``: exact, by sorting.

    ``p_n = [w_n mu - 1 / g_n]^+``; the channels that get power are those with the largest ``w_n g_n``, and the level mu
    of each possible number of them is closed form.
    Source: Boyd, Vandenberghe, "Convex optimization", 2004, example 5.2.

    Args:
        gains: [channels], SNR for a watt.
        power_watts: of all channels.
        weights: [channels], at least 0; None: 1 each.

    Raises:
        IsacError: no channel, a number that is not finite or negative.
    """
    g = at_least_zero("gains", gains, None)
    w = np.ones_like(g) if weights is None else at_least_zero("weights", weights, len(g))
    power = above_zero("power_watts", power_watts)
    if not g.size:
        raise IsacError("gains: must have a channel at least, got []")
    order = np.argsort(-w * g, kind="stable")
    order = order[(w * g)[order] > 0]
    if not order.size:
        return WaterFill(np.zeros_like(g), 0.0, 0.0)
    levels = (power + np.cumsum(1 / g[order])) / np.cumsum(w[order])
    served = int(np.flatnonzero(w[order] * g[order] * levels > 1)[-1])
    level = levels[served]
    out = np.zeros_like(g)
    chosen = order[: served + 1]
    out[chosen] = w[chosen] * level - 1 / g[chosen]
    return WaterFill(out, float(1 / (level * np.log(2))), float((w * np.log2(1 + out * g)).sum()))


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Two phases of a frame.

    Attributes:
        sensing_fraction: of the time.
        sensing_watts, communication_watts: while each phase lasts.
        rate_bits: of communication, averaged over the whole frame.
        sensing_energy: sensing power times its fraction, watts averaged over the frame.
        fallback: why the demand is not met; None where it is.
    """

    sensing_fraction: float
    sensing_watts: float
    communication_watts: float
    rate_bits: float
    sensing_energy: float
    fallback: str | None


def time_split(
    gain: float,
    power_watts: float,
    sensing_energy_watts: float,
    fraction: tuple[float, float] = (0.0, 1.0),
    peak_watts: float | None = None,
) -> TimeSplit:
    """Split time and power between sensing and communication: the largest rate that leaves sensing its energy.

    maximise ``(1 - t) log2(1 + g p_c)`` subject to ``t p_s >= E``, ``t p_s + (1 - t) p_c <= P`` and p_s, p_c at most
    the peak. Communication gains from time, so sensing gets as little as its peak power allows: ``t = E / peak`` inside
    the limits, and what power is left, ``p_c = min(peak, (P - E) / (1 - t))``.

    Args:
        gain: SNR of communication for a watt.
        power_watts: averaged over the frame.
        sensing_energy_watts: E, sensing power averaged over the frame.
        fraction: limits of the sensing time's share.
        peak_watts: the most at any time; None: power_watts, so that each phase has at most the whole power.

    Raises:
        IsacError: a number that is not finite or out of its range.
    """
    power, peak = above_zero("power_watts", power_watts), above_zero("peak_watts", peak_watts or power_watts)
    energy, g = (
        at_least_zero(name, value).item()
        for name, value in (("sensing_energy_watts", sensing_energy_watts), ("gain", gain))
    )
    low, high = fraction
    if not 0 <= low <= high <= 1:
        raise IsacError(f"fraction: must be 0 <= least <= most <= 1, got {fraction}")
    most = min(power, high * peak)
    given = min(energy, most)
    share = min(max(given / peak, low), high)
    left = 1 - share
    watts = min(peak, (power - given) / left) if left > 0 else 0.0
    short = None if energy <= most * (1 + 1e-12) else f"infeasible: {energy:.4g} W for sensing, {most:.4g} W at most"
    return TimeSplit(share, given / share if share else 0.0, watts, left * float(np.log2(1 + g * watts)), given, short)
