"""What leads views towards a style: the slope of the refiner's style loss, trained to lead where VGG-19's does.

A scene is stylized once, for all of its views: the stylizer could fit the statistics of the whole to the style, not
those of each view, as it does for pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..networks.refining import NativeRefiner
from ..networks.running import WEIGHTS
from ..stylizer import style_pixels

F32 = NDArray[np.float32]
#: Whose refiner leads, and the sides of pictures that it sees are multiples of so many pixels.
_VARIANT, _MULTIPLE = "edge", 4
#: Of the plain views' distance: near enough to what the stylizer makes of them, where the style is not known.
_NEAR, _TINY = 0.1, 1e-9


@dataclass(frozen=True)
class Nearer:
    """Leads views.

    Attributes:
        refiner: whose slope is gone down.
        target: its statistics of the style [n]; None: views are led to what the stylizer makes of them as pictures.
    """

    refiner: NativeRefiner
    target: F32 | None = None

    def lead(self, drawn: Sequence[F32], plain: Sequence[F32]) -> Lead:
        """What leads some views.

        Args:
            drawn: what the stylizer makes of each view, float32 [height, width, 3].
            plain: the views themselves.
        """
        whole = [_whole(view) for view in drawn]
        if self.target is not None:
            targets = [self.target] * len(whole)
            enough = np.mean([self.refiner.loss(view, self.target) for view in whole])
        else:
            targets = [self.refiner.target(view) for view in whole]
            pairs = zip(plain, targets, strict=True)
            enough = _NEAR * np.mean([self.refiner.loss(_whole(view), target) for view, target in pairs])
        return Lead(self.refiner, targets, float(enough))


@dataclass(frozen=True)
class Lead:
    """Leads certain views.

    Attributes:
        refiner: whose slope is gone down.
        targets: for each view.
        enough: mean loss that says that views have as much of the style as pictures have.
    """

    refiner: NativeRefiner
    targets: list[F32]
    enough: float

    def steps(self, views: Sequence[F32]) -> tuple[list[F32], float]:
        """Steps [height, width, 3] of all views, and their mean loss, of what is enough."""
        found, losses = [], []
        for view, target in zip(views, self.targets, strict=True):
            whole = _whole(view)
            losses.append(self.refiner.loss(whole, target))
            refined, _ = self.refiner.refine(whole, target)
            found.append(refined[: view.shape[0], : view.shape[1]] - view)
        return found, float(np.mean(losses)) / max(self.enough, _TINY)


def shipped_nearer(styles: Sequence[F32] = (), weights: Sequence[float] = ()) -> Nearer | None:
    """What leads views by the refiner that ships; None where it does not.

    Args:
        styles: pictures [h, w, 3] in [0, 1]; none: see `Nearer.target`.
        weights: of them; none: all alike.
    """
    path = WEIGHTS / f"{_VARIANT}-refiner.safetensors"
    if not path.is_file():
        return None
    refiner = NativeRefiner(path, _VARIANT)
    if not len(styles):
        return Nearer(refiner)
    found = np.stack([refiner.target(np.ascontiguousarray(style_pixels(style), np.float32)) for style in styles])
    return Nearer(refiner, np.average(found, axis=0, weights=weights or None).astype(np.float32))


def _whole(view: F32) -> F32:
    """A copy of a view on sides that the refiner accepts, its borders going on."""
    more = [-length % _MULTIPLE for length in view.shape[:2]]
    padded = np.pad(view, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded, np.float32)
