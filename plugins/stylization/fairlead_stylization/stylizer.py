"""What stylizes: one protocol, with native kernels, torch or ONNX Runtime behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import pixels
from fairlead_kernels.lattice import remove_lattice

from .errors import BadPicture, BadSetting
from .networks.kept import Kept
from .pictures.picture import floats
from .transform.colours import Colours, colour_map, with_colours_of
from .transform.details import Details, Lent
from .transform.tiles import Piece, Segment, Tiling, pooled, spans

Array = NDArray[np.float32]
#: Rows of a picture, and what they are: [rows, W, 3] in [0, 1].
Band = tuple[slice, Array]

#: Styles are looked at with about as many pixels as a square of this side has.
STYLE_SIDE = 256
#: The deepest features are at 1/8, and a patch of them is five wide.
CELL = 8
SMALLEST = 40
#: Pixels by which contents are mirrored at their borders.
MARGIN = 8


@dataclass(frozen=True)
class StyleCode:
    """What a style is to a network: made once, good for any content.

    Attributes:
        statistics: [N], means, deviations and covariances at all levels.
        filters, means, deviations: [n, D], [n, C], [n, C], of the local stage's patches.
        colours: of the picture.
        details: what it lends.
    """

    statistics: Array
    filters: Array
    means: Array
    deviations: Array
    colours: Colours
    details: Details


@dataclass(frozen=True)
class Style:
    """A style among several.

    Attributes:
        look: its picture [h, w, 3] in [0, 1], or its code.
        weight: 0 or more, beside the others' weights.
    """

    look: Array | StyleCode
    weight: float = 1.0


class Stylizer(Protocol):
    """Any style on any picture."""

    @property
    def variant(self) -> str:
        """Which size: "edge" or "quality"."""
        ...

    @property
    def weights_digest(self) -> str:
        """SHA-256 of the weights."""
        ...

    def encode_style(self, picture: Array) -> StyleCode:
        """A style's code, from its picture [h, w, 3] in [0, 1]."""
        ...

    def stylize(
        self,
        content: Array,
        styles: Sequence[Style],
        strength: float = 1.0,
        mask: Array | None = None,
        keep_colours: bool = False,
    ) -> Array:
        """A picture [H, W, 3] in [0, 1] in a mixture of styles; same size."""
        ...

    def bands(
        self,
        content: Content,
        styles: Sequence[Style],
        strength: float = 1.0,
        mask: Array | None = None,
        keep_colours: bool = False,
    ) -> Iterator[Band]:
        """The same from top to bottom, so that it never lies in memory as a whole."""
        ...


class Content(Protocol):
    """A picture of which parts are looked at: an array [H, W, 3], or what makes such parts."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[H, W, 3]."""
        ...

    def __getitem__(self, at: Any, /) -> NDArray[Any]:
        """A part; bytes, or floats in [0, 1]."""
        ...


class Network(Protocol):
    """What runs the graphs; all arrays are float32."""

    variant: str
    weights_digest: str
    segments: list[Segment]

    def encode(self, style: Array, details: Array) -> tuple[Array, Array, Array, Array]:
        """A style and what is fine in it, [1, 3, h, w] each.

        Returns:
            statistics [1, N], filters [1, n, D], means and deviations [1, n, C].
        """
        ...

    def decode(self, content: Array, details: Array, look: Look, given: Array | None) -> tuple[Array, Array]:
        """A content and what it is lent, [1, 3, H, W] each, sides multiples of 8; statistics [1, M], if any are given.

        Returns:
            the picture, [1, 3, H, W], and the statistics that were used, [1, M].
        """
        ...


@dataclass(frozen=True)
class Look:
    """A mixture of S styles as a graph takes it: map of colours [1, 3, 4], code [1, N], patches, weights [S]."""

    colours: Array
    statistics: Array
    filters: Array
    means: Array
    deviations: Array
    weights: Array
    strength: float

    def without(self, count: int) -> Look:
        """The same without the last numbers of the statistics."""
        return replace(self, statistics=self.statistics[:, :-count])


class NetworkStylizer:
    """A stylizer over a network.

    Args:
        network: native kernels, torch or ONNX Runtime.
        tiling: how large pictures are cut.
    """

    def __init__(self, network: Network, tiling: Tiling | None = None) -> None:
        self.network, self.tiling = network, tiling or Tiling()
        self._framed = Kept(lambda height, width: np.empty((2, height, width, 3), np.float32))

    @property
    def variant(self) -> str:
        """Which size."""
        return self.network.variant

    @property
    def weights_digest(self) -> str:
        """SHA-256 of the weights."""
        return self.network.weights_digest

    def encode_style(self, picture: Array) -> StyleCode:
        """A style's code; its picture in floats, or in bytes.

        Raises:
            BadPicture: not [h, w, 3] of finite numbers.
        """
        picture = _checked(picture, "style")
        small = looked_at(picture)
        picture = padded(small)
        details = Details.of(picture)
        arrays = self.network.encode(_planes(picture), _planes(details.inside()))
        return StyleCode(*(array[0] for array in arrays), Colours.of(small), details)

    def stylize(
        self,
        content: Array,
        styles: Sequence[Style],
        strength: float = 1.0,
        mask: Array | None = None,
        keep_colours: bool = False,
    ) -> Array:
        """A picture in a mixture of styles.

        Args:
            content: [H, W, 3] in [0, 1].
            styles: one or more, with weights.
            strength: 0 (the content itself) to 1.
            mask: [H, W] in [0, 1]: how much of the style each place takes; everywhere all where None.
            keep_colours: only the luminance is the style's.

        Raises:
            BadPicture: pictures or a mask of shapes or numbers that are not accepted.
            BadSetting: a strength or weights that are not.
        """
        content = _checked(content, "content")
        return whole(content.shape, self.bands(content, styles, strength, mask, keep_colours))

    def bands(
        self,
        content: Content,
        styles: Sequence[Style],
        strength: float = 1.0,
        mask: Array | None = None,
        keep_colours: bool = False,
    ) -> Iterator[Band]:
        """The same in bands from top to bottom; arguments and errors as of `stylize`.

        Args:
            content: any numbers are taken as they are: those of floats are expected in [0, 1].
        """
        if mask is not None and mask.shape != content.shape[:2]:
            raise BadPicture(f"mask: shape {mask.shape}; accepted: the content's, {content.shape[:2]}")
        if not 0 <= strength <= 1:
            raise BadSetting(f"strength: {strength}; accepted: 0 to 1")
        weights = shares(styles)
        if strength == 0:
            return ((rows, floats(content[rows]).copy()) for rows in spans(content.shape[0], self.tiling.tile, 0))
        codes = [style.look if isinstance(style.look, StyleCode) else self.encode_style(style.look) for style in styles]
        look = _look(content, codes, weights, strength)
        made = self._stylized(content, _Mixed(content, codes, look), look)
        return (finished(content, band, mask, keep_colours) for band in made)

    def _stylized(self, content: Content, lent: _Mixed, look: Look) -> Iterator[Band]:
        def piece(at: Piece, given: Array | None) -> tuple[Array, Array]:
            return self._piece(floats(content[at]), lent.inside(at), look, given)

        height, width = content.shape[:2]
        if height * width <= self.tiling.largest:
            every = slice(0, height)
            yield every, piece((every, slice(0, width)), None)[0]
            return
        pieces = self.tiling.spread_over((height, width))
        given = pooled([piece(at, None)[1] for at in pieces], self.network.segments)
        yield from self.tiling.bands(content.shape, lambda at: piece(at, given)[0])

    def _piece(self, content: Array, lent: Array, look: Look, given: Array | None) -> tuple[Array, Array]:
        with self._framed.lent(*_framed_size(*content.shape[:2])) as (whole, fine):
            framed(content, whole), framed(lent, fine)
            planes, used = self.network.decode(_planes(whole), _planes(fine), look, given)
            drawn = np.empty(content.shape, np.float32)
            # Networks draw 2 x 2 pixels at once.
            remove_lattice(np.ascontiguousarray(planes[0].transpose(1, 2, 0)), whole, target=drawn, margin=MARGIN)
        return drawn, used


def _look(content: Content, codes: Sequence[StyleCode], weights: Array, strength: float) -> Look:
    stacked = [_stacked([getattr(code, name) for code in codes]) for name in ("filters", "means", "deviations")]
    statistics = mixed([code.statistics for code in codes], weights)
    target = Colours(
        *(mixed([getattr(code.colours, name) for code in codes], weights) for name in ("mean", "covariance"))
    )
    colours = colour_map(Colours.of(content), target, strength)
    return Look(colours[None], statistics[None], *stacked, weights, strength)


def _stacked(patches: list[Array]) -> Array:
    """Patches of S styles, [n, D] each, as [S, most, D]; of fewer, some are repeated: the same is found either way."""
    if len(patches) == 1:
        return patches[0][None]
    most = max(map(len, patches))
    return np.stack([np.resize(one, (most, one.shape[1])) for one in patches])


class _Mixed:
    """What several styles lend a content, each by its weight."""

    def __init__(self, content: Content, codes: Sequence[StyleCode], look: Look) -> None:
        self._each: list[tuple[np.float32, Lent]] = [
            (weight, code.details.lent(content, look.colours[0]))
            for code, weight in zip(codes, look.weights, strict=True)
            if weight
        ]

    def inside(self, at: Piece) -> Array:
        """Of a part of the content, [rows, columns, 3]."""
        (weight, first), *others = self._each
        if not others and weight == 1:
            return first.inside(at)
        lent = weight * first.inside(at)
        for weight, other in others:
            lent += weight * other.inside(at)
        return lent


def finished(content: Content, band: Band, mask: Array | None = None, keep_colours: bool = False) -> Band:
    """A band with what of it is the content's: its colours, and what a mask [H, W] leaves of it."""
    rows, got = band
    if mask is None and not keep_colours:
        return band
    own = floats(content[rows])
    if keep_colours:
        got = with_colours_of(got, own)
    if mask is not None:
        got = (own + mask[rows][..., None] * (got - own)).astype(np.float32)
    return rows, got


def whole(shape: Sequence[int], bands: Iterator[Band]) -> Array:
    """A picture [H, W, 3] of that shape from its bands."""
    every = np.empty(tuple(shape), np.float32)
    for rows, band in bands:
        every[rows] = band
    return every


def _checked(picture: Array, name: str) -> Array:
    picture = floats(picture)
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise BadPicture(f"{name}: shape {picture.shape}; accepted: [height, width, 3]")
    if not pixels.finite(picture):
        raise BadPicture(f"{name}: holds NaN or infinite numbers; accepted: numbers in [0, 1]")
    return picture


def shares(styles: Sequence[Style]) -> Array:
    """Styles' weights, that sum to 1; raises BadSetting."""
    weights = np.array([style.weight for style in styles], np.float32)
    if not len(weights) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise BadSetting(
            f"styles: weights {weights.tolist()}; accepted: one style or more, weights of 0 or more, not all 0"
        )
    return weights / weights.sum()


def mixed(arrays: list[Array], weights: Array) -> Array:
    """Their weighted sum."""
    if len(arrays) == 1:
        return np.asarray(arrays[0], np.float32)
    return np.tensordot(weights, np.stack(arrays), 1).astype(np.float32)


def _resized(picture: Array, side: int) -> Array:
    """As many pixels as a square of that side, proportions kept; small pictures stay as they are."""
    factor = side / np.sqrt(picture.shape[0] * picture.shape[1])
    if factor >= 1:
        return picture
    rows, columns = (max(CELL, round(length * factor / CELL) * CELL) for length in picture.shape[:2])
    return pixels.resized(picture, rows, columns)


def looked_at(picture: Array) -> Array:
    """A style [h, w, 3] as small as networks look at it; the same array where it is small already."""
    return _resized(picture, STYLE_SIDE)


def style_pixels(picture: Array) -> Array:
    """A style [h, w, 3] as networks look at it: made smaller where it is large, on sides that are multiples of 8."""
    return padded(looked_at(picture))


def padded(picture: Array) -> Array:
    """Mirrored at the right and below to sides that are multiples of 8 and large enough for a patch."""
    wanted = [max(SMALLEST, -(-length // CELL) * CELL) for length in picture.shape[:2]]
    after = [(0, want - length) for want, length in zip(wanted, picture.shape[:2], strict=True)]
    return np.pad(picture, [*after, (0, 0)], mode="symmetric") if any(pair[1] for pair in after) else picture


def framing(height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of a content as networks look at it: mirrored at all borders, on sides that are multiples of 8.

    Layers see nothing beyond a picture's borders, which would draw a frame.
    """
    rows, columns = (
        np.pad(np.arange(length), (MARGIN, want - length - MARGIN), mode="symmetric")
        for length, want in zip((height, width), _framed_size(height, width), strict=True)
    )
    return rows, columns


def _framed_size(height: int, width: int) -> tuple[int, int]:
    rows, columns = (max(SMALLEST, -(-(length + 2 * MARGIN) // CELL) * CELL) for length in (height, width))
    return rows, columns


def framed(picture: Array, target: Array | None = None) -> Array:
    """A content [h, w, 3], mirrored at all borders (see `framing`); in the target, where one is given."""
    target = np.empty((*_framed_size(*picture.shape[:2]), 3), np.float32) if target is None else target
    pixels.frame(picture, MARGIN, target)
    return target


def _planes(picture: Array) -> Array:
    # A view: networks that keep channels last need no copy.
    return picture.transpose(2, 0, 1)[None]
