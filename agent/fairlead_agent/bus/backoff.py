"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with full jitter: uniform in [first_s / 2, min(max_s, first_s * factor ** attempt)].

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter, with a floor).
    """

    first_s: float = 0.25
    max_s: float = 30.0
    factor: float = 2.0

    def delay_s(self, attempt: int, draw: random.Random) -> float:
        """Seconds to wait after failed attempt number ``attempt`` (from 0)."""
        # The exponent is capped, because an agent may be cut off for weeks.
        ceiling = min(self.max_s, self.first_s * self.factor ** min(attempt, 32))
        return draw.uniform(min(self.first_s, self.max_s) / 2, ceiling)
