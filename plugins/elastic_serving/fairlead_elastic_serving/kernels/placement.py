"""In which tier a token is kept, per KV head and per sequence, and where in the tier it stands.

High above alpha_high, low from alpha_low on, else pruned, all by relative significance (see `significance`); the newest
tokens, the window, are always high (LeanKV). While text is generated each token that leaves the window is placed, and
then the least significant token of each tier is looked at once more and moves down if it has fallen below the tier's
threshold: constant work a step, and the tiers follow what the text turns to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tiers import HIGH, LOW

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

WINDOW = 64
PRUNED = -1
"""Stands where a tier's number would."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The alphas; arrays [kv_heads] where each head has its own."""

    high: float | F32 = 1.0
    low: float | F32 = 0.02

    def __post_init__(self) -> None:
        # Asked so that a NaN, which compares with nothing, is refused.
        if not ((np.asarray(self.low) >= 0).all() and (np.asarray(self.high) >= np.asarray(self.low)).all()):
            raise ValueError(f"alphas high {self.high}, low {self.low}: accepted: high >= low >= 0")

    def tier(self, scores: F32) -> I32:
        """Return the tier of each relative significance [..., kv_heads]: HIGH, LOW or PRUNED."""
        placed = np.where(scores >= self.low, LOW, PRUNED)
        return np.where(scores > self.high, HIGH, placed).astype(np.int32)


def place_prompt(scores: F32, thresholds: Thresholds, window: int = WINDOW) -> I32:
    """Return the tier of each token and head of a prompt: int32 [tokens, kv_heads] for scores of that shape."""
    placed = thresholds.tier(scores)
    placed[max(0, len(placed) - window) :] = HIGH
    return placed


def compact(placed: I32) -> tuple[I32, I32]:
    """Number the kept tokens of each head and tier without gaps, by prefix sums.

    Args:
        placed: int32 [tokens, kv_heads], tiers.

    Returns:
        slots int32 [2, tokens, kv_heads], -1 where a token is not in that tier; and counts int32 [kv_heads, 2].
    """
    inside = np.stack([placed == HIGH, placed == LOW])
    slots = np.where(inside, np.cumsum(inside, axis=1) - 1, -1).astype(np.int32)
    return slots, inside.sum(axis=1, dtype=np.int32).T


@dataclass(frozen=True, slots=True)
class Step:
    """What one step moves in each row: numbers of tokens within their tiers, -1 for nothing. int32 [rows] each."""

    leaving: I32
    """The token of the high tier that leaves the window and does not stay high."""
    leaving_to: I32
    """Its tier: LOW or PRUNED."""
    demoted: I32
    """The least significant token of the high tier beside it, where it is not above the threshold any more."""
    demoted_to: I32
    pruned: I32
    """The least significant token of the low tier, where it is below the threshold."""


def place_step(
    high_scores: F32,
    high_positions: I32,
    low_scores: F32,
    counts: I32,
    now: NDArray[np.integer],
    thresholds: Thresholds,
    window: int = WINDOW,
) -> Step:
    """Decide what moves once the token at position ``now`` of each row has been added.

    Args:
        high_scores: relative significance float32 [rows, longest]; what lies beyond a row's count is ignored.
        high_positions: int32 [rows, longest].
        low_scores: float32 [rows, longest low].
        counts: int32 [rows, 2].
        now: int [rows].
        thresholds: the alphas; arrays are [rows, 1].
        window: tokens that always stay high, the one at ``now`` included.

    Returns:
        the moves; tokens are numbered as they stand before any is carried out.
    """
    number = np.arange(high_scores.shape[1])
    inside = number < counts[:, HIGH, None]
    age = now[:, None] - high_positions
    leaves = inside & (age == window)
    outside = inside & (age > window)
    tier = thresholds.tier(high_scores)
    leaving = _found(leaves & (tier != HIGH))
    leaving_to = np.where(leaving >= 0, _at(tier, leaving), PRUNED)
    least = _least(high_scores, outside)
    falls = (least >= 0) & (_at(tier, least) != HIGH)
    demoted = np.where(falls, least, -1)
    below = np.arange(low_scores.shape[1]) < counts[:, LOW, None]
    last = _least(low_scores, below)
    gone = (last >= 0) & (_at(thresholds.tier(low_scores), last) == PRUNED)
    return Step(
        leaving=leaving,
        leaving_to=leaving_to.astype(np.int32),
        demoted=demoted.astype(np.int32),
        demoted_to=np.where(falls, _at(tier, least), PRUNED).astype(np.int32),
        pruned=np.where(gone, last, -1).astype(np.int32),
    )


def _found(mask: NDArray[np.bool_]) -> I32:
    """The place of the first True of each row, or -1."""
    if not mask.shape[1]:
        return np.full(len(mask), -1, np.int32)
    return np.where(mask.any(axis=1), mask.argmax(axis=1), -1).astype(np.int32)


def _least(scores: F32, mask: NDArray[np.bool_]) -> I32:
    """The place of the smallest score of each row among those of a mask, or -1."""
    if not scores.shape[1]:
        return np.full(len(scores), -1, np.int32)
    place = np.where(mask, scores, np.inf).argmin(axis=1)
    return np.where(mask.any(axis=1), place, -1).astype(np.int32)


def _at(values: NDArray, places: I32) -> NDArray:
    if not values.shape[1]:
        return np.full(len(values), PRUNED, values.dtype)
    return np.take_along_axis(values, np.maximum(places, 0)[:, None], axis=1)[:, 0]
