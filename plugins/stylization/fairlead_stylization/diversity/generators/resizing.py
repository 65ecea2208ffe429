"""Pictures of any size made small, and small ones large, without their floats as a whole in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ...pictures import floats
from ...stylizer import Content

#: Of what is made large at once.
BAND_PIXELS = 512 * 512
#: Of the cubic that enlarges (Keys, 1981), as PyTorch's own.
_SHARP = -0.75


def reduced(picture: Content, most: int) -> torch.Tensor:
    """A picture [h, w, 3] as [1, 3, h', w'] of at most so many pixels, each the mean of those that it stands for."""
    size = reduced_size(picture.shape, most)
    return torch.cat([_mean(floats(picture[..., channel]), size) for channel in range(picture.shape[2])], dim=1)


def reduced_hole(hole: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """A hole [h, w] as [h', w'], 1 where any part of a place is unknown."""
    return (_mean(hole, reduced_size(hole.shape, most))[0, 0] > 0).float().numpy()


def reduced_size(shape: Sequence[int], most: int) -> tuple[int, int]:
    """Height and width of at most so many pixels."""
    factor = min(1.0, (most / (shape[0] * shape[1])) ** 0.5)
    height, width = (max(1, int(side * factor)) for side in shape[:2])
    return (height, width) if factor < 1 else (shape[0], shape[1])


def _mean(channel: NDArray[np.float32], size: tuple[int, int]) -> torch.Tensor:
    whole = torch.from_numpy(np.ascontiguousarray(channel))[None, None]
    return whole if whole.shape[2:] == size else functional.interpolate(whole, size=size, mode="area")


class Enlarged:
    """A small picture in another size, row by row, by cubics: what `interpolate` gives, without the whole of it.

    Args:
        small: [1, c, h, w].
        size: height and width.
    """

    def __init__(self, small: torch.Tensor, size: Sequence[int]) -> None:
        self._small, self._size = small, tuple(size)

    def rows(self, rows: slice) -> torch.Tensor:
        """Some of its rows, [1, c, n, width]."""
        if self._small.shape[2:] == self._size:
            return self._small[:, :, rows]
        first, weights = _weights(self._small.shape[2], self._size[0], rows)
        found = torch.from_numpy(weights) @ self._small[:, :, first : first + weights.shape[1]]
        # As many rows as there are: only along them anything is mixed.
        size = (found.shape[2], self._size[1])
        return functional.interpolate(found, size=size, mode="bicubic", align_corners=False)


def _weights(source: int, target: int, rows: slice) -> tuple[int, NDArray[np.float32]]:
    """The first of a side's ``source`` places that some of ``target`` are made of, and those' weights, [n, places]."""
    at = (np.arange(rows.start, rows.stop) + 0.5) * (source / target) - 0.5
    places = np.floor(at).astype(int)[:, None] + np.arange(-1, 3)
    far = np.abs(at[:, None] - places)
    inner = (_SHARP + 2) * far**3 - (_SHARP + 3) * far**2 + 1
    outer = _SHARP * (far**3 - 5 * far**2 + 8 * far - 4)
    places = places.clip(0, source - 1)
    weights = np.zeros((len(at), places.max() - places.min() + 1), np.float32)
    np.add.at(weights, (np.arange(len(at))[:, None], places - places.min()), np.where(far <= 1, inner, outer))
    return int(places.min()), weights


def spans(height: int, width: int) -> Iterator[slice]:
    """Rows from top to bottom, of at most `BAND_PIXELS` together where a row is no more."""
    step = max(1, BAND_PIXELS // width)
    return (slice(first, min(first + step, height)) for first in range(0, height, step))
