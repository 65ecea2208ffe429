"""TSSAT's local stage in NumPy: the reference of the native way, and what stands in for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_feature_maps as maps
from fairlead_kernels.reference_feature_maps import FeatureMap

F32 = NDArray[np.float32]

#: Sides of squares that are compared, and how far apart those of a content lie.
PATCH = 5
HOP = 3
EPSILON = 1e-5
FLOOR = 0.1


@dataclass(frozen=True)
class Patches:
    """Patches of S styles, mixed by weights.

    Attributes:
        filters: [S, n, D], of unit length, D by channel, row and column.
        means, deviations: [S, n, C].
        weights: [S].
        matching: channels that are compared, the first ones.
    """

    filters: F32
    means: F32
    deviations: F32
    weights: F32
    matching: int


def stage_patches(features: FeatureMap, own: F32, matching: int, filters: F32, means: F32, deviations: F32) -> None:
    """See `fairlead_kernels.local_stage.patches_of`; fills ``filters``, ``means`` and ``deviations``."""
    normal = _normal(features.read(), own)
    filters[...] = _unfolded(normal[..., :matching], 1)
    filters /= np.maximum(np.linalg.norm(filters, axis=1, keepdims=True), EPSILON)
    for filled, found in zip((means, deviations), _patch_moments(normal, 1), strict=True):
        filled[...] = found.reshape(filled.shape)


def stage_restyle(
    features: FeatureMap,
    own: F32,
    style: F32,
    filters: F32,
    means: F32,
    deviations: F32,
    weights: F32,
    matching: int,
    strength: float,
    target: FeatureMap,
) -> None:
    """See `fairlead_kernels.local_stage.restyle`."""
    values = features.read()
    normal = _normal(values, own)
    mean, deviation = np.split(style, 2)
    scale, shift = _coefficients(normal, Patches(filters, means, deviations, weights, matching))
    # One map for both, and the global stage's in it: few passes.
    both = np.concatenate([scale * deviation, shift * deviation + mean], 2)
    grown, channels = _spread(both, features.height, features.width), features.channels
    stylized = normal * grown[..., :channels] + grown[..., channels:]
    if strength < 1:
        stylized = values + np.float32(strength) * (stylized - values)
    maps.map_store(stylized, target, True)


def _normal(features: F32, own: F32) -> F32:
    mean, deviation = np.split(own, 2)
    return (features - mean) / deviation


def _unfolded(features: F32, hop: int) -> F32:
    """Patches [n, C * 25] at every `hop` places."""
    view = np.lib.stride_tricks.sliding_window_view(features, (PATCH, PATCH), (0, 1))[::hop, ::hop]
    return view.reshape(-1, features.shape[2] * PATCH * PATCH).astype(np.float32, copy=False)


def _pooled(features: F32, hop: int) -> F32:
    """Means of patches at every `hop` places, [h, w, C]: of rows, then of columns."""
    rows = features.shape[0] - PATCH + 1
    down = sum(features[i : i + rows : hop] for i in range(PATCH))
    columns = features.shape[1] - PATCH + 1
    return sum(down[:, i : i + columns : hop] for i in range(PATCH)) * np.float32(1 / PATCH**2)


def _patch_moments(normal: F32, hop: int) -> tuple[F32, F32]:
    means = _pooled(normal, hop)
    return means, np.sqrt(np.maximum(_pooled(normal * normal, hop) - means * means, 0) + np.float32(EPSILON))


def _coefficients(normal: F32, patches: Patches) -> tuple[F32, F32]:
    """Scale and shift of each tile, [h, w, C]."""
    means, deviations = _patch_moments(normal, HOP)
    tiles, size = _unfolded(normal[..., : patches.matching], HOP), means.shape
    wanted, spreads = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for index, weight in enumerate(patches.weights):
        best = (tiles @ patches.filters[index].T).argmax(1)
        wanted += weight * patches.means[index][best].reshape(size)
        spreads += weight * patches.deviations[index][best].reshape(size)
    scale = spreads / np.maximum(deviations, FLOOR)
    return scale, wanted - scale * means


def _spread(grid: F32, height: int, width: int) -> F32:
    """Coefficients of tiles [h, w, K] -> of places [H, W, K]: linear between centres, constant beyond the outer."""
    down, across = (_between(length, count) for length, count in zip((height, width), grid.shape, strict=False))
    rows = (down @ grid.reshape(grid.shape[0], -1)).reshape(height, *grid.shape[1:])
    return np.matmul(across, rows)


def _between(length: int, count: int) -> F32:
    """How much of each of `count` tiles a place takes: [length, count]."""
    # As interpolation by HOP gives it, whose map starts one place after the first.
    places = ((np.arange(length) - (PATCH - HOP) // 2 + 0.5) / HOP - 0.5).clip(0, count - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count))).astype(np.float32)
