"""Which tokens of many rows move down at once, and which slots that empties: numbers only.

`placement.place_step` moves at most two tokens of a row at each step (LeanKV). Here whatever has fallen below its
thresholds moves, so that rows may be looked at every few steps, all of them together: a step in between costs nothing,
and the newest tokens stay high for that many steps longer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arena.allocation import I32
from ..arena.page_tables import HIGH, LOW

Mask = NDArray[np.bool_]
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tier:
    """The tokens of one tier of some rows; what lies beyond a row's count is anything.

    Attributes:
        scores: relative significance, float32 [rows, longest].
        positions: int32 [rows, longest].
        shared: whether others hold the token's page too: bool [rows, longest].
        counts: int32 [rows].
    """

    scores: F32
    positions: I32
    shared: Mask
    counts: I32

    @property
    def inside(self) -> Mask:
        """Which of them are there: bool [rows, longest]."""
        return np.arange(self.scores.shape[1]) < self.counts[:, None]


@dataclass(frozen=True, slots=True)
class Settling:
    """What moves.

    Attributes:
        high_stays: bool [rows, longest].
        low_stays: likewise.
        to_low: tokens of the high tier that are written to the low one, bool [rows, longest].
    """

    high_stays: Mask
    low_stays: Mask
    to_low: Mask

    @property
    def counts(self) -> I32:
        """Tokens of both tiers afterwards: int32 [rows, 2]."""
        high, low = self.high_stays.sum(axis=1), self.low_stays.sum(axis=1) + self.to_low.sum(axis=1)
        return np.stack([high, low], axis=1).astype(np.int32)

    @property
    def kept_low(self) -> I32:
        """Tokens of the low tier before those of the high tier come: int32 [rows]."""
        return self.low_stays.sum(axis=1, dtype=np.int32)

    @property
    def moves(self) -> Mask:
        """Rows in which anything moves or is pruned: bool [rows]."""
        return self.changed.any(axis=1)

    changed: Mask
    """Tokens that leave their place, bool [rows, longest of both tiers]."""


def decide(high: Tier, low: Tier, now: I32, alphas: tuple[F32, F32], window: int) -> Settling:
    """Place all tokens beyond the window anew; tokens of shared pages stay.

    Args:
        high: tokens of the high tier.
        low: of the low tier.
        now: int32 [rows], the newest position of each row.
        alphas: float32 [rows] each, high and low.
        window: newest tokens that always stay high.
    """
    alpha_high, alpha_low = (alpha[:, None] for alpha in alphas)
    in_high, in_low = high.inside, low.inside
    fixed = high.shared | (now[:, None] - high.positions < window)
    high_stays = in_high & (fixed | (high.scores > alpha_high))
    to_low = in_high & ~high_stays & (high.scores >= alpha_low)
    low_stays = in_low & (low.shared | (low.scores >= alpha_low))
    changed = np.concatenate([in_high & ~high_stays, in_low & ~low_stays], axis=1)
    return Settling(high_stays, low_stays, to_low, changed)


def gaps(stays: Mask) -> tuple[I32, I32, I32]:
    """Fill the places of those that leave with the last ones that stay.

    Args:
        stays: bool [rows, longest].

    Returns:
        rows, sources and targets, int32 [moves] each: sources lie behind all that stays afterwards, targets before.
    """
    behind = np.arange(stays.shape[1]) >= stays.sum(axis=1)[:, None]
    row, source = np.nonzero(stays & behind)
    _, target = np.nonzero(~stays & ~behind)
    return row.astype(np.int32), source.astype(np.int32), target.astype(np.int32)


def ranked(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64], I32]:
    """Return the rows and places of a mask's tokens, row by row, and each one's number within its row."""
    row, place = np.nonzero(mask)
    number = (np.cumsum(mask, axis=1) - 1)[row, place]
    return row, place, number.astype(np.int32)


__all__ = ["HIGH", "LOW", "Settling", "Tier", "decide", "gaps", "ranked"]
