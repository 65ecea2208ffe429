"""The two stages in NumPy: the reference, and what runs where there is no torch.

Source: TSSAT (ACM MM 2023), sections 3.1 (global statistics, as AdaIN) and 3.2 (local statistics). `double_loop`
follows the text step by step; `local_transform` gives the same from one matrix product, and tiles that do not show
where `hop` is smaller than a patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadPicture, BadSetting

Array = NDArray[np.float32]

PATCH = 5
HOP = 3
EPSILON = 1e-5
FLOOR = 0.1


def moments(features: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each channel of [C, H, W], as [C, 1, 1]."""
    mean = features.mean((1, 2), keepdims=True)
    return mean, np.sqrt(((features - mean) ** 2).mean((1, 2), keepdims=True) + EPSILON)


def normalized(features: Array) -> Array:
    """Zero mean, unit deviation per channel."""
    mean, deviation = moments(features)
    return (features - mean) / deviation


def global_transform(content: Array, style: Array) -> Array:
    """The style's means and deviations for the content's: [C, H, W] of any two sizes."""
    mean, deviation = moments(style)
    return normalized(content) * deviation + mean


def windows(features: Array, patch: int, hop: int) -> Array:
    """All patches of [C, H, W] at every `hop` places: [T, C, patch, patch], by rows."""
    view = np.lib.stride_tricks.sliding_window_view(features, (patch, patch), axis=(1, 2))[:, ::hop, ::hop]
    return view.transpose(1, 2, 0, 3, 4).reshape(-1, features.shape[0], patch, patch)


def best_patches(content: Array, style: Array, patch: int = PATCH, hop: int = PATCH) -> NDArray[np.int64]:
    """For each content tile, the style patch (at every place, of unit length) that correlates best: [T].

    Args:
        content, style: features [C, H, W].
        patch: side of tiles and patches.
        hop: places between tiles.

    Raises:
        BadPicture: features smaller than a patch, or of different channels.
    """
    if content.shape[0] != style.shape[0] or min(*content.shape[1:], *style.shape[1:]) < patch:
        raise BadPicture(
            f"features: {content.shape} and {style.shape}; accepted: the same channels, {patch} or more places a side"
        )
    filters = windows(style, patch, 1).reshape(-1, content.shape[0] * patch * patch)
    filters = filters / np.maximum(np.linalg.norm(filters, axis=1, keepdims=True), EPSILON)
    tiles = windows(content, patch, hop).reshape(-1, filters.shape[1])
    return (tiles @ filters.T).argmax(1)


@dataclass(frozen=True)
class LocalStage:
    """Settings of the local stage.

    Attributes:
        patch: side of tiles and patches.
        hop: places between tiles; the paper's is a patch.
        floor: deviations of tiles are at least this when they are divided by; the paper's is 0.
        seams: tiles keep to themselves, as in the paper; else scale and shift are interpolated between tiles' centres.
    """

    patch: int = PATCH
    hop: int = HOP
    floor: float = FLOOR
    seams: bool = False

    def __post_init__(self) -> None:
        if self.patch < 1 or not 1 <= self.hop <= self.patch:
            raise BadSetting(f"hop: {self.hop}; accepted: 1 to the patch, {self.patch}")
        if self.seams and self.hop != self.patch:
            raise BadSetting(f"hop: {self.hop}; accepted with seams: the patch, {self.patch}")


#: The setting of the paper.
PLAIN = LocalStage(hop=PATCH, floor=0.0, seams=True)


def local_transform(content: Array, style: Array, stage: LocalStage = PLAIN) -> Array:
    """Statistics of each tile's best style patch for its own.

    Args:
        content: features [C, H, W], best after the global stage.
        style: features [C, h, w].
        stage: settings.

    Returns:
        [C, H, W]; where tiles are cut with seams, places beyond the last whole tile stay.
    """
    best = best_patches(content, style, stage.patch, stage.hop)
    mean, deviation = _patch_moments(content, stage.patch, stage.hop)
    style_mean, style_deviation = _patch_moments(style, stage.patch, 1)
    scale = style_deviation[best] / np.maximum(deviation, stage.floor)
    shift = style_mean[best] - scale * mean
    height, width = content.shape[1:]
    rows, columns = ((length - stage.patch) // stage.hop + 1 for length in (height, width))
    grids = [values.T.reshape(-1, rows, columns) for values in (scale, shift)]
    if stage.seams:
        return _with_seams(content, *grids, stage.patch)
    scale, shift = (spread(grid, height, width, stage) for grid in grids)
    return content * scale + shift


def _patch_moments(features: Array, patch: int, hop: int) -> tuple[Array, Array]:
    patches = windows(features, patch, hop)
    mean = patches.mean((2, 3))
    variance = (patches**2).mean((2, 3)) - mean**2
    return mean, np.sqrt(np.maximum(variance, 0) + EPSILON)


def _with_seams(content: Array, scale: Array, shift: Array, patch: int) -> Array:
    rows, columns = (length * patch for length in scale.shape[1:])
    scale, shift = (values.repeat(patch, 1).repeat(patch, 2) for values in (scale, shift))
    result = content.copy()
    result[:, :rows, :columns] = content[:, :rows, :columns] * scale + shift
    return result


def spread(grid: Array, height: int, width: int, stage: LocalStage) -> Array:
    """Coefficients of tiles [C, h, w] -> of places [C, H, W]: linear between centres, constant beyond the outer."""
    for axis, length in ((1, height), (2, width)):
        # The interpolated map starts `(patch - hop) // 2` places before the tiles' centres would have it exactly.
        places = (np.arange(length) - (stage.patch - stage.hop) // 2 + 0.5) / stage.hop - 0.5
        places = places.clip(0, grid.shape[axis] - 1)
        below = np.floor(places).astype(int)
        above = np.minimum(below + 1, grid.shape[axis] - 1)
        part = (places - below).astype(np.float32)
        part = part[:, None] if axis == 1 else part
        grid = grid.take(below, axis) * (1 - part) + grid.take(above, axis) * part
    return grid.astype(np.float32)


def global_local_transform(content: Array, style: Array, stage: LocalStage | None = None) -> Array:
    """Both stages, matched and blended on normalized features, then the style's global statistics: [C, H, W]."""
    mean, deviation = moments(style)
    return local_transform(normalized(content), normalized(style), stage or LocalStage()) * deviation + mean


def double_loop(content: Array, style: Array, patch: int = PATCH) -> Array:
    """The local stage as the paper writes it, tile by tile and patch by patch: what `local_transform` equals."""
    result = content.copy()
    for top in range(0, content.shape[1] - patch + 1, patch):
        for left in range(0, content.shape[2] - patch + 1, patch):
            place = (slice(None), slice(top, top + patch), slice(left, left + patch))
            chosen = _best_by_loop(content[place], style, patch)
            mean, deviation = moments(content[place])
            style_mean, style_deviation = moments(chosen)
            result[place] = (content[place] - mean) / deviation * style_deviation + style_mean
    return result


def _best_by_loop(tile: Array, style: Array, patch: int) -> Array:
    best, found = -np.inf, style[:, :patch, :patch]
    for top in range(style.shape[1] - patch + 1):
        for left in range(style.shape[2] - patch + 1):
            candidate = style[:, top : top + patch, left : left + patch]
            score = float((tile * candidate).sum() / max(float(np.linalg.norm(candidate)), EPSILON))
            if score > best:
                best, found = score, candidate
    return found
