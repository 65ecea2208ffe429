"""What microbatches take at a stage, from those that it computed of late: one however small, and other drivers' in all.

Beside its layers a stage unpacks every microbatch, looks its pieces up and passes it on. A step of an instance that
serves alone has nothing of that, so that its cost says too little of it.
"""

from __future__ import annotations

from collections import deque
from statistics import median

from ..planning.cost_model import Batch, fit

KEPT, LEARN_EVERY, MOST_EVERY, TURNS_KEPT = 128, 64, 1024, 32
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
            self._fixed_s = found.shared_s + found.several_s


class Rounds:
    """How long a stage is busy for others while each of this driver's requests gets a token.

    Args:
        lately_s: for how long what was computed counts.
    """

    def __init__(self, lately_s: float) -> None:
        self._lately_s = lately_s
        self._seen: deque[tuple[float, float, int]] = deque()
        self._others_s, self._others, self._tokens = 0.0, 0, 0

    def computed(self, now: float, seconds: float, tokens: int) -> None:
        """Take a microbatch of next tokens: so many of this driver's, 0 where it is another's."""
        self._seen.append((now, seconds, tokens))
        self._count(seconds, tokens, 1)
        while self._seen[0][0] <= now - self._lately_s:
            _, before_s, before = self._seen.popleft()
            self._count(before_s, before, -1)

    def others_s(self, running: int, fixed_s: float = 0.0) -> float | None:
        """Return the seconds, with so many requests that run here; None where nothing of theirs was computed.

        Beside ``fixed_s`` for each microbatch: into how many others cut their work may change.
        """
        if not self._tokens:
            return None
        return max(0.0, self._others_s - self._others * fixed_s) * running / self._tokens

    def _count(self, seconds: float, tokens: int, sign: int) -> None:
        self._tokens += sign * tokens
        self._others_s += sign * (0.0 if tokens else seconds)
        self._others += sign * (not tokens)


class Turns:
    """How long a driver takes from an answer to its next microbatch: the median of the last ones, as it may wait."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=TURNS_KEPT)
        self._answered_s: float | None = None
        self._typical_s, self._since = 0.0, 0

    @property
    def typical_s(self) -> float:
        """Seconds; 0 before there were enough."""
        return self._typical_s

    def answered(self, now: float) -> None:
        """A microbatch came back."""
        self._answered_s = now

    def sent(self, now: float) -> None:
        """A microbatch was sent, or several in a row."""
        if self._answered_s is None:
            return
        self._seconds.append(now - self._answered_s)
        self._answered_s, self._since = None, self._since + 1
        if self._since >= TURNS_KEPT:
            self._typical_s, self._since = median(self._seconds), 0
