"""What microbatches take at a stage, from those that it computed of late: one however small, and other drivers' in all.

Beside its layers a stage unpacks every microbatch, looks its pieces up and passes it on. A step of an instance that
serves alone has nothing of that, so that its cost says too little of it.
"""

from __future__ import annotations

from collections import deque

from ..planning.cost_model import Batch, fit

KEPT, LEARN_EVERY, MOST_EVERY = 128, 64, 1024
"""A fit takes as long as several microbatches, and stages wait for each other: it is made twice as rarely each time."""


class StageCost:
    """Fits anew every now and then, more and more rarely; numbers only."""

    def __init__(self) -> None:
        self._steps: deque[tuple[Batch, float]] = deque(maxlen=KEPT)
        self._seen, self._learn_at = 0, LEARN_EVERY
        self._fixed_s = 0.0

    @property
    def fixed_s(self) -> float:
        """Seconds of a microbatch however small; 0 where they cannot be told from those of its sequences."""
        return self._fixed_s

    def measured(self, chunks: Batch, seconds: float) -> None:
        """Take what a microbatch took, from its turn until it was passed on."""
        if not seconds > 0:
            return
        self._steps.append((chunks, seconds))
        self._seen += 1
        if self._seen >= self._learn_at:
            self._learn_at += min(self._learn_at, MOST_EVERY)
            found = fit(tuple(self._steps))
            # What a single further sequence would not cost anew.
            self._fixed_s = found.shared_s


class Rounds:
    """How long a stage is busy for others while each of this driver's requests gets a token.

    Args:
        lately_s: for how long what was computed counts.
    """

    def __init__(self, lately_s: float) -> None:
        self._lately_s = lately_s
        self._seen: deque[tuple[float, float, int]] = deque()
        self._others_s, self._tokens = 0.0, 0

    def computed(self, now: float, seconds: float, tokens: int) -> None:
        """Take a microbatch of next tokens: so many of this driver's, 0 where it is another's."""
        self._seen.append((now, seconds, tokens))
        self._count(seconds, tokens, 1)
        while self._seen[0][0] <= now - self._lately_s:
            _, before_s, before = self._seen.popleft()
            self._count(before_s, before, -1)

    def others_s(self, running: int) -> float | None:
        """Return the seconds, with so many requests that run here; None where nothing of theirs was computed."""
        return max(0.0, self._others_s) * running / self._tokens if self._tokens else None

    def _count(self, seconds: float, tokens: int, sign: int) -> None:
        self._tokens += sign * tokens
        self._others_s += sign * (0.0 if tokens else seconds)
