"""Large pictures in overlapping tiles that are blended, so that neither seams show nor memory peaks (NumPy)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Piece = tuple[slice, slice]
#: Statistics of features of C channels: ("deviations", C) is C means, then C deviations; ("covariances", C) is C means,
#: then C rows of C covariances; ("means", C) is C means.
Segment = tuple[str, int]


def length(segment: Segment) -> int:
    """Numbers of a segment."""
    kind, channels = segment
    return {"means": channels, "deviations": 2 * channels, "covariances": channels + channels * channels}[kind]


def spans(length: int, tile: int, overlap: int) -> list[slice]:
    """Tiles of a side: as few as cover it with at least that overlap, evenly spaced, from 0 to its end."""
    if length <= tile:
        return [slice(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    # Starts on multiples of 8 keep every tile's features on the grid of the whole picture's.
    starts = [round(index * (length - tile) / (count - 1) / 8) * 8 for index in range(count - 1)]
    return [*(slice(start, start + tile) for start in starts), slice(length - tile, length)]


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut.

    Attributes:
        tile: side, in pixels.
        overlap: of neighbours, in pixels.
        largest: pictures of at most so many pixels are not cut.
        sampled: tiles, at most, whose statistics stand for the whole picture's.
    """

    tile: int = 768
    overlap: int = 96
    largest: int = 1280 * 1280
    sampled: int = 9

    def pieces(self, size: Sequence[int]) -> list[Piece]:
        """All tiles of a picture of that height and width."""
        rows, columns = (spans(length, self.tile, self.overlap) for length in size[:2])
        return [(row, column) for row in rows for column in columns]

    def spread_over(self, size: Sequence[int]) -> list[Piece]:
        """A few tiles from all over the picture."""
        pieces = self.pieces(size)
        chosen = np.unique(np.linspace(0, len(pieces) - 1, min(self.sampled, len(pieces))).round().astype(int))
        return [pieces[index] for index in chosen]

    def blended(self, shape: tuple[int, ...], make: Callable[[Piece], Array]) -> Array:
        """A picture of that shape from tiles, each weighted down linearly towards its borders."""
        whole = np.empty(shape, np.float32)
        for rows, band in self.bands(shape, make):
            whole[rows] = band
        return whole

    def bands(self, shape: tuple[int, ...], make: Callable[[Piece], Array]) -> Iterator[tuple[slice, Array]]:
        """The same in bands from top to bottom: what is blended at once is no more than a row of tiles."""
        down, across = (spans(length, self.tile, self.overlap) for length in shape[:2])
        total = np.zeros((down[0].stop, *shape[1:]), np.float32)
        weights = np.zeros((*total.shape[:2], 1), np.float32)
        for row, after in zip(down, [*(span.start for span in down[1:]), shape[0]], strict=True):
            for column in across:
                made = make((row, column))
                weight = self._ramp(made.shape[0])[:, None, None] * self._ramp(made.shape[1])[None, :, None]
                total[:, column] += made * weight
                weights[:, column] += weight
            # No later tile reaches these rows.
            ready = after - row.start
            yield slice(row.start, after), total[:ready] / weights[:ready]
            for kept in (total, weights):
                kept[:-ready] = kept[ready:]
                kept[-ready:] = 0

    def _ramp(self, length: int) -> Array:
        places = np.minimum(np.arange(length) + 1, length - np.arange(length))
        return np.minimum(places / self.overlap, 1).astype(np.float32)


def pooled(statistics: Sequence[Array], segments: Sequence[Segment]) -> Array:
    """Statistics of all tiles together, [1, M], from those of each, [1, M]."""
    rows, place, found = np.concatenate(statistics).astype(np.float64), 0, []
    for kind, channels in segments:
        means = rows[:, place : place + channels]
        spreads = rows[:, place + channels : place + length((kind, channels))]
        found.append(means.mean(0))
        if kind != "means":
            found.append((_deviations if kind == "deviations" else _covariances)(means, spreads))
        place += length((kind, channels))
    return np.concatenate(found)[None].astype(np.float32)


def _deviations(means: NDArray[np.float64], spreads: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt((spreads**2).mean(0) + means.var(0))


def _covariances(means: NDArray[np.float64], spreads: NDArray[np.float64]) -> NDArray[np.float64]:
    between = np.cov(means.T, bias=True) if len(means) > 1 else np.zeros((means.shape[1],) * 2)
    return spreads.mean(0) + between.ravel()
