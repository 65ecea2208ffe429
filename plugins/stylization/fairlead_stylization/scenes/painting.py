"""What was painted on charts is put on discs so that the charts' own cameras show it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .pattern import Pattern
from .splatting import Splats

F32 = NDArray[np.float32]
#: Rounds of what cameras still miss. More of them make views agree less: single pixels are no two views' same places.
_ROUNDS = 2
#: Of a disc in a chart, pixels that it must show for a whole correction.
_LEAST = 0.05


def put_on(pattern: Pattern, atlas: F32, background: tuple[float, float, float]) -> F32:
    """Colours [discs, 3] that charts' cameras see as what was painted, as far as a few rounds go.

    Discs that take the colour of their middle are a blurred picture, as each pixel mixes several of them. What their
    own chart then still misses is given back to them, by the shares that pixels have of them: simultaneous iterative
    reconstruction (Gilbert, J. Theor. Biol. 36, 1972).

    Args:
        pattern: which charts discs take their colours from.
        atlas: all charts, painted, float32 [height, width, 3].
        background: of views; nothing is missed there.
    """
    colours = pattern.colours(atlas)
    charts = pattern.charts_of(atlas, background)
    shares = [_shares(pattern, place, view, len(colours)) for place, view in enumerate(pattern.splats)]
    for _ in range(_ROUNDS):
        change = np.zeros_like(colours)
        for chart, view, share in zip(charts, pattern.splats, shares, strict=True):
            missed = np.zeros_like(colours)
            view.give_back((chart - view.render(colours, background)).reshape(-1, 3), missed)
            change += share * missed
        colours = colours + change
    return colours


def _shares(pattern: Pattern, place: int, view: Splats, discs: int) -> F32:
    """How much of what a chart's pixels give back a disc takes, [discs, 1]: nothing of charts that are not its own."""
    shown = np.bincount(view.discs, view.weights, discs)
    own = ((pattern.charts == place) * pattern.weights).sum(axis=1)
    return (own / np.maximum(shown, _LEAST)).astype(np.float32)[:, None]
