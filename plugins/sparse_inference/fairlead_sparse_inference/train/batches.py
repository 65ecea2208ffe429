"""Windows of a token stream in a random order that a resumed run continues exactly."""

from __future__ import annotations

import numpy as np


class Batches:
    """Draws batches of windows; each epoch shifts the windows and shuffles them by (seed, epoch).

    A position is (epoch, index of the next window), so that a checkpoint holds two integers.
    """

    def __init__(self, stream: np.ndarray, context: int, batch: int, seed: int) -> None:
        if len(stream) < (batch + 1) * (context + 1):
            raise ValueError(
                f"the training text has {len(stream)} tokens; a batch of {batch} windows of {context} "
                f"needs at least {(batch + 1) * (context + 1)}"
            )
        self.stream, self.context, self.batch, self.seed = stream, context, batch, seed
        self.epoch, self.index = 0, 0
        self._order = self._shuffle()

    def _shuffle(self) -> np.ndarray:
        random = np.random.default_rng((self.seed, self.epoch))
        shift = int(random.integers(self.context))
        windows = (len(self.stream) - shift - 1) // self.context
        return shift + self.context * random.permutation(windows)

    def seek(self, epoch: int, index: int) -> None:
        """Continue at a position."""
        self.epoch, self.index = epoch, index
        self._order = self._shuffle()

    def next(self, done: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets, int64 [batch, context], however much of the run is ``done``."""
        if self.index + self.batch > len(self._order):
            self.seek(self.epoch + 1, 0)
        starts = self._order[self.index : self.index + self.batch]
        self.index += self.batch
        rows = self.stream[starts[:, None] + np.arange(self.context + 1)].astype(np.int64)
        return rows[:, :-1], rows[:, 1:]


def windows(stream: np.ndarray, context: int, most: int | None = None) -> np.ndarray:
    """Return the stream as consecutive windows, int64 [n, context + 1], spread evenly when only `most` are wanted."""
    count = (len(stream) - 1) // context
    if count < 1:
        raise ValueError(
            f"{len(stream)} tokens of text do not fill one window of {context}; accepted: more, or a shorter context"
        )
    picked = np.arange(count) if most is None or most >= count else np.linspace(0, count - 1, most).astype(int)
    return stream[picked[:, None] * context + np.arange(context + 1)].astype(np.int64)
