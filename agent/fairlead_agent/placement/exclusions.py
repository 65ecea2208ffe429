"""Where a variant failed lately, and is not tried again for a while."""

from __future__ import annotations

from collections.abc import Mapping


class Exclusions:
    """By (node, variant): until when, and why. Each further failure doubles the time."""

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._until: dict[tuple[str, str], float] = {}
        self._reason: dict[tuple[str, str], str] = {}
        self._count: dict[tuple[str, str], int] = {}

    def add(self, node: str, variant: str, reason: str, now: float) -> None:
        """Exclude a variant on a node."""
        name = (node, variant)
        if now < self._until.get(name, 0.0):
            return
        count = self._count[name] = self._count.get(name, 0) + 1
        wait_s = self._first_s * 2 ** min(6, count - 1)
        self._until[name] = now + wait_s
        self._reason[name] = f"it failed here ({reason}); tried again after {wait_s:.0f} s"

    def now(self, now: float) -> Mapping[tuple[str, str], str]:
        """What is excluded at ``now``, with the reason."""
        return {name: self._reason[name] for name, until in self._until.items() if now < until}

    def clear(self) -> None:
        """A new config may work where the old one failed."""
        self._until.clear()
        self._count.clear()
