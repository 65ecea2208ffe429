"""What users are given, averaged: a link fact that follows fading would move workloads to and fro."""

from __future__ import annotations

from collections.abc import Callable

from ..stages.decision import Decision

#: Rates are averaged over this.
SMOOTH_S = 1.0


class Rates:
    """Rates of users, in bit/s by name.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.by_user: dict[str, float] = {}
        self._clock = clock
        self._at: float | None = None
        self._of = -1

    def take(self, decision: Decision, renewals: int, there: bool) -> None:
        """Go on with a decision.

        Args:
            decision: of this slot.
            renewals: how often requests or controls have changed what is decided upon: that is no fading, and counts
                at once.
            there: whether the radio is; without it nobody gets anything.
        """
        now = self._clock()
        anew, self._of = self._of != renewals, renewals
        step = 1.0 if anew or self._at is None else min(1.0, (now - self._at) / SMOOTH_S)
        self._at = now
        for name, rate in decision.rate_bits_per_s.items():
            rate = rate if there else 0.0
            # What is gone is gone at once, and whom this cell takes over from another has nothing to be averaged with.
            known = self.by_user.get(name) or rate
            self.by_user[name] = known + step * (rate - known) if rate else 0.0
