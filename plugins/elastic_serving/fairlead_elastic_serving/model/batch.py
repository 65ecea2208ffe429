"""What one microbatch computes, as a stage sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arena.allocation import I32


@dataclass(frozen=True, slots=True)
class Batch:
    """Chunks of tokens of several sequences, one chunk after the other.

    A chunk's keys and values are written into slots `stored` and following of its rows' high tier; token t of the
    chunk then sees slots 0 to stored + t. These are numbers of slots, not positions: a row's tokens may stand in any
    order once parts of it came over a link.

    Attributes:
        names: of the sequences.
        tokens: int64 [tokens].
        positions: int32 [tokens], in their sequences.
        starts: int32 [sequences + 1], the first token of each chunk, and the number of tokens.
        rows: int32 [sequences, layers, kv_heads], rows of the page tables of this stage's layers.
        stored: int32 [sequences], tokens that the rows hold before the chunk.
        samples: int32 [wanted], tokens after which logits are wanted.
    """

    names: tuple[str, ...]
    tokens: NDArray[np.int64]
    positions: I32
    starts: I32
    rows: I32
    stored: I32
    samples: I32

    @property
    def lengths(self) -> I32:
        """Tokens of each chunk: int32 [sequences]."""
        return np.diff(self.starts)
