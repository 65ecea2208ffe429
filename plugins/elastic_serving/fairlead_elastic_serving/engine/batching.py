"""From what a scheduler planned to the arrays that a stage computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..model.batch import Batch
from ..scheduling.requests import Scheduled


def make_batch(scheduled: Sequence[Scheduled], tokens: Mapping[str, Sequence[int]]) -> Batch:
    """Lay chunks out one after the other.

    Args:
        scheduled: chunks, at least one.
        tokens: of each sequence, at least as many as the chunks need.
    """
    lengths = np.array([item.chunk.tokens for item in scheduled], np.int32)
    stored = np.array([item.chunk.prefix for item in scheduled], np.int32)
    starts = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=starts[1:])
    ids: list[int] = []
    for item in scheduled:
        first = item.chunk.prefix
        ids += tokens[item.name][first : first + item.chunk.tokens]
    # Locally every row is filled in the order of its tokens, so that slots are positions.
    positions = np.arange(starts[-1], dtype=np.int32) + np.repeat(stored - starts[:-1], lengths)
    return Batch(
        names=tuple(item.name for item in scheduled),
        tokens=np.array(ids, np.int64),
        positions=positions,
        starts=starts,
        rows=np.stack([item.rows for item in scheduled]),
        stored=stored,
        samples=starts[1:][[item.samples for item in scheduled]] - 1,
    )
