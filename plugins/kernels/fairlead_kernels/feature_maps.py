"""Convolutions over feature maps of pictures, and what goes with them: few passes over memory, no copies of patches.

A map lies as [height, width, channels] with a border of zeros, in float32, in bfloat16 (as uint16) or in bytes of a
scale and a zero, whose filters are int8 of a scale each. Native where
compiled; :mod:`fairlead_kernels.reference_feature_maps` is the same in NumPy and stands in otherwise. bfloat16 keeps 8
bits of a number, and sums are made in float32; it is fast where :func:`halves_by` says "amx" or "avx512bf16".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_feature_maps as reference
from fairlead_kernels.backend import extension
from fairlead_kernels.reference_feature_maps import GROUP, RUN, FeatureMap, Filters

__all__ = [
    "GROUP",
    "FeatureMap",
    "Filters",
    "Kind",
    "bytes_by",
    "convolve",
    "convolve_spread",
    "draw",
    "halves_by",
    "mixed",
    "moments",
    "packed",
    "pool",
    "recolour",
    "slope",
    "spread",
    "store",
    "unshuffle",
]

F32 = NDArray[np.float32]
Kind = Literal["floats", "halves", "bytes"]


def halves_by() -> str:
    """Return what convolves maps of bfloat16 here: "amx", "avx512bf16", "floats" (one by one: slow) or "numpy"."""
    native = extension()
    return "numpy" if native is None else native.map_halves_by()


def bytes_by() -> str:
    """Return what convolves maps of bytes here: "avx512vnni", "words" (one by one: slow) or "numpy"."""
    native = extension()
    return "numpy" if native is None else native.map_bytes_by()


@dataclass(frozen=True)
class Result:
    """Where a convolution's result goes.

    Attributes:
        skip: a map that is added.
        kept: gets the result.
        rectified: gets the result, negative numbers as 0.
        growth: 1, or 2: each pixel becomes 2 x 2 before the sum.
    """

    skip: FeatureMap | None = None
    kept: FeatureMap | None = None
    rectified: FeatureMap | None = None
    growth: int = 1


def packed(weights: F32, bias: F32, kind: Kind) -> Filters:
    """Pack filters [outputs, side, side, channels] and a bias [outputs] for maps of a kind."""
    native = extension()
    if native is None:
        return Filters.of_bytes(weights, bias) if kind == "bytes" else Filters.of(weights, bias, kind == "halves")
    outputs, side, _, channels = weights.shape
    filled, run = -(-outputs // GROUP) * GROUP, side * channels
    run = -(-run // RUN) * RUN if kind == "halves" else run
    data = np.empty(filled * side * run, {"floats": np.float32, "halves": np.uint16, "bytes": np.int8}[kind])
    scales, sums = np.empty((2, filled), np.float32) if kind == "bytes" else (None, None)
    native.map_pack(np.ascontiguousarray(weights, np.float32).reshape(outputs, -1), side, data, scales, sums)
    whole = np.zeros(filled, np.float32)
    whole[:outputs] = bias
    return Filters(data, whole, side, channels, scales, sums)


def mixed(weights: F32, bias: F32, matrix: F32, offset: F32, kind: Kind) -> Filters:
    """Pack filters whose results are a matrix [n, outputs] times those of others, plus an offset [n].

    Args:
        weights, bias: the others, [outputs, side, side, channels] and [outputs]; channels in multiples of 16.
        matrix, offset: what is done with their results.
        kind: of the map that they are laid on.
    """
    native, rows = extension(), np.ascontiguousarray(weights, np.float32).reshape(len(weights), -1)
    matrix = np.ascontiguousarray(matrix, np.float32)
    if native is None:
        found = matrix @ rows
    else:
        found = np.empty((len(matrix), rows.shape[1]), np.float32)
        native.map_products(matrix, rows, found)
    return packed(found.reshape(len(matrix), *weights.shape[1:]), matrix @ bias + offset, kind)


def convolve(source: FeatureMap, filters: Filters, result: Result, stride: int = 1) -> FeatureMap | None:
    """Convolve a map, zeros beyond its borders.

    Args:
        source: with a border where filters are 3 x 3.
        filters: packed in the source's format.
        result: maps of [height / stride * growth, width / stride * growth, outputs] in any format; sides are rounded
            up before they grow.
        stride: 1 to 3.

    Returns:
        The rectified map, with its scale where it is bytes.

    Raises:
        ValueError: maps or filters that do not go together.
    """
    native = extension()
    do = reference.map_convolve if native is None else native.map_convolve
    scale = do(source, filters, stride, result.growth, result.skip, result.kept, result.rectified)
    return None if result.rectified is None else result.rectified.of_scale(scale)


def convolve_spread(source: FeatureMap, filters: Filters, rectified: FeatureMap) -> tuple[FeatureMap, F32, F32]:
    """Convolve a map, and return what is rectified with the mean and the variance, [outputs] each, that it has.

    Args:
        source, filters: as of `convolve`, stride 1.
        rectified: gets the result, negative numbers as 0.

    Raises:
        ValueError: maps or filters that do not go together.
    """
    mean, variance = np.empty(len(filters.bias), np.float32), np.empty(len(filters.bias), np.float32)
    native = extension()
    do = reference.map_convolve_spread if native is None else native.map_convolve_spread
    return rectified.of_scale(do(source, filters, rectified, mean, variance)), mean, variance


def draw(source: FeatureMap, filters: Filters, under: F32 | None, drawn: F32) -> None:
    """Convolve to 2 x 2 pixels a place, channels (row, column, colour).

    Args:
        source: with a border where filters are 3 x 3.
        filters: 12 of them.
        under: a picture [2 height, 2 width, 3] that is added, or None.
        drawn: gets the result; of that shape, or the same array.

    Raises:
        ValueError: arrays of other shapes.
    """
    native = extension()
    (reference if native is None else native).map_draw(source, filters, under, drawn)


def unshuffle(
    picture: F32,
    details: F32 | None,
    mapping: F32,
    share: float,
    lent: float,
    target: FeatureMap,
    richer: F32 | None = None,
) -> FeatureMap:
    """Fill a map with 2 x 2 pixels a place, and return it.

    Args:
        picture: float32 [2 height, 2 width, 3].
        details: of the same shape; None: nothing.
        mapping: float32 [3, 4], a matrix and an offset for the picture's colours.
        share: of the details.
        lent: of that share, how much is added to the colours.
        target: [height, width, 16]; channels are (row, column, twice a colour less 1 or the mean detail).
        richer: gets the colours that the map shows, [2 height, 2 width, 3].

    Raises:
        ValueError: arrays of other shapes.
    """
    native = extension()
    do = reference.map_unshuffle if native is None else native.map_unshuffle
    return target.of_scale(do(picture, details, mapping, share, lent, target, richer))


def moments(source: FeatureMap, step: int = 1) -> tuple[F32, F32]:
    """Return the mean [C] and the covariance [C, C] over every step-th row and column."""
    mean, covariance = np.empty(source.channels, np.float32), np.empty((source.channels,) * 2, np.float32)
    native = extension()
    (reference if native is None else native).map_moments(source, step, mean, covariance)
    return mean, covariance


def store(values: F32, target: FeatureMap, rectify: bool = False) -> FeatureMap:
    """Fill a map with float32 [height, width, channels], negative numbers as 0 where `rectify`, and return it."""
    native = extension()
    do = reference.map_store if native is None else native.map_store
    return target.of_scale(do(np.ascontiguousarray(values), target, rectify))


def recolour(picture: F32, mapping: F32) -> None:
    """Map the colours of a picture [height, width, 3] by a matrix and an offset, [3, 4], and clip them; in place."""
    native = extension()
    (reference if native is None else native).map_recolour(picture, mapping)


def pool(source: FeatureMap, target: FeatureMap) -> FeatureMap:
    """Fill a map of half the height and width with means of 2 x 2 places, and return it."""
    native = extension()
    return target.of_scale((reference if native is None else native).map_pool(source, target))


def spread(source: FeatureMap) -> tuple[F32, F32]:
    """Return the mean and the variance of each channel, [C] each."""
    mean, variance = np.empty(source.channels, np.float32), np.empty(source.channels, np.float32)
    native = extension()
    (reference if native is None else native).map_spread(source, mean, variance)
    return mean, variance


def slope(
    features: FeatureMap,
    above: FeatureMap | None,
    scale: F32,
    shift: F32,
    target: FeatureMap,
    other: FeatureMap | None = None,
    weight: float = 0.0,
) -> FeatureMap:
    """Fill a map with a loss's slope at rectified features, and return it.

    scale * features + shift, plus what comes from the layer above, plus weight * (features - other); 0 where features
    are 0.

    Args:
        features, above, target, other: of one shape; the target may be what is above. That may be half as high and
            wide: each of its places is 2 x 2.
        scale, shift: float32 [C].
        weight: of the difference from `other`.
    """
    native = extension()
    do = reference.map_slope if native is None else native.map_slope
    return target.of_scale(do(features, above, scale, shift, other, weight, target))
