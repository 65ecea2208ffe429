"""How often a threshold is passed: false alarms, and detections of steady and fluctuating targets.

Noise cells of a map's power are exponentially distributed; the factors of CFAR thresholds hold exactly for those.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError

Float = NDArray[np.float64]


def mean_factor(false_alarm: float, cells: int) -> float:
    """CA-CFAR's factor on the mean of n cells: ``n (Pfa^(-1/n) - 1)`` (Richards 2014, eq. 6.124)."""
    return cells * math.expm1(-math.log(false_alarm) / cells)


@lru_cache(maxsize=256)
def order_factor(false_alarm: float, cells: int, rank: int) -> float:
    """OS-CFAR's factor on the rank-th smallest of n cells (Rohling 1983, eq. 26): the root of the false-alarm rate."""
    low, high = 0.0, 1.0
    while order_false_alarm(high, cells, rank) > false_alarm:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if order_false_alarm(middle, cells, rank) > false_alarm else (low, middle)
    return high


def order_false_alarm(factor: float, cells: int, rank: int) -> float:
    """``prod_{i<k} (n - i) / (n - i + factor)``."""
    left = cells - np.arange(rank)
    return float(np.exp(-np.log1p(factor / left).sum()))


def detection_probability(snr: ArrayLike, false_alarm: float, swerling: int = 0, cells: int | None = None) -> Float:
    """Probability that a target is detected on one map.

    Swerling 0 (steady): ``Q1(sqrt(2 SNR), sqrt(-2 ln Pfa))``. Swerling 1 (Rayleigh, steady within a frame):
    ``Pfa^(1 / (1 + SNR))``; behind CA-CFAR with n cells ``(1 + T / (n (1 + SNR)))^-n`` (Richards 2014, 6.3 and 6.5).

    Args:
        snr: integrated, linear (on average, with Swerling 1), any shape.
        false_alarm: per cell.
        swerling: 0 or 1.
        cells: that train CA-CFAR; None: the noise is known.

    Raises:
        IsacError: another Swerling case, or Swerling 0 with training cells (no closed form here).
    """
    snr = np.asarray(snr, np.float64)
    if swerling == 1:
        if cells is None:
            return np.exp(math.log(false_alarm) / (1 + snr))
        return np.exp(-cells * np.log1p(mean_factor(false_alarm, cells) / (cells * (1 + snr))))
    if swerling != 0 or cells is not None:
        raise IsacError(f"swerling = {swerling!r}, cells = {cells!r}; accepted: 0 without cells, or 1")
    threshold = math.sqrt(-2 * math.log(false_alarm))
    return np.array([marcum_q(math.sqrt(2 * max(one, 0.0)), threshold) for one in snr.ravel()]).reshape(snr.shape)


def required_snr(probability: float, false_alarm: float, swerling: int = 0) -> float:
    """Integrated SNR (linear) at which a target is detected with a probability; the inverse of the above.

    Raises:
        IsacError: the probability is not between the false-alarm rate and 1.
    """
    if not false_alarm < probability < 1:
        raise IsacError(f"probability = {probability!r}; accepted: above false_alarm = {false_alarm!r}, below 1")
    if swerling == 1:
        return math.log(false_alarm) / math.log(probability) - 1
    low, high = 0.0, 1.0
    while detection_probability(high, false_alarm, swerling) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        reached = detection_probability(middle, false_alarm, swerling) >= probability
        low, high = (low, middle) if reached else (middle, high)
    return high


def marcum_q(a: float, b: float) -> float:
    """Marcum's Q1(a, b), as the probability that one Poisson variable does not exceed another.

    ``Q1(a, b) = P(J <= K)`` with K of mean a^2/2 and J of mean b^2/2 (from Shnidman 1989): sums of positive terms, so
    that no cancellation occurs. Where both means are large only the terms within 12 deviations are summed.
    """
    x, y = a * a / 2, b * b / 2
    if x == 0 or y == 0:
        return math.exp(-y)
    # Beyond this gap of the roots the rest is below 1e-30.
    if abs(a - b) > 12:
        return 1.0 if a > b else 0.0
    low = max(0, int(min(x, y) - 12 * math.sqrt(min(x, y)) - 40))
    high = int(max(x, y) + 12 * math.sqrt(max(x, y)) + 60)
    counts = np.arange(low, high)
    logs = _log_factorials(high)[low:high]
    of_k, of_j = (np.exp(counts * math.log(mean) - mean - logs) for mean in (x, y))
    return float(min(of_k @ np.cumsum(of_j), 1.0))


def _log_factorials(count: int) -> Float:
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, count)))))
