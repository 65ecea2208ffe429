"""What a strength from 0 to 1 asks of each stage: little of a style shall cost little of a content.

Features are given their share of the style's statistics. Colours go ahead, since mapping them brings a content nearer
to a style than anything else does for what it costs. Steps down the slope of the style loss stay behind: their length
is that of the whole way to the style. Both are numbers or arrays (NumPy's or torch's).
"""

from __future__ import annotations

from typing import TypeVar

Share = TypeVar("Share")


def of_colours(strength: Share) -> Share:
    """The share of the way that colours go: s (2 - s)."""
    return strength * (2 - strength)  # type: ignore[operator,no-any-return]


def of_steps(strength: Share) -> Share:
    """The share of a refiner's steps: s squared."""
    return strength * strength  # type: ignore[operator,no-any-return]
