"""Native and NumPy local stages agree on every ISA, also where patches hardly differ and are compared in bfloat16."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_kernels import reference_local_stage as reference
from fairlead_kernels.backend import extension, set_threads, threads
from fairlead_kernels.feature_maps import FeatureMap
from fairlead_kernels.local_stage import Patches, patches_of, restyle, statistics
from tests.plugins.kernels.cases import examples

compiled = pytest.mark.skipif(extension() is None, reason="the kernels are not compiled: the stage is not tested")
SIDES = st.integers(5, 23)


def filled(rng: np.random.Generator, height: int, width: int, channels: int = 32) -> FeatureMap:
    made = FeatureMap.zeros(height, width, channels, 0)
    made.inside()[...] = rng.normal(0.5, 2, (height, width, channels))
    return made


def in_numpy(features: FeatureMap, own: np.ndarray, matching: int) -> tuple[np.ndarray, ...]:
    count = (features.height - 4) * (features.width - 4)
    found = tuple(np.empty((count, size), np.float32) for size in (25 * matching, *(features.channels,) * 2))
    reference.stage_patches(features, own, matching, *found)
    return found


@compiled
@examples(25, seeded=False)
@given(SIDES, SIDES, SIDES, st.sampled_from([4, 24, 32]), st.sampled_from([1.0, 0.4]), st.integers(0, 2**31))
def test_native_stages_are_the_reference(
    height: int, width: int, side: int, matching: int, strength: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    content, style = filled(rng, height, width), filled(rng, side, 9)
    own, other = statistics(content), statistics(style)
    patches, expected = patches_of(style, other, matching), in_numpy(style, other, matching)
    for native, plain in zip(patches, expected, strict=True):
        np.testing.assert_allclose(native, plain, atol=2e-5)
    # Two styles, of which the second is the first one's patches in another order.
    stacked = [np.stack([part, part[::-1]]) for part in expected]
    both = Patches(*stacked, np.array([0.7, 0.3], np.float32), matching)
    targets = [FeatureMap.zeros(height, width, 32, 1) for _ in range(2)]
    restyle(content, own, other, both, strength, targets[0])
    arrays = (both.filters, both.means, both.deviations, both.weights)
    reference.stage_restyle(content, own, other, *arrays, matching, strength, targets[1])
    np.testing.assert_allclose(targets[0].read(), targets[1].read(), atol=1e-3)


def test_every_isa_finds_a_patch_among_hardly_different_ones(each_isa: str) -> None:
    rng = np.random.default_rng(1)
    content = filled(rng, 20, 23)
    own = statistics(content)
    normal = (content.read() - own[:32]) / own[32:]
    # Filters that differ from a tile by less than bfloat16 can tell, and the tile itself in their midst.
    tile = normal[9:14, 12:17].transpose(2, 0, 1).ravel()
    filters = tile + np.float32(2e-3) * rng.standard_normal((101, len(tile)), np.float32)
    filters[57] = tile
    filters /= np.linalg.norm(filters, axis=1, keepdims=True)
    means, deviations = np.zeros((1, 101, 32), np.float32), np.zeros((1, 101, 32), np.float32)
    means[0, 57] = 3
    target, style = FeatureMap.zeros(20, 23, 32), np.repeat(np.array([0, 1], np.float32), 32)
    restyle(content, own, style, Patches(filters[None], means, deviations, np.ones(1, np.float32), 32), 1.0, target)
    np.testing.assert_allclose(target.read()[11, 14], 3, atol=1e-4)


def test_features_smaller_than_a_patch_take_the_whole_styles_statistics(each_isa: str) -> None:
    content = filled(np.random.default_rng(2), 4, 9)
    target, style = FeatureMap.zeros(4, 9, 32), np.repeat(np.array([5, 1], np.float32), 32)
    nothing = Patches(*(np.zeros((1, 1, size), np.float32) for size in (800, 32, 32)), np.ones(1, np.float32), 32)
    restyle(content, statistics(content), style, nothing, 1.0, target)
    np.testing.assert_allclose(target.read().mean((0, 1)), 5, atol=0.05)


@compiled
def test_results_do_not_depend_on_threads() -> None:
    rng, found, before = np.random.default_rng(3), [], threads()
    content, style = filled(rng, 40, 33), filled(rng, 15, 12)
    for count in (1, 3):
        set_threads(count)
        own, other = statistics(content), statistics(style)
        patches, target = patches_of(style, other, 24), FeatureMap.zeros(40, 33, 32)
        stacked = (*(part[None] for part in patches), np.ones(1, np.float32))
        restyle(content, own, other, Patches(*stacked, 24), 1.0, target)
        found.append((target.read().copy(), *patches))
    set_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@compiled
def test_what_does_not_go_together_is_refused() -> None:
    content = filled(np.random.default_rng(4), 8, 8)
    own, ones = statistics(content), np.ones(1, np.float32)
    parts = [part[None] for part in patches_of(content, own, 24)]
    with pytest.raises(ValueError, match="of the features' shape"):
        restyle(content, own, own, Patches(*parts, ones, 24), 1.0, FeatureMap.zeros(8, 7, 32))
    with pytest.raises(ValueError, match="of the weights' styles"):
        restyle(content, own, own, Patches(*parts, ones, 23), 1.0, FeatureMap.zeros(8, 8, 32))
    with pytest.raises(ValueError, match="float32"):
        patches_of(FeatureMap.zeros(8, 8, 32, 0, True), own, 24)
