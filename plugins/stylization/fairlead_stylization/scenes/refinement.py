"""Discs' colours go down the slope of a style loss until views have as much of the style as pictures of their own.

A stylizer refines what it draws, and charts are such pictures. Views mix their pixels: what was sharp is blurred, what
was dark or bright has less contrast, and means and deviations of features are the style's no more. So views are refined
as pictures are, and what each pixel should change by is given back to the discs that it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .scene import Scene
from .splatting import Splats

F32 = NDArray[np.float32]
#: Rounds at most, and the share of the loss that one has to take for another to follow.
ROUNDS, WORTH = 4, 0.1
#: How much less loss is asked for than the stylizer's own pictures of the views have, if these are all surface: views
#: between those that are looked at have more. Background is not painted, and surfaces before it cannot make up for it.
FURTHER = 0.3
#: Of a disc, pixels that views must show for a whole change.
_LEAST = 0.3


class Slope(Protocol):
    """Which way pictures come nearer to a style."""

    @property
    def strength(self) -> float:
        """From 0 (pictures stay) to 1."""
        ...

    def loss(self, picture: F32) -> float:
        """How far a picture [height, width, 3] is from the style."""
        ...

    def slope(self, picture: F32, content: F32, hold: float) -> tuple[float, float, F32]:
        """The same, how much of a content is lost, and by how much each of the picture's values changes the first and
        `hold` times the second; pictures and slope are [height, width, 3].
        """
        ...

    def refined(self, picture: F32) -> F32:
        """A picture that is nearer; same size."""
        ...


def refined(scene: Scene, views: Sequence[Splats], drawn: Sequence[F32], colours: F32, slope: Slope) -> F32:
    """Colours [discs, 3] whose views are about as near to a style as a stylizer's own pictures of them.

    Args:
        scene: its background.
        views: that are looked at.
        drawn: what a stylizer makes of these views of the plain scene.
        colours: float32 [discs, 3] to begin with; where they are near enough they are returned as they are.
        slope: of the style.
    """
    surface = float(np.mean([view.seen.mean() for view in views])) * slope.strength
    wanted = (1 - FURTHER * surface**2) * mean_loss(drawn, slope)
    pictures = _pictures(scene, views, colours)
    loss = mean_loss(pictures, slope)
    for _ in range(ROUNDS):
        if loss <= wanted:
            break
        made = _nearer(views, pictures, colours, slope)
        pictures = _pictures(scene, views, made)
        after = mean_loss(pictures, slope)
        if not after < (1 - WORTH) * loss:
            break
        if after < wanted:
            # Steps cost what is shown: no more is taken of the last one than it needs.
            return colours + np.float32((loss - wanted) / (loss - after)) * (made - colours)
        colours, loss = made, after
    return colours


def _pictures(scene: Scene, views: Sequence[Splats], colours: F32) -> list[F32]:
    return [np.clip(view.render(colours, scene.background), 0, 1) for view in views]


def mean_loss(pictures: Sequence[F32], slope: Slope) -> float:
    """How far pictures [height, width, 3] are from a style."""
    return float(np.mean([slope.loss(picture) for picture in pictures]))


def _nearer(views: Sequence[Splats], pictures: Sequence[F32], colours: F32, slope: Slope) -> F32:
    """Colours after one round: each disc's pixels have a say in its change by how much they show of it."""
    change, shown = np.zeros_like(colours), np.zeros(len(colours), np.float32)
    for view, picture in zip(views, pictures, strict=True):
        missed = np.where(view.seen[..., None], slope.refined(picture) - picture, np.float32(0))
        view.give_back(missed.reshape(-1, 3), change)
        shown += np.bincount(view.discs, view.weights, len(colours)).astype(np.float32)
    return np.clip(colours + change / np.maximum(shown, np.float32(_LEAST))[:, None], 0, 1)
