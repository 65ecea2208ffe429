"""The two tiers of a sequence's tokens, and where a tier's pages stand in a bidirectional page table.

A row of a page table belongs to one KV head of one layer of one sequence. Pages of the high tier grow from its left
end and those of the low tier from its right end (LeanKV, "bidirectional page table"), so that one row serves any mix
of both. Token number t of a tier lies in the tier's page t // tokens, slot t % tokens; a tier's tokens are in no
order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arena.formats import KVFormat, PageLayout, page_layout
from ..arena.page_tables import HIGH, LOW

__all__ = ["HIGH", "LOW", "Tiers", "places"]


@dataclass(frozen=True, slots=True)
class Tiers:
    """The layouts of both tiers' pages."""

    high: PageLayout
    low: PageLayout

    @classmethod
    def of(cls, high: KVFormat, low: KVFormat, head_dim: int, page_bytes: int) -> Tiers:
        """Lay out pages of two formats; raises ValueError where one does not fit."""
        return cls(page_layout(high, head_dim, page_bytes), page_layout(low, head_dim, page_bytes))

    @property
    def head_dim(self) -> int:
        """Elements of a key and of a value."""
        return self.high.head_dim

    @property
    def page_bytes(self) -> int:
        """Bytes of a page, whatever its format."""
        return self.high.page_bytes

    def layout(self, tier: int) -> PageLayout:
        """Return the layout of a tier's pages."""
        return self.low if tier == LOW else self.high

    def pages_for(self, counts: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return how many pages token counts [..., 2] need: int64 [..., 2]."""
        tokens = np.array([self.high.tokens, self.low.tokens])
        return -(-counts.astype(np.int64) // tokens)


def places(width: int, layout: PageLayout, tier: int, tokens: NDArray[np.integer]) -> tuple[NDArray, NDArray]:
    """Return the column of a table row of ``width`` pages, and the slot in the page, of a tier's tokens."""
    page = tokens // layout.tokens
    return (width - 1 - page if tier == LOW else page), tokens % layout.tokens
