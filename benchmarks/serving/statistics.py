"""What the times of a replay come to, with intervals by bootstrap over requests.

Requests are drawn again in blocks that came one after the other, as neighbours of a burst share its queue; intervals
are percentiles of the redrawn statistic (Kunsch 1989, "The jackknife and the bootstrap for general stationary
observations").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.replay import Served

BLOCK = 8
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic and the interval that holds it with 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a request must keep to count as good: seconds to the first token, and mean seconds of each further one."""

    ttft_s: float
    tpot_s: float


def bootstrap(
    values: Sequence[float], statistic: Callable[[NDArray[np.float64]], float], seed: int, draws: int = DRAWS
) -> Estimate:
    """A statistic of values in order of arrival, with its interval; raises ValueError where there are none."""
    if not values:
        raise ValueError("no values: accepted: one at least")
    content = np.asarray(values, float)
    drawn = np.random.default_rng(seed)
    block = min(BLOCK, len(content))
    count = -(-len(content) // block)
    starts = drawn.integers(0, len(content) - block + 1, (draws, count))
    places = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, : len(content)]
    found = [statistic(content[row]) for row in places]
    return Estimate(float(statistic(content)), *(float(np.percentile(found, share)) for share in (2.5, 97.5)))


def percentile(share: float) -> Callable[[NDArray[np.float64]], float]:
    """The percentile as a statistic; share 0 to 100."""
    return lambda values: float(np.percentile(values, share))


@dataclass(frozen=True, slots=True)
class Summary:
    """A replay in numbers; seconds."""

    ttft_p50: Estimate
    ttft_p99: Estimate
    tpot_p50_burst: Estimate | None
    tpot_p50_calm: Estimate | None
    goodput: float
    """Requests per second that kept the goal."""
    tokens_per_s: float
    failed: int


def summary(served: Sequence[Served], burst_s: tuple[float, float], goal: Goal, seconds: float, seed: int) -> Summary:
    """Sum a replay up; TPOT in and outside the burst by when a request came.

    Raises:
        ValueError: no request was served whole.
    """
    ordered = sorted(served, key=lambda item: item.due_s)
    whole = [item for item in ordered if item.whole]
    firsts = [item.ttft_s for item in whole]
    long = [item for item in whole if item.answer > 1]
    inside = [item.tpot_s for item in long if burst_s[0] <= item.due_s < burst_s[1]]
    outside = [item.tpot_s for item in long if not burst_s[0] <= item.due_s < burst_s[1]]
    good = sum(item.ttft_s <= goal.ttft_s and item.tpot_s <= goal.tpot_s for item in whole)
    end = max((item.at_s[-1] for item in whole), default=0.0)
    middle = percentile(50)
    return Summary(
        bootstrap(firsts, middle, seed),
        bootstrap(firsts, percentile(99), seed),
        bootstrap(inside, middle, seed) if inside else None,
        bootstrap(outside, middle, seed) if outside else None,
        good / seconds,
        sum(item.answer for item in whole) / max(end, 1e-9),
        len(ordered) - len(whole),
    )
