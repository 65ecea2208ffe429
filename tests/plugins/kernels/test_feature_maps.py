"""Native kernels of feature maps and their reference agree in both formats and on every ISA; borders stay zeros."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_kernels import feature_maps
from fairlead_kernels import reference_feature_maps as reference
from fairlead_kernels.backend import extension, set_threads, threads
from fairlead_kernels.feature_maps import FeatureMap, Filters, Result
from tests.plugins.kernels.cases import examples

compiled = pytest.mark.skipif(
    extension() is None, reason="the kernels are not compiled: native feature maps are not tested"
)
SIDES = st.integers(1, 21)


def filled(rng: np.random.Generator, height: int, width: int, channels: int, border: int, halves: bool) -> FeatureMap:
    made = FeatureMap.zeros(height, width, channels, border, halves)
    values = rng.standard_normal((height, width, channels), np.float32)
    made.inside()[...] = reference.to_halves(values) if halves else values
    return made


def random_filters(rng: np.random.Generator, outputs: int, side: int, channels: int, halves: bool) -> Filters:
    weights = rng.standard_normal((outputs, side, side, channels), np.float32) / np.float32(side * channels**0.5)
    return Filters.of(weights, rng.standard_normal(outputs).astype(np.float32), halves)


@compiled
@examples(40, seeded=False)
@given(SIDES, SIDES, st.sampled_from([16, 32, 48]), st.sampled_from([16, 48]), st.booleans(), st.integers(0, 2**31))
def test_native_convolutions_are_the_reference(
    height: int, width: int, channels: int, outputs: int, halves: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    side, stride, growth = int(rng.choice([1, 3])), int(rng.integers(1, 4)), int(rng.integers(1, 3))
    source = filled(rng, height * stride - seed % stride, width * stride, channels, 1, halves)
    filters = random_filters(rng, outputs, side, channels, halves)
    size = (height * growth, width * growth, outputs)
    skip = filled(rng, *size, 0, halves) if seed % 2 else None
    native, plain = (
        Result(skip, FeatureMap.zeros(*size, 0), FeatureMap.zeros(*size, 1, halves), growth) for _ in range(2)
    )
    feature_maps.convolve(source, filters, native, stride)
    reference.map_convolve(source, filters, stride, growth, skip, plain.kept, plain.rectified)
    np.testing.assert_allclose(native.kept.read(), plain.kept.read(), atol=1e-4)
    np.testing.assert_allclose(native.rectified.read(), plain.rectified.read(), atol=1e-4, rtol=2**-7)
    # What is around a map is zeros for the convolution that follows.
    inside = np.count_nonzero(native.rectified.inside())
    assert np.count_nonzero(native.rectified.data) == inside


@pytest.mark.parametrize("halves", [False, True])
def test_what_is_added_may_be_what_is_kept(each_isa: str, halves: bool) -> None:
    rng = np.random.default_rng(9)
    source, filters = filled(rng, 5, 19, 16, 1, halves), random_filters(rng, 32, 3, 16, halves)
    whole, rectified = filled(rng, 5, 19, 32, 0, False), FeatureMap.zeros(5, 19, 32)
    before, alone = whole.read().copy(), FeatureMap.zeros(5, 19, 32, 0)
    feature_maps.convolve(source, filters, Result(kept=alone))
    feature_maps.convolve(source, filters, Result(whole, whole, rectified))
    np.testing.assert_allclose(whole.read(), before + alone.read(), atol=1e-5)
    np.testing.assert_allclose(rectified.read(), np.maximum(whole.read(), 0), atol=1e-5)


@pytest.mark.parametrize("halves", [False, True])
def test_every_isa_convolves_as_the_plain_sum_does(each_isa: str, halves: bool) -> None:
    rng = np.random.default_rng(3)
    source, filters = filled(rng, 5, 37, 32, 1, halves), random_filters(rng, 32, 3, 32, halves)
    kept = FeatureMap.zeros(5, 37, 32, 0)
    feature_maps.convolve(source, filters, Result(kept=kept))
    padded, weights = np.pad(source.read(), [(1, 1), (1, 1), (0, 0)]).astype(np.float64), filters.weights()
    expected = sum(
        padded[v : v + 5, u : u + 37] @ weights[:, v, u].T.astype(np.float64) for v in range(3) for u in range(3)
    )
    np.testing.assert_allclose(kept.read(), expected + filters.bias, atol=1e-4)


def bytes_of(rng: np.random.Generator, height: int, width: int, channels: int, zero: int) -> FeatureMap:
    made = FeatureMap.zeros_in_bytes(height, width, channels, 1, 0.02, zero)
    made.inside()[...] = rng.integers(0, 256, (height, width, channels))
    return made


@compiled
@examples(40, seeded=False)
@given(SIDES, SIDES, st.sampled_from([16, 32, 48]), st.sampled_from([16, 48]), st.integers(0, 2**31))
def test_native_convolutions_of_bytes_are_the_reference(
    height: int, width: int, channels: int, outputs: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    side, stride, growth = int(rng.choice([1, 3])), int(rng.integers(1, 4)), int(rng.integers(1, 3))
    source = bytes_of(rng, height * stride - seed % stride, width * stride, channels, int(rng.choice([0, 128])))
    weights = rng.standard_normal((outputs, side, side, channels), np.float32) / np.float32(side * channels**0.5)
    filters = Filters.of_bytes(weights, rng.standard_normal(outputs).astype(np.float32))
    np.testing.assert_allclose(filters.weights(), weights, atol=np.abs(weights).max() / 127)
    size = (height * growth, width * growth, outputs)
    skip = filled(rng, *size, 0, True) if seed % 2 else None
    native, plain = (
        Result(skip, FeatureMap.zeros(*size, 0), FeatureMap.zeros_in_bytes(*size, 1, 0.05), growth) for _ in range(2)
    )
    feature_maps.convolve(source, filters, native, stride)
    reference.map_convolve(source, filters, stride, growth, skip, plain.kept, plain.rectified)
    np.testing.assert_allclose(native.kept.read(), plain.kept.read(), atol=1e-4)
    np.testing.assert_allclose(native.rectified.read(), plain.rectified.read(), atol=0.0501)
    assert (native.rectified.inside() != plain.rectified.inside()).mean() < 0.01
    drawn = [np.empty((2 * height, 2 * width, 3), np.float32) for _ in range(2)]
    if stride == 1 and outputs == 16:
        feature_maps.draw(source, filters, None, drawn[0])
        reference.map_draw(source, filters, None, drawn[1])
        np.testing.assert_allclose(*drawn, atol=1e-4)


@pytest.mark.parametrize("zero", [0, 128])
def test_every_isa_sums_bytes_exactly(each_isa: str, zero: int) -> None:
    rng = np.random.default_rng(4)
    source = bytes_of(rng, 6, 38, 32, zero)
    filters = Filters.of_bytes(rng.standard_normal((32, 3, 3, 32), np.float32), np.zeros(32, np.float32))
    kept = FeatureMap.zeros(6, 38, 32, 0)
    feature_maps.convolve(source, filters, Result(kept=kept))
    padded = np.pad(source.read(), [(1, 1), (1, 1), (0, 0)]).astype(np.float64)
    weights = filters.weights().astype(np.float64)
    expected = sum(padded[v : v + 6, u : u + 38] @ weights[:, v, u].T for v in range(3) for u in range(3))
    np.testing.assert_allclose(kept.read(), expected, atol=1e-3)


@pytest.mark.parametrize("zero", [0, 128])
def test_bytes_hold_what_they_can(each_isa: str, zero: int) -> None:
    values = np.random.default_rng(6).standard_normal((5, 7, 16), np.float32)
    target = FeatureMap.zeros_in_bytes(5, 7, 16, 1, 0.01, zero)
    feature_maps.store(values, target)
    np.testing.assert_allclose(target.read(), values.clip(-0.01 * zero, 0.01 * (255 - zero)), atol=0.00501)
    # What is around a map stands for zeros.
    assert np.count_nonzero(target.data != zero) == np.count_nonzero(target.inside() != zero)


@compiled
@examples(20, seeded=False)
@given(SIDES, SIDES, st.integers(0, 2**31))
def test_passes_over_bytes_are_the_reference(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = bytes_of(rng, 2 * height, 2 * width, 32, 0)
    native, plain = (FeatureMap.zeros_in_bytes(height, width, 32, 1, 0.02) for _ in range(2))
    feature_maps.pool(source, native)
    reference.map_pool(source, plain)
    np.testing.assert_allclose(native.read(), plain.read(), atol=0.0201)
    expected = np.empty(32, np.float32), np.empty(32, np.float32)
    reference.map_spread(source, *expected)
    np.testing.assert_allclose(feature_maps.spread(source), expected, rtol=1e-4, atol=1e-4)
    above = filled(rng, 2 * height, 2 * width, 32, 0, True)
    scale, shift = rng.standard_normal((2, 32), np.float32)
    slopes = [FeatureMap.zeros_in_bytes(2 * height, 2 * width, 32, 1, 0.05, 128) for _ in range(2)]
    feature_maps.slope(source, above, scale, shift, slopes[0])
    reference.map_slope(source, above, scale, shift, None, 0.0, slopes[1])
    np.testing.assert_allclose(slopes[0].read(), slopes[1].read(), atol=0.0501)
    picture = rng.random((4 * height, 4 * width, 3), np.float32)
    seen = [FeatureMap.zeros_in_bytes(2 * height, 2 * width, 16, 1, 2 / 255, 128) for _ in range(2)]
    feature_maps.unshuffle(picture, None, np.eye(3, 4, dtype=np.float32), 0.0, 0.0, seen[0])
    reference.map_unshuffle(picture, None, np.eye(3, 4, dtype=np.float32), 0.0, 0.0, seen[1], None)
    np.testing.assert_allclose(seen[0].read(), seen[1].read(), atol=2.01 / 255)


@compiled
@examples(25, seeded=False)
@given(SIDES, SIDES, st.integers(1, 3), st.booleans(), st.integers(0, 2**31))
def test_native_moments_pictures_and_colours_are_the_reference(
    height: int, width: int, step: int, halves: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    source = filled(rng, height, width, 32, 1, halves)
    expected = np.empty(32, np.float32), np.empty((32, 32), np.float32)
    reference.map_moments(source, step, *expected)
    for native, plain in zip(feature_maps.moments(source, step), expected, strict=True):
        np.testing.assert_allclose(native, plain, atol=1e-5)
    picture, details = rng.random((2, 2 * height, 2 * width, 3), np.float32)
    mapping = rng.standard_normal((3, 4)).astype(np.float32)
    targets = [FeatureMap.zeros(height, width, 16, 1, halves) for _ in range(2)]
    richer, drawn = np.empty_like(picture), np.empty_like(picture)
    lent = details if seed % 3 else None
    feature_maps.unshuffle(picture, lent, mapping, 0.7, 0.5, targets[0], richer)
    reference.map_unshuffle(picture, lent, mapping, 0.7, 0.5, targets[1], drawn)
    np.testing.assert_allclose(richer, drawn, atol=1e-5)
    np.testing.assert_allclose(targets[0].read(), targets[1].read(), atol=1e-5, rtol=2**-7)
    filters = random_filters(rng, 12, 3, 32, halves)
    under = picture.copy() if seed % 2 else None
    reference.map_draw(source, filters, under, drawn)
    # In place of what it is drawn over, where that is given.
    found = np.empty_like(picture) if under is None else under
    feature_maps.draw(source, filters, under, found)
    np.testing.assert_allclose(found, drawn, atol=1e-4)
    reference.map_recolour(drawn, mapping)
    feature_maps.recolour(found, mapping)
    np.testing.assert_allclose(found, drawn, atol=1e-3)


def test_a_map_holds_what_was_stored(each_isa: str) -> None:
    values = np.random.default_rng(0).standard_normal((3, 5, 16), np.float32)
    whole, halves = FeatureMap.zeros(3, 5, 16), FeatureMap.zeros(3, 5, 16, 0, True)
    feature_maps.store(values, whole)
    feature_maps.store(values, halves, rectify=True)
    np.testing.assert_array_equal(whole.read(), values)
    np.testing.assert_allclose(halves.read(), np.maximum(values, 0), rtol=2**-8)


@compiled
def test_results_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(1)
    source, filters = filled(rng, 40, 33, 32, 1, True), random_filters(rng, 32, 3, 32, True)
    found, before = [], threads()
    for count in (1, 3):
        set_threads(count)
        kept = FeatureMap.zeros(40, 33, 32, 0)
        feature_maps.convolve(source, filters, Result(kept=kept))
        found.append((kept.read().copy(), *feature_maps.moments(source)))
    set_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@compiled
def test_what_does_not_go_together_is_refused() -> None:
    rng = np.random.default_rng(2)
    source, filters = filled(rng, 4, 6, 32, 1, False), random_filters(rng, 16, 3, 32, False)
    with pytest.raises(ValueError, match="of the result's shape"):
        feature_maps.convolve(source, filters, Result(kept=FeatureMap.zeros(4, 6, 32)))
    with pytest.raises(ValueError, match="the source's format"):
        feature_maps.convolve(source, random_filters(rng, 16, 3, 32, True), Result(kept=FeatureMap.zeros(4, 6, 16)))
    with pytest.raises(ValueError, match="a border"):
        feature_maps.convolve(filled(rng, 4, 6, 32, 0, False), filters, Result(kept=FeatureMap.zeros(4, 6, 16)))
    with pytest.raises(ValueError, match="multiples of 16"):
        FeatureMap.zeros(4, 6, 12)


@compiled
@examples(30, seeded=False)
@given(SIDES, SIDES, st.sampled_from([16, 48]), st.booleans(), st.integers(0, 2**31))
def test_native_slopes_are_the_reference(height: int, width: int, channels: int, halves: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, above, other = (filled(rng, height, width, channels, border, halves) for border in (1, 0, 1))
    scale, shift = rng.standard_normal((2, channels), np.float32)
    native, plain = (FeatureMap.zeros(height, width, channels, 1, halves) for _ in range(2))
    against = other if seed % 2 else None
    feature_maps.slope(features, above if seed % 3 else None, scale, shift, native, against, 0.3)
    reference.map_slope(features, above if seed % 3 else None, scale, shift, against, 0.3, plain)
    np.testing.assert_allclose(native.read(), plain.read(), atol=1e-4, rtol=2**-7)
    mean, variance = feature_maps.spread(features)
    flat = features.read().reshape(-1, channels).astype(np.float64)
    np.testing.assert_allclose(mean, flat.mean(0), atol=1e-4)
    np.testing.assert_allclose(variance, flat.var(0), atol=1e-4)


@compiled
@examples(20, seeded=False)
@given(SIDES, SIDES, st.integers(0, 2**31))
def test_what_lies_above_may_be_half_as_large(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = filled(rng, 2 * height, 2 * width, 16, 1, True)
    above, whole = filled(rng, height, width, 16, 0, True), FeatureMap.zeros(2 * height, 2 * width, 16, 0, True)
    whole.inside()[...] = above.inside().repeat(2, 0).repeat(2, 1)
    scale, shift = rng.standard_normal((2, 16), np.float32)
    found, expected, plain = (FeatureMap.zeros(2 * height, 2 * width, 16) for _ in range(3))
    feature_maps.slope(features, above, scale, shift, found)
    feature_maps.slope(features, whole, scale, shift, expected)
    reference.map_slope(features, above, scale, shift, None, 0.0, plain)
    np.testing.assert_array_equal(found.read(), expected.read())
    np.testing.assert_allclose(found.read(), plain.read(), atol=1e-5)
    # Bytes get the scale that rows from all over need.
    small = (FeatureMap.zeros_in_bytes(2 * height, 2 * width, 16, 1, zero=128) for _ in range(2))
    rounded = feature_maps.slope(features, above, scale, shift, next(small))
    other = reference.map_slope(features, above, scale, shift, None, 0.0, next(small))
    assert rounded.scale is not None
    np.testing.assert_allclose(rounded.scale, other, rtol=1e-3)
    reach = 127 * rounded.scale
    np.testing.assert_allclose(rounded.read(), expected.read().clip(-reach, reach), atol=1.01 * rounded.scale)


@compiled
@examples(20, seeded=False)
@given(SIDES, SIDES, st.booleans(), st.integers(0, 2**31))
def test_moments_of_what_is_convolved_are_those_before_rounding(
    height: int, width: int, bytes_: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights, bias = rng.standard_normal((48, 3, 3, 16), np.float32) / 12, rng.standard_normal(48).astype(np.float32)
    source = bytes_of(rng, height, width, 16, 128) if bytes_ else filled(rng, height, width, 16, 1, True)
    filters = Filters.of_bytes(weights, bias) if bytes_ else Filters.of(weights, bias, True)
    whole = FeatureMap.zeros(height, width, 48)
    feature_maps.convolve(source, filters, Result(rectified=whole))
    target = FeatureMap.zeros_in_bytes(height, width, 48)
    rectified, mean, variance = feature_maps.convolve_spread(source, filters, target)
    flat = whole.read().reshape(-1, 48).astype(np.float64)
    np.testing.assert_allclose(mean, flat.mean(0), atol=1e-5)
    np.testing.assert_allclose(variance, flat.var(0), atol=1e-4)
    assert rectified.scale is not None
    np.testing.assert_allclose(
        rectified.read(), whole.read().clip(0, 255 * rectified.scale), atol=0.501 * rectified.scale
    )
    plain = [np.empty(48, np.float32) for _ in range(2)]
    scale = reference.map_convolve_spread(source, filters, FeatureMap.zeros_in_bytes(height, width, 48), *plain)
    np.testing.assert_allclose(scale, rectified.scale, rtol=1e-3)
    np.testing.assert_allclose([mean, variance], plain, atol=1e-4)


@compiled
@examples(20, seeded=False)
@given(st.integers(1, 40), st.sampled_from([16, 32, 48]), st.sampled_from([1, 3]), st.integers(0, 2**31))
def test_native_packing_is_the_references(outputs: int, channels: int, side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, bias = rng.standard_normal((outputs, side, side, channels), np.float32), rng.random(outputs, np.float32)
    weights[0] *= seed % 2
    for kind in ("floats", "halves", "bytes"):
        found = feature_maps.packed(weights, bias, kind)
        expected = Filters.of_bytes(weights, bias) if kind == "bytes" else Filters.of(weights, bias, kind == "halves")
        assert np.abs(found.data.astype(np.float64) - expected.data).max() <= (1 if kind == "bytes" else 0)
        np.testing.assert_allclose(found.weights(), expected.weights(), atol=np.abs(weights).max() / 100)
        np.testing.assert_array_equal(found.bias, expected.bias)
        if kind == "bytes":
            np.testing.assert_allclose(found.scales, expected.scales, rtol=1e-6)
            np.testing.assert_allclose(found.sums, expected.sums, atol=2)


def test_mixed_filters_do_what_a_matrix_does_after_them(each_isa: str) -> None:
    rng = np.random.default_rng(8)
    source = filled(rng, 6, 9, 16, 1, False)
    weights, bias = rng.standard_normal((32, 3, 3, 16), np.float32) / 12, rng.standard_normal(32).astype(np.float32)
    matrix, offset = rng.standard_normal((32, 32), np.float32) / 6, rng.standard_normal(32).astype(np.float32)
    first, found = FeatureMap.zeros(6, 9, 32, 0), FeatureMap.zeros(6, 9, 32, 0)
    feature_maps.convolve(source, feature_maps.packed(weights, bias, "floats"), Result(kept=first))
    mixed = feature_maps.mixed(weights, bias, matrix, offset, "floats")
    feature_maps.convolve(source, mixed, Result(kept=found))
    np.testing.assert_allclose(found.read(), first.read() @ matrix.T + offset, atol=1e-4)


@compiled
def test_bytes_without_a_scale_are_not_read() -> None:
    rng = np.random.default_rng(7)
    blank = FeatureMap.zeros_in_bytes(4, 6, 16)
    filters = Filters.of_bytes(rng.standard_normal((16, 3, 3, 16), np.float32), np.zeros(16, np.float32))
    with pytest.raises(ValueError, match="a scale before it is read"):
        feature_maps.convolve(blank, filters, Result(kept=FeatureMap.zeros(4, 6, 16)))
    with pytest.raises(ValueError, match="no scale yet"):
        blank.read()
    with pytest.raises(ValueError, match="the source's format"):
        halves = Filters.of(filters.weights(), filters.bias, True)
        feature_maps.convolve(blank.of_scale(1.0), halves, Result(kept=FeatureMap.zeros(4, 6, 16)))


@compiled
@examples(20, seeded=False)
@given(SIDES, SIDES, st.booleans(), st.integers(0, 2**31))
def test_native_pooling_is_the_reference(height: int, width: int, halves: bool, seed: int) -> None:
    source = filled(np.random.default_rng(seed), 2 * height, 2 * width, 32, 1, halves)
    native, plain = (FeatureMap.zeros(height, width, 32, 1, halves) for _ in range(2))
    feature_maps.pool(source, native)
    reference.map_pool(source, plain)
    np.testing.assert_allclose(native.read(), plain.read(), atol=1e-5, rtol=2**-7)


def test_slopes_end_where_rectifiers_let_nothing_through(each_isa: str) -> None:
    features = FeatureMap.zeros(2, 3, 16)
    features.inside()[0, 0] = 2
    target = FeatureMap.zeros(2, 3, 16)
    feature_maps.slope(features, None, np.full(16, 3, np.float32), np.ones(16, np.float32), target)
    assert target.inside()[0, 0].tolist() == [7] * 16
    assert np.count_nonzero(target.data) == 16
