"""The two stages on features [H, W, C], as native convolutions leave them: same results as the torch form (NumPy).

Source: TSSAT (ACM MM 2023), section 3; see `torch_form` for tiles that do not show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: As in `torch_form`, which needs torch.
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
        matching: channels that are compared, 0 for all.
    """

    filters: Array
    means: Array
    deviations: Array
    weights: Array
    matching: int


def statistics(features: Array) -> Array:
    """Means, then deviations, of the channels of [H, W, C]: [2 C]."""
    flat = features.reshape(-1, features.shape[2])
    mean = flat.mean(0)
    # Over the lesser axis first: long sums in float32 stay exact enough.
    variance = (np.einsum("nc,nc->c", flat - mean, flat - mean) / len(flat)).astype(np.float32)
    return np.concatenate([mean, np.sqrt(variance + EPSILON)])


def patches_of(features: Array, matching: int) -> tuple[Array, Array, Array]:
    """A style's filters [n, D], means and deviations [n, C], from its features [H, W, C]."""
    normal = _normal(features, statistics(features))
    filters = _unfolded(normal[..., : matching or None], 1)
    filters /= np.maximum(np.linalg.norm(filters, axis=1, keepdims=True), EPSILON)
    means, deviations = _patch_moments(normal, 1)
    channels = features.shape[2]
    return filters, means.reshape(-1, channels), deviations.reshape(-1, channels)


def global_local_transform(features: Array, own: Array, style: Array, patches: Patches) -> Array:
    """TSSAT.

    Args:
        features: of the content, [H, W, C].
        own: their means, then deviations, [2 C].
        style: those of the style's features, [2 C].
        patches: the styles'.
    """
    normal = _normal(features, own)
    mean, deviation = np.split(style, 2)
    if min(features.shape[:2]) < PATCH:
        return normal * deviation + mean
    scale, shift = _coefficients(normal, patches)
    height, width = features.shape[:2]
    # One map for both, and the global stage's in it: few passes.
    both = np.concatenate([scale * deviation, shift * deviation + mean], 2)
    grown = _spread(both, height, width)
    channels = features.shape[2]
    return normal * grown[..., :channels] + grown[..., channels:]


def _normal(features: Array, own: Array) -> Array:
    mean, deviation = np.split(own, 2)
    return (features - mean) / deviation


def _unfolded(features: Array, hop: int) -> Array:
    """Patches [n, C * 25] at every `hop` places."""
    view = np.lib.stride_tricks.sliding_window_view(features, (PATCH, PATCH), (0, 1))[::hop, ::hop]
    return view.reshape(-1, features.shape[2] * PATCH * PATCH).astype(np.float32, copy=False)


def _pooled(features: Array, hop: int) -> Array:
    """Means of patches at every `hop` places, [h, w, C]: of rows, then of columns."""
    rows = features.shape[0] - PATCH + 1
    down = sum(features[i : i + rows : hop] for i in range(PATCH))
    columns = features.shape[1] - PATCH + 1
    return sum(down[:, i : i + columns : hop] for i in range(PATCH)) * np.float32(1 / PATCH**2)


def _patch_moments(normal: Array, hop: int) -> tuple[Array, Array]:
    means = _pooled(normal, hop)
    return means, np.sqrt(np.maximum(_pooled(normal * normal, hop) - means * means, 0) + np.float32(EPSILON))


def _coefficients(normal: Array, patches: Patches) -> tuple[Array, Array]:
    """Scale and shift of each tile, [h, w, C]."""
    means, deviations = _patch_moments(normal, HOP)
    tiles, size = _unfolded(normal[..., : patches.matching or None], HOP), means.shape
    wanted, spreads = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for index, weight in enumerate(patches.weights):
        best = (tiles @ patches.filters[index].T).argmax(1)
        wanted += weight * patches.means[index][best].reshape(size)
        spreads += weight * patches.deviations[index][best].reshape(size)
    scale = spreads / np.maximum(deviations, FLOOR)
    return scale, wanted - scale * means


def _spread(grid: Array, height: int, width: int) -> Array:
    """Coefficients of tiles [h, w, K] -> of places [H, W, K]: linear between centres, constant beyond the outer."""
    down, across = (_between(length, count) for length, count in zip((height, width), grid.shape, strict=False))
    rows = (down @ grid.reshape(grid.shape[0], -1)).reshape(height, *grid.shape[1:])
    return np.matmul(across, rows)


def _between(length: int, count: int) -> Array:
    """How much of each of `count` tiles a place takes: [length, count]."""
    # As interpolation by HOP gives it, whose map starts one place after the first.
    places = ((np.arange(length) - (PATCH - HOP) // 2 + 0.5) / HOP - 0.5).clip(0, count - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count))).astype(np.float32)
