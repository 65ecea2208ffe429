"""When to start a crashed worker again, and when to give up: pure, time comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """Delays grow by ``factor`` from ``first_s`` to ``longest_s``; the ``quarantine_after``-th crash in a row ends it.

    A run of at least ``healthy_s`` after it stood by forgives the crashes before it.
    """

    first_s: float = 0.5
    factor: float = 2.0
    longest_s: float = 30.0
    quarantine_after: int = 5
    healthy_s: float = 60.0

    def delay_s(self, crashes: int) -> float:
        """How long to wait after that many crashes in a row (1 or more)."""
        # The exponent is bounded, so that a policy that never gives up cannot overflow a float.
        return min(self.longest_s, self.first_s * self.factor ** min(crashes - 1, 64))


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after ``delay_s``."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Leave it alone after this many crashes in a row."""

    crashes: int


@dataclass(frozen=True, slots=True)
class CrashHistory:
    """How many times in a row an instance has crashed."""

    crashes: int = 0

    def crashed(self, policy: BackoffPolicy, *, ran_s: float) -> tuple[CrashHistory, Restart | Quarantine]:
        """Decide after a crash.

        Args:
            policy: the delays and the bound.
            ran_s: for how long it had stood by or served before; 0 if it never did.
        """
        crashes = 1 if ran_s >= policy.healthy_s else self.crashes + 1
        if crashes >= policy.quarantine_after:
            return CrashHistory(crashes), Quarantine(crashes)
        return CrashHistory(crashes), Restart(policy.delay_s(crashes))
