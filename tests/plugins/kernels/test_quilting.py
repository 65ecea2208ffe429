"""Native quilting and its reference agree; weights sum to 1; tiles that lie outside are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_kernels import reference_quilting
from fairlead_kernels.backend import extension
from fairlead_kernels.quilting import nearest, quilt, surroundings
from tests.plugins.kernels.cases import examples


@pytest.mark.skipif(extension() is None, reason="the kernels are not compiled: native quilting is not tested")
@examples(25, seeded=False)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), st.integers(0, 4), st.integers(0, 2**31))
def test_native_is_the_reference(rows: int, columns: int, hop: int, half: int, seed: int) -> None:
    fade, rng = 2 * min(half, hop // 2), np.random.default_rng(seed)
    source = rng.random((hop + fade + 5, hop + fade + 3, 3), np.float32)
    tops, lefts = (rng.integers(0, most + 1, (rows, columns)).astype(np.int32) for most in (5, 3))
    expected = np.empty((rows * hop, columns * hop, 3), np.float32)
    reference_quilting.quilt(source, tops, lefts, hop, fade, expected)
    np.testing.assert_allclose(quilt(source, tops, lefts, hop, fade), expected, atol=1e-5)
    size = rows * hop - seed % hop, columns * hop - seed // hop % hop
    part = quilt(source, tops, lefts, hop, fade, size)
    np.testing.assert_allclose(part, expected[: size[0], : size[1]], atol=1e-5)


def test_neighbouring_tiles_of_a_picture_are_the_picture() -> None:
    picture = np.random.default_rng(1).random((40, 52, 3), np.float32)
    tops, lefts = np.meshgrid(np.arange(3) * 12, np.arange(4) * 12, indexing="ij")
    laid = quilt(picture, tops.astype(np.int32), lefts.astype(np.int32), 12, 4)
    np.testing.assert_allclose(laid, picture[2:38, 2:50], atol=1e-6)


def test_what_is_not_accepted_is_named() -> None:
    source, at = np.zeros((20, 20, 3), np.float32), np.zeros((2, 2), np.int32)
    with pytest.raises(ValueError, match=r"tops from 0 to 9; accepted: 0 to 8"):
        quilt(source, at + np.int32([[0, 0], [0, 9]]), at, 8, 4)
    with pytest.raises(ValueError, match="accepted: an even fade"):
        quilt(source, at, at, 8, 3)
    with pytest.raises(ValueError, match="shapes"):
        quilt(source, at, at[:1], 8, 4)
    with pytest.raises(ValueError, match="size"):
        quilt(source, at, at, 8, 4, (8, 16))


@pytest.mark.skipif(extension() is None, reason="the kernels are not compiled: native choices are not tested")
@examples(25, seeded=False)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 80), st.integers(1, 5), st.integers(0, 2**31))
def test_what_is_nearest_is_the_references(count: int, places: int, size: int, kinds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    patch_kinds = rng.integers(0, min(kinds, places), places).astype(np.int32)
    wanted_kinds = rng.choice(patch_kinds, count)
    # Whole numbers, whose distances are exact: of equal ones the first is taken.
    wanted, patches = (rng.integers(-3, 4, (rows, size)).astype(np.float32) for rows in (count, places))
    expected = np.empty(count, np.int32)
    reference_quilting.nearest(wanted, wanted_kinds, patches, patch_kinds, expected)
    found = nearest(wanted, wanted_kinds, patches, patch_kinds)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(patch_kinds[found], wanted_kinds)


def test_the_nearest_of_its_kind_is_taken(each_isa: str) -> None:
    patches = np.arange(6, dtype=np.float32)[:, None] * np.ones(20, np.float32)
    kinds = np.int32([0, 1, 0, 1, 0, 1])
    assert nearest(patches + 0.1, kinds[::-1], patches, kinds).tolist() == [1, 2, 3, 4, 5, 4]
    with pytest.raises(ValueError):
        nearest(patches, kinds + 1, patches, kinds)
    with pytest.raises(ValueError, match="kinds"):
        nearest(patches, kinds[1:], patches, kinds)


@pytest.mark.skipif(extension() is None, reason="the kernels are not compiled: native surroundings are not tested")
@examples(25, seeded=False)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 3), st.integers(0, 2**31))
def test_surroundings_are_the_references(height: int, width: int, edge: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.random((height, width, 3), np.float32)
    rows, columns = (rng.integers(0, length, 4).astype(np.int32) for length in (height, width))
    size = 3 * (2 * edge + 1) ** 2
    found, expected = (np.zeros((4, 4, size + 2), np.float32) for _ in range(2))
    surroundings(cells, rows, columns, edge, 0.3, found)
    reference_quilting.surroundings(cells, rows, columns, edge, 0.3, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    middle = found[:, :, :size].reshape(4, 4, 2 * edge + 1, 2 * edge + 1, 3)[:, :, edge, edge]
    np.testing.assert_allclose(middle, cells[rows[:, None], columns] * np.float32(0.3), rtol=1e-6)
