"""Learning rate as a function of how much of the run is done; it reads no clock."""

from __future__ import annotations

import math


def progress(elapsed_s: float, limit_s: float | None, step: int, steps: int | None) -> float:
    """Return the share of the run that is done, by whichever limit is nearer; 0 to 1."""
    by_time = elapsed_s / limit_s if limit_s else 0.0
    by_steps = step / steps if steps else 0.0
    return min(1.0, max(by_time, by_steps))


def learning_rate(fraction: float, peak: float, floor: float, warmup: float = 0.02) -> float:
    """Rise linearly over the first `warmup` of the run, then fall along a half cosine to the floor at its end."""
    if fraction < warmup:
        return peak * max(fraction / warmup, 0.01)
    turned = (fraction - warmup) / (1 - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * min(turned, 1.0))) / 2
