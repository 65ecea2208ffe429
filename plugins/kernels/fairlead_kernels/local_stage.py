"""TSSAT's stages (ACM MM 2023, section 3) on feature maps: statistics of a style, then of its best fitting patches.

Native where compiled; :mod:`fairlead_kernels.reference_local_stage` is the same in NumPy and stands in otherwise. Where
bfloat16 is multiplied natively, patches are compared by it first; all that may be the best by what rounding can have
changed are compared once more in float32, so that the choice is float32's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import feature_maps
from fairlead_kernels import reference_local_stage as reference
from fairlead_kernels.backend import extension
from fairlead_kernels.reference_feature_maps import FeatureMap
from fairlead_kernels.reference_local_stage import EPSILON, PATCH, Patches

__all__ = ["PATCH", "Patches", "patches_of", "restyle", "statistics"]

F32 = NDArray[np.float32]


def statistics(features: FeatureMap) -> F32:
    """Return means, then deviations, of the channels: [2 C]."""
    mean, variance = feature_maps.spread(features)
    return np.concatenate([mean, np.sqrt(variance + np.float32(EPSILON))])


def patches_of(features: FeatureMap, own: F32, matching: int) -> tuple[F32, F32, F32]:
    """Return a style's patches, one at every place.

    Args:
        features: float32, at least 5 high and wide.
        own: their means, then deviations, [2 C].
        matching: channels that are compared, the first ones.

    Returns:
        Filters of unit length, [n, 25 matching], by channel, row and column, and means and deviations, [n, C], of
        patches of features that are normalized.

    Raises:
        ValueError: arrays that do not go together.
    """
    count = (features.height - PATCH + 1) * (features.width - PATCH + 1)
    found = tuple(np.empty((count, size), np.float32) for size in (matching * PATCH**2, *(features.channels,) * 2))
    native = extension()
    (reference if native is None else native).stage_patches(features, own, matching, *found)
    return found


def restyle(features: FeatureMap, own: F32, style: F32, patches: Patches, strength: float, target: FeatureMap) -> None:
    """Fill a map with features as a style has them, negative numbers as 0.

    Args:
        features: of a content, float32.
        own: their means, then deviations, [2 C].
        style: those of the style's features, [2 C].
        patches: the styles'.
        strength: 0 (the features) to 1.
        target: of the features' shape.

    Raises:
        ValueError: arrays that do not go together.
    """
    if min(features.height, features.width) < PATCH:
        feature_maps.store(_globally(features, own, style, strength), target, rectify=True)
        return
    native = extension()
    (reference if native is None else native).stage_restyle(
        features,
        own,
        np.ascontiguousarray(style),
        *(np.ascontiguousarray(part) for part in (patches.filters, patches.means, patches.deviations, patches.weights)),
        patches.matching,
        strength,
        target,
    )


def _globally(features: FeatureMap, own: F32, style: F32, strength: float) -> F32:
    """The first stage alone, which suits features that are smaller than a patch."""
    values = features.read()
    (mean, deviation), (other, spread) = np.split(own, 2), np.split(style, 2)
    stylized = (values - mean) / deviation * spread + other
    return (values + np.float32(strength) * (stylized - values)).astype(np.float32)
