"""Batches of documents of tasks and of prose: short ones first, as long as the context at the end (a curriculum)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .tasks import Document, Tasks

IGNORED = -100
"""Stands as the target of a token that nothing foretells."""
_SHORTEST = 128
TEXT_SHARE = 0.25
"""The share of documents that are prose."""
_MOST_PROSE = 0.8
FULL_FROM = 0.7
"""The share of a run from which on every document is as long as the context."""


class TaskBatches:
    """Writes batches; a position is the number of batches written, so that a resumed run continues exactly.

    Args:
        tasks: writes documents.
        names: tasks that take turns with prose.
        context: tokens of the longest documents.
        batch: documents of that length in a batch; shorter ones are as many as give as many tokens.
        seed: of all documents.
        text: share of rows that are prose.
    """

    def __init__(
        self, tasks: Tasks, names: Sequence[str], context: int, batch: int, seed: int, text: float = TEXT_SHARE
    ) -> None:
        self.tasks, self.names, self.context, self.batch, self.seed = tasks, tuple(names), context, batch, seed
        self.text = text
        self.epoch, self.index = 0, 0

    def seek(self, epoch: int, index: int) -> None:
        """Continue at a position."""
        self.epoch, self.index = epoch, index

    def length(self, done: float) -> int:
        """Return the length of documents once a share of the run is done: it doubles in equal steps."""
        doublings = max(0, (self.context // _SHORTEST).bit_length() - 1)
        step = min(doublings, int(done / FULL_FROM * doublings)) if doublings else 0
        return self.context if step == doublings else self.context >> (doublings - step)

    def next(self, done: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets, int64 [batch, length]; targets that nothing foretells are IGNORED."""
        random = np.random.default_rng((self.seed, self.index))
        self.index += 1
        length = self.length(done)
        rows = max(1, self.batch * self.context // length)
        # Passages among a task's lines become more as the run goes on: with few answers little is learned at first.
        most = _MOST_PROSE * min(1.0, done / FULL_FROM)
        return batch_of([self._document(random, length + 1, most) for _ in range(rows)])

    def _document(self, random: np.random.Generator, length: int, prose: float) -> Document:
        if random.random() < self.text:
            return self.tasks.passage(length, random)
        return self.tasks.document(str(random.choice(self.names)), length, random, random.uniform(0, prose))


def batch_of(documents: Sequence[Document]) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets, int64 [documents, length - 1], of documents of one length."""
    tokens = np.stack([document.tokens for document in documents])
    targets = np.where(np.stack([document.foretold for document in documents]), tokens, IGNORED)
    return tokens[:, :-1], targets[:, 1:]
