"""What a microbatch costs at a stage however small it is, fitted to those that it computed of late.

Beside its layers a stage unpacks every microbatch, looks its pieces up and passes it on. A step of an instance that
serves alone has nothing of that, so that its cost says too little of it.
"""

from __future__ import annotations

from collections import deque

from ..planning.cost_model import Batch, fit

KEPT, LEARN_EVERY = 128, 64


class StageCost:
    """Fits anew every now and then; numbers only."""

    def __init__(self) -> None:
        self._steps: deque[tuple[Batch, float]] = deque(maxlen=KEPT)
        self._seen = 0
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
        if self._seen % LEARN_EVERY == 0:
            found = fit(tuple(self._steps))
            # What a single further sequence would not cost anew.
            self._fixed_s = found.shared_s
