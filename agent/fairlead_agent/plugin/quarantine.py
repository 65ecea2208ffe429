"""When a plugin that fails is left alone. Pure: the time comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass

FAILURES = 3
FIRST_S = 60.0
LONGEST_S = 3600.0


@dataclass(slots=True)
class Quarantine:
    """Counts failures in a row.

    After ``failures`` of them the plugin is not called for ``first_s`` seconds, then once on trial; each failed trial
    doubles the time, up to ``longest_s``. One success ends it.
    """

    failures: int = FAILURES
    first_s: float = FIRST_S
    longest_s: float = LONGEST_S
    count: int = 0
    until: float = 0.0
    reason: str = ""

    def succeeded(self) -> None:
        """A call did what it should."""
        self.count, self.until, self.reason = 0, 0.0, ""

    def failed(self, reason: str, now: float, *, hopeless: bool = False) -> None:
        """A call failed. ``hopeless``: further calls cannot succeed, so the first failure is enough."""
        self.count = max(self.count + 1, self.failures if hopeless else 0)
        self.reason = reason
        if self.count >= self.failures:
            self.until = now + min(self.longest_s, self.first_s * 2 ** min(self.count - self.failures, 30))

    def objection(self, now: float) -> str | None:
        """Why it must not be called now; None where it may be."""
        if now >= self.until:
            return None
        return f"quarantined for {self.until - now:.0f} s more after {self.count} failures in a row: {self.reason}"
