"""Feature maps and their filters, and in NumPy what the native kernels do with them: reference and stand-in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U16 = NDArray[np.uint16]
U8 = NDArray[np.uint8]

#: Channels come in multiples of this.
GROUP = 16
#: Numbers of a row of filters in bfloat16 come in multiples of this.
RUN = 32
#: Numbers behind a map's last row, for each channel.
SLACK = 104
#: Rows whose numbers a scale of bytes is found by: about so many, none further apart than that; and by how much more
#: than they need it is larger.
LOOKED_AT = 8
FURTHEST = 16
REACH = 1.5


def to_halves(values: F32) -> U16:
    """Round to bfloat16, ties to even; numbers are finite."""
    words = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((words + 0x7FFF + ((words >> 16) & 1)) >> 16).astype(np.uint16)


def to_bytes(values: F32, scale: float, zero: int) -> U8:
    """Round to bytes that stand for scale * (byte - zero), ties to even; what a byte does not hold is its last."""
    scaled = np.asarray(values, np.float32) * np.float32(1 / np.float32(scale)) + np.float32(zero)
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def to_floats(halves: U16) -> F32:
    """Return the float32 numbers of bfloat16."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


@dataclass(frozen=True)
class FeatureMap:
    """Features of a picture.

    Attributes:
        data: float32, uint16 (bfloat16) or uint8, flat: [height + 2 border, width + 2 border, channels], then slack.
        height, width, channels: channels are a multiple of 16.
        border: 0 or 1 pixels of zeros around.
        scale, zero: a byte's number is scale * (byte - zero). Bytes without a scale get one from what fills them: as
            much as a few rows' numbers need, half as much again.
    """

    data: NDArray[Any]
    height: int
    width: int
    channels: int
    border: int
    scale: float | None = 1.0
    zero: int = 0

    @classmethod
    def zeros(cls, height: int, width: int, channels: int, border: int = 1, halves: bool = False) -> FeatureMap:
        """A map of zeros.

        Raises:
            ValueError: channels that are not a multiple of 16, or no pixels.
        """
        held = _held(height, width, channels, border, np.uint16 if halves else np.float32)
        return cls(held, height, width, channels, border)

    @classmethod
    def zeros_in_bytes(
        cls, height: int, width: int, channels: int, border: int = 1, scale: float | None = None, zero: int = 0
    ) -> FeatureMap:
        """A map of zeros in bytes.

        Raises:
            ValueError: as `zeros` does.
        """
        held = _held(height, width, channels, border, np.uint8)
        held[...] = zero
        return cls(held, height, width, channels, border, scale, zero)

    def of_scale(self, scale: float) -> FeatureMap:
        """The same map; where it is bytes, with that scale."""
        if self.data.dtype != np.uint8:
            return self
        return FeatureMap(self.data, self.height, self.width, self.channels, self.border, scale, self.zero)

    @property
    def halves(self) -> bool:
        """Whether numbers are bfloat16."""
        return self.data.dtype == np.uint16

    def inside(self) -> NDArray[Any]:
        """The numbers as they are held, without the border: a view [height, width, channels]."""
        rows, columns = self.height + 2 * self.border, self.width + 2 * self.border
        whole = self.data[: rows * columns * self.channels].reshape(rows, columns, self.channels)
        return whole[self.border : self.border + self.height, self.border : self.border + self.width]

    def read(self) -> F32:
        """The numbers in float32, [height, width, channels]: a view where they are held so."""
        if self.data.dtype == np.uint8:
            if self.scale is None:
                raise ValueError("map: bytes have no scale yet; accepted: maps that something has filled")
            return (self.inside().astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)
        return to_floats(self.inside()) if self.halves else self.inside()


def _held(height: int, width: int, channels: int, border: int, kind: type) -> NDArray[Any]:
    """Memory of a map: zeros."""
    if channels <= 0 or channels % GROUP or height <= 0 or width <= 0:
        raise ValueError(f"map: {height} x {width} x {channels}; accepted: channels in multiples of {GROUP}")
    count, size = (
        (height + 2 * border) * (width + 2 * border) * channels + SLACK * channels + 64,
        np.dtype(kind).itemsize,
    )
    held = np.zeros(count + 64 // size, kind)
    # On a cache line: tiles are loaded by lines.
    start = -held.ctypes.data % 64 // size
    return held[start : start + count]


@dataclass(frozen=True)
class Filters:
    """Filters of a convolution, packed as kernels read them.

    Attributes:
        data: float32 [outputs / 16, side, run, 16] or uint16 [outputs / 16, side, run / 2, 16, 2], flat; a run is a
            row's side * channels numbers, in bfloat16 filled with zeros to a multiple of 32. For bytes int8
            [outputs / 16, side, run / 4, 16, 4].
        bias: float32 [outputs], outputs made a multiple of 16.
        side: 1 or 3.
        channels: of what is convolved.
        scales, sums: for bytes, float32 [outputs]: what a filter's whole numbers are worth, and their sum.
    """

    data: NDArray[Any]
    bias: F32
    side: int
    channels: int
    scales: F32 | None = None
    sums: F32 | None = None

    @classmethod
    def of(cls, weights: F32, bias: F32, halves: bool = False) -> Filters:
        """Pack weights [outputs, side, side, channels] and a bias [outputs]."""
        _, side, _, channels = weights.shape
        run = -(-side * channels // RUN) * RUN if halves else side * channels
        groups = _grouped(weights, run)
        if halves:
            pairs = groups.reshape(*groups.shape[:2], run // 2, 2, GROUP).swapaxes(3, 4)
            data: NDArray[Any] = to_halves(np.ascontiguousarray(pairs)).ravel()
        else:
            data = np.ascontiguousarray(groups).ravel()
        return cls(data, _filled(bias), side, channels)

    @classmethod
    def of_bytes(cls, weights: F32, bias: F32) -> Filters:
        """Pack weights [outputs, side, side, channels], rounded to int8 with a scale a filter, and a bias [outputs]."""
        outputs, side, _, channels = weights.shape
        scales = np.abs(weights).reshape(outputs, -1).max(1) / np.float32(127)
        scales[scales == 0] = 1
        whole = np.rint(weights / scales[:, None, None, None]).astype(np.float32)
        fours = _grouped(whole, side * channels).reshape(-1, side, side * channels // 4, 4, GROUP).swapaxes(3, 4)
        data = np.ascontiguousarray(fours).astype(np.int8).ravel()
        return cls(data, _filled(bias), side, channels, _filled(scales), _filled(whole.sum((1, 2, 3))))

    def weights(self) -> F32:
        """Return what was packed, [outputs, side, side, channels], rounded as it is held."""
        count = len(self.bias) // GROUP
        if self.data.dtype == np.uint16:
            pairs = to_floats(self.data).reshape(count, self.side, -1, GROUP, 2)
            groups = pairs.swapaxes(3, 4).reshape(count, self.side, -1, GROUP)
        elif self.scales is not None:
            fours = self.data.astype(np.float32).reshape(count, self.side, -1, GROUP, 4)
            scaled = fours * self.scales.reshape(count, 1, 1, GROUP, 1)
            groups = scaled.swapaxes(3, 4).reshape(count, self.side, -1, GROUP)
        else:
            groups = self.data.reshape(count, self.side, -1, GROUP)
        rows = groups.transpose(0, 3, 1, 2)[..., : self.side * self.channels]
        return rows.reshape(len(self.bias), self.side, self.side, self.channels)


def _grouped(weights: F32, run: int) -> F32:
    """Weights [outputs, side, side, channels] -> [outputs / 16, side, run, 16]; runs are filled with zeros."""
    outputs, side, _, channels = weights.shape
    rows = np.zeros((-(-outputs // GROUP) * GROUP, side, run), np.float32)
    rows[:outputs, :, : side * channels] = weights.reshape(outputs, side, -1)
    return rows.reshape(-1, GROUP, side, run).transpose(0, 2, 3, 1)


def _filled(values: F32) -> F32:
    """[outputs] -> as many as make whole groups."""
    whole = np.zeros(-(-len(values) // GROUP) * GROUP, np.float32)
    whole[: len(values)] = values
    return whole


def _fill(target: FeatureMap, values: F32, reach: float | None = None) -> float:
    """Fill a map; bytes without a scale by what numbers reach, or as far as a few rows' do. Returns the scale."""
    if target.data.dtype != np.uint8:
        target.inside()[...] = to_halves(values) if target.halves else values
        return 1.0
    scale = target.scale
    if scale is None:
        most = min(target.zero, 255 - target.zero) or 255
        scale = max(REACH * _looked_at(values) if reach is None else reach, 1e-20) / most
    target.inside()[...] = to_bytes(values, scale, target.zero)
    return float(scale)


def _looked_at(values: F32) -> float:
    """The largest number of a few rows."""
    apart = min(max(len(values) // LOOKED_AT, 1), FURTHEST)
    return float(np.abs(values[apart // 2 :: apart]).max())


def _convolved(source: FeatureMap, filters: Filters, stride: int) -> F32:
    values, edge = source.read(), filters.side // 2
    padded = np.pad(values, [(edge, edge), (edge, edge), (0, 0)])
    patches = np.lib.stride_tricks.sliding_window_view(padded, (filters.side, filters.side), (0, 1))
    return np.einsum("yxcuv,ouvc->yxo", patches[::stride, ::stride], filters.weights(), optimize=True) + filters.bias


def map_convolve(
    source: FeatureMap,
    filters: Filters,
    stride: int,
    growth: int,
    skip: FeatureMap | None,
    kept: FeatureMap | None,
    rectified: FeatureMap | None,
) -> float:
    """See `fairlead_kernels.feature_maps.convolve`."""
    found = _convolved(source, filters, stride)
    result = found.repeat(growth, 0).repeat(growth, 1)
    if skip is not None:
        result = result + skip.read()
    if kept is not None:
        _fill(kept, result)
    if rectified is None:
        return 0.0
    positive = np.maximum(result, 0)
    rows = positive.reshape(len(found), -1)
    return _fill(rectified, positive, REACH * _looked_at(rows))


def map_convolve_spread(source: FeatureMap, filters: Filters, rectified: FeatureMap, mean: F32, variance: F32) -> float:
    """See `fairlead_kernels.feature_maps.convolve_spread`; fills ``rectified``, ``mean`` and ``variance``."""
    positive = np.maximum(_convolved(source, filters, 1), 0)
    flat = positive.reshape(-1, positive.shape[2]).astype(np.float64)
    mean[...], variance[...] = flat.mean(0), flat.var(0)
    return _fill(rectified, positive)


def map_draw(source: FeatureMap, filters: Filters, under: F32 | None, drawn: F32) -> None:
    """See `fairlead_kernels.feature_maps.draw`; fills ``drawn``."""
    blocks = _convolved(source, filters, 1)[..., :12].reshape(source.height, source.width, 2, 2, 3)
    found = blocks.transpose(0, 2, 1, 3, 4).reshape(drawn.shape)
    drawn[...] = found if under is None else under + found


def map_unshuffle(
    picture: F32,
    details: F32 | None,
    mapping: F32,
    share: float,
    lent: float,
    target: FeatureMap,
    richer: F32 | None,
) -> float:
    """See `fairlead_kernels.feature_maps.unshuffle`; fills ``target`` and ``richer``."""
    details = np.zeros_like(picture) if details is None else details
    colours = picture @ mapping[:, :3].T + mapping[:, 3] + share * lent * details
    seen = np.concatenate([2 * colours - 1, share * details.mean(2, keepdims=True)], 2)
    if richer is not None:
        richer[...] = colours
    blocks = seen.reshape(target.height, 2, target.width, 2, 4).transpose(0, 2, 1, 3, 4)
    return _fill(target, blocks.reshape(target.height, target.width, GROUP))


def map_moments(source: FeatureMap, step: int, mean: F32, covariance: F32) -> None:
    """See `fairlead_kernels.feature_maps.moments`; fills ``mean`` and ``covariance``."""
    flat = source.read()[::step, ::step].reshape(-1, source.channels).astype(np.float64)
    mean[...] = flat.mean(0)
    covariance[...] = np.cov(flat.T, bias=True)


def map_store(values: F32, target: FeatureMap, rectify: bool) -> float:
    """See `fairlead_kernels.feature_maps.store`."""
    return _fill(target, np.maximum(values, 0) if rectify else values, float(np.abs(values).max()))


def map_recolour(picture: F32, mapping: F32) -> None:
    """See `fairlead_kernels.feature_maps.recolour`."""
    picture[...] = (picture @ mapping[:, :3].T + mapping[:, 3]).clip(0, 1)


def map_pool(source: FeatureMap, target: FeatureMap) -> float:
    """See `fairlead_kernels.feature_maps.pool`."""
    blocks = source.read().reshape(target.height, 2, target.width, 2, target.channels)
    to = target if target.scale is not None else replace(target, scale=source.scale)
    return _fill(to, blocks.mean((1, 3)))


def map_spread(source: FeatureMap, mean: F32, variance: F32) -> None:
    """See `fairlead_kernels.feature_maps.spread`; fills ``mean`` and ``variance``."""
    flat = source.read().reshape(-1, source.channels).astype(np.float64)
    mean[...], variance[...] = flat.mean(0), flat.var(0)


def map_slope(
    features: FeatureMap,
    above: FeatureMap | None,
    scale: F32,
    shift: F32,
    other: FeatureMap | None,
    weight: float,
    target: FeatureMap,
) -> float:
    """See `fairlead_kernels.feature_maps.slope`."""
    values = features.read()
    found = scale * values + shift
    if above is not None:
        grown = features.height // above.height
        found = found + above.read().repeat(grown, 0).repeat(grown, 1)
    if other is not None:
        found = found + np.float32(weight) * (values - other.read())
    return _fill(target, np.where(values > 0, found, np.float32(0)))
