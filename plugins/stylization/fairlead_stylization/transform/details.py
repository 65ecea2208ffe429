"""A style's details (strokes, grain, edges), carried to where a content has the style's colours (NumPy).

A third stage beside TSSAT's two: where its local stage gives a tile of the content the statistics of the style patch
that fits best, this one carries over what a patch looks like finer than a cell. Tiles of the recoloured content are
compared with all places of the style by the mean colours of the cells around them, as image quilting does (Efros and
Freeman, SIGGRAPH 2001), and a place costs the more the further it lies from the tile's own: so neighbouring tiles take
neighbouring places, and flat areas do not repeat one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import pixels
from fairlead_kernels.quilting import nearest, quilt, surroundings

from ..pictures.picture import floats
from .colours import recoloured

Array = NDArray[np.float32]
Places = NDArray[np.intp]

#: Pixels of a cell, whose mean colour is compared, and cells of a patch's side.
CELL = 8
PATCH = 5
#: Cells between two tiles, and pixels in which tiles fade into their neighbours.
HOP = 3
FADE = 8
#: Squared colour difference that a distance of the whole style is worth.
NEARNESS = 1.0
#: Kinds of tiles along each axis.
KINDS = 3

#: Rows of cells that are looked at together.
_BAND = 64

#: Half a tile with what fades.
_REACH = (HOP * CELL + FADE) // 2


@dataclass(frozen=True)
class Details:
    """What a style lends.

    Attributes:
        fine: [h + 2 r, w + 2 r, 3], the picture less its colours at the scale of cells, mirrored beyond its borders.
        patches: [n, D], colours and place of the patch around each cell.
        size: cells down and across.
    """

    fine: Array
    patches: Array
    size: tuple[int, int]

    @classmethod
    def of(cls, style: Array) -> Details:
        """Of a style [h, w, 3] in [0, 1], sides multiples of 8."""
        cells = pixels.cells(style, CELL)
        fine = _reflected(pixels.less_cells(style, cells, CELL), _REACH)
        rows, columns = (np.arange(length) for length in cells.shape[:2])
        size = cells.shape[0], cells.shape[1]
        return cls(fine, _patches(cells, rows, columns, size), size)

    def inside(self) -> Array:
        """What is fine in the picture alone, [h, w, 3]."""
        return self.fine[_REACH:-_REACH, _REACH:-_REACH]

    def carried(self, content: Array, mapping: Array) -> Array:
        """Details for a content [H, W, 3], under its map of colours [3, 4]: [H, W, 3].

        Tiles of HOP cells each take what is fine at their place; where they meet, one fades into the next.
        """
        return self.lent(content, mapping).inside((slice(0, content.shape[0]), slice(0, content.shape[1])))

    def lent(self, content: Any, mapping: Array) -> Lent:
        """The same, not yet laid down; the content in floats or bytes, or what gives parts of it."""
        cells = recoloured(_cells(content), mapping)
        rows, columns = (_middles(length) for length in cells.shape[:2])
        wanted = _patches(cells, rows, columns, self.size).reshape(len(rows), len(columns), -1)
        chosen = self._chosen(wanted)
        # The padding makes of a cell's middle its tile's first pixel.
        tops, lefts = (part.astype(np.int32) * CELL + CELL // 2 for part in np.divmod(chosen, self.size[1]))
        return Lent(self.fine, tops, lefts, (content.shape[0], content.shape[1]))

    @property
    def kinds(self) -> tuple[int, int]:
        """Kinds down and across. A kind has places all over the style; small styles have too few for several."""
        down, across = (min(KINDS, max(1, length // HOP // KINDS)) for length in self.size)
        return down, across

    def kinds_of_places(self) -> NDArray[np.int32]:
        """The kind of each place, [n]: a tile takes places of its own kind."""
        return _kinds(*self.size, HOP, *self.kinds).ravel()

    def tiles(self, height: int, width: int) -> tuple[Places, Places, Array, NDArray[np.int32]]:
        """Tiles of a content of so many cells: their rows and columns; their places [tiles, 2] and kinds [tiles]."""
        rows, columns = _middles(height), _middles(width)
        places = _places(rows, columns, self.size).reshape(-1, 2)
        return rows, columns, places, _kinds(len(rows), len(columns), 1, *self.kinds).ravel()

    def _chosen(self, wanted: Array) -> NDArray[np.int32]:
        """The patch that each tile takes, [rows, columns], of what they want, [rows, columns, D].

        Tiles and places are of up to 3 x 3 kinds in turn, and a tile takes a place of its own kind: neighbours
        never show the same thing, and what lies a tile further in the style is of the next tile's kind.
        """
        tiles = _kinds(*wanted.shape[:2], 1, *self.kinds)
        flat = wanted.reshape(-1, wanted.shape[2])
        return nearest(flat, tiles.ravel(), self.patches, self.kinds_of_places()).reshape(wanted.shape[:2])


@dataclass(frozen=True)
class Lent:
    """What a content is lent, laid down where it is asked for.

    Attributes:
        fine: [h, w, 3], where tiles are taken from.
        tops, lefts: [rows, columns], each tile's first pixel there.
        size: height and width of the content.
    """

    fine: Array
    tops: NDArray[np.int32]
    lefts: NDArray[np.int32]
    size: tuple[int, int]

    def inside(self, at: tuple[slice, slice]) -> Array:
        """Details of a part of the content, [rows, columns, 3]."""
        (down, rows, height), (across, columns, width) = map(_needed, at, self.size, self.tops.shape)
        tiles = self.tops[down, across], self.lefts[down, across]
        laid = quilt(self.fine, *tiles, HOP * CELL, FADE, (height, width))
        return np.ascontiguousarray(laid[rows, columns])


def _needed(span: slice, length: int, tiles: int) -> tuple[slice, slice, int]:
    """Along an axis: tiles that show in a span, the span among what they cover, and how long that is.

    The outermost tiles of those that are laid do not fade: they are taken so far out that this does not show.
    """
    hop, margin = HOP * CELL, FADE // 2
    first = max(0, (span.start - margin) // hop)
    last = min(tiles, -(-(span.stop + margin) // hop))
    return (
        slice(first, last),
        slice(span.start - first * hop, span.stop - first * hop),
        min(last * hop, length) - first * hop,
    )


def _cells(content: Any) -> Array:
    """The means of a content's cells, [H / 8, W / 8, 3] rounded up, by bands: no copy of the whole is made."""
    height, width = content.shape[:2]
    means = np.empty((-(-height // CELL), -(-width // CELL), 3), np.float32)
    for first in range(0, len(means), _BAND):
        band = floats(content[first * CELL : (first + _BAND) * CELL])
        below, beside = -len(band) % CELL, -width % CELL
        if below or beside:
            band = np.pad(band, [(0, below), (0, beside), (0, 0)], mode="edge")
        means[first : first + _BAND] = pixels.cells(band, CELL)
    return means


def _kinds(rows: int, columns: int, hop: int, down: int, across: int) -> NDArray[np.int32]:
    """The kind of each place [rows, columns], which changes every `hop` places."""
    of_rows, of_columns = (np.arange(length, dtype=np.int32) // hop for length in (rows, columns))
    return (of_rows % down * across)[:, None] + of_columns % across


def finer(picture: Array) -> Array:
    """A picture [h, w, 3] less what its cells show of it: their means, interpolated between their centres."""
    return pixels.less_cells(picture, pixels.cells(picture, CELL), CELL)


def _patches(cells: Array, rows: Places, columns: Places, size: tuple[int, int]) -> Array:
    """What is compared of cells [h, w, 3], at rows and columns: the colours of 5 x 5 around, and the place; [n, D].

    Places are those of a plane that is covered by styles of that size, in cells, each the mirror of its neighbours:
    what lies side by side comes from side by side, however large a content is.
    """
    found = np.empty((len(rows), len(columns), 3 * PATCH * PATCH + 2), np.float32)
    # Mean squared differences of numbers, so that the patch's size does not matter.
    surroundings(cells, rows, columns, PATCH // 2, 1 / float(np.sqrt(3 * PATCH * PATCH)), found)
    found[..., -2:] = _places(rows, columns, size)
    return found.reshape(-1, found.shape[2])


def _places(rows: Places, columns: Places, size: tuple[int, int]) -> Array:
    """Where cells at rows and columns lie in a style of that size, in cells: [rows, columns, 2]."""
    down, across = (_mirrored((at + 0.5) / length) for at, length in zip((rows, columns), size, strict=True))
    found = np.empty((len(rows), len(columns), 2), np.float32)
    found[..., 0], found[..., 1] = down[:, None] * np.sqrt(NEARNESS), across * np.sqrt(NEARNESS)
    return found


def _middles(length: int) -> Places:
    """The cells in the middle of tiles, along an axis of so many."""
    return np.minimum(np.arange(HOP // 2, length + HOP // 2, HOP), length - 1)


def _reflected(picture: Array, margin: int) -> Array:
    """Mirrored beyond its borders, which are not repeated: [h, w, 3] -> [h + 2 margin, w + 2 margin, 3]."""
    height, width = picture.shape[:2]
    whole = np.empty((height + 2 * margin, width + 2 * margin, 3), np.float32)
    inside = whole[margin : margin + height]
    inside[:, margin : margin + width] = picture
    inside[:, :margin] = picture[:, margin:0:-1]
    inside[:, margin + width :] = picture[:, -2 : -margin - 2 : -1]
    whole[:margin] = inside[margin:0:-1]
    whole[margin + height :] = inside[-2 : -margin - 2 : -1]
    return whole


def _mirrored(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Any number -> [0, 1], there and back again."""
    return 1 - np.abs(1 - place % 2)
