"""What repeats every second pixel goes, everything else stays; the native way and its reference agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_kernels import reference_lattice
from fairlead_kernels.backend import extension
from fairlead_kernels.lattice import remove_lattice
from tests.plugins.kernels.cases import examples


def smooth(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    return np.stack([0.3 + 0.4 * rows, 0.7 - 0.4 * columns, 0.5 + 0.2 * rows * columns], 2).astype(np.float32)


@pytest.mark.skipif(extension() is None, reason="the kernels are not compiled: native lattices are not tested")
@examples(30, seeded=False)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9), st.integers(0, 2**31))
def test_native_is_the_reference(height: int, width: int, cell: int, seed: int) -> None:
    picture, like = np.random.default_rng(seed).random((2, 2 * height, 2 * width, 3), np.float32)
    expected = picture.copy()
    reference_lattice.remove_lattice(picture, like, cell, expected, 0)
    margin = seed % (2 * min(height, width))
    inside = np.empty((2 * height - margin, max(1, 2 * width - margin - 1), 3), np.float32)
    remove_lattice(picture, like, cell, inside, margin)
    np.testing.assert_allclose(inside, expected[margin:, margin : margin + inside.shape[1]], atol=1e-5)
    remove_lattice(picture, like, cell)
    np.testing.assert_allclose(picture, expected, atol=1e-5)


def test_a_lattice_goes_and_the_picture_stays() -> None:
    clean = smooth(96, 128)
    phases = np.array([[0.05, -0.02], [-0.04, 0.01]], np.float32)
    picture = clean + np.tile(phases, (48, 64))[..., None]
    remove_lattice(picture, np.full_like(clean, 0.5))
    assert np.abs(picture - clean).max() < 0.005


def test_lines_and_a_lattice_that_was_there_stay() -> None:
    like = np.tile(np.array([[0.2, 0.8], [0.8, 0.2]], np.float32), (32, 32))[..., None].repeat(3, 2)
    picture = like.copy()
    remove_lattice(picture, like)
    np.testing.assert_allclose(picture, like, atol=1e-6)
    line = np.full((64, 64, 3), 0.5, np.float32)
    line[31] = 0.9
    drawn = line.copy()
    remove_lattice(drawn, np.full_like(line, 0.5))
    # A single line is a sixteenth of its cells' rows.
    assert np.abs(drawn - line).max() < 0.03


def test_a_checkerboard_goes_where_it_lies_and_its_surroundings_stay() -> None:
    clean = smooth(96, 128)
    clean[:, :64] = 0.1
    picture, checkers = clean.copy(), np.tile(np.array([[0.1, -0.1], [-0.1, 0.1]], np.float32), (8, 8))[..., None]
    picture[40:56, 48:64] += checkers
    before = np.abs(picture - clean)
    remove_lattice(picture, np.full_like(clean, 0.5))
    left = np.abs(picture - clean)
    assert left[44:52, 52:60].max() < 0.002
    assert (left**2).sum() < 0.4 * (before**2).sum()
    np.testing.assert_allclose(picture[:32], clean[:32], atol=0.005)


def test_strokes_of_two_pixels_along_a_diagonal_stay() -> None:
    rows, columns = np.mgrid[:64, :64]
    picture = np.where((rows - columns) % 16 < 2, 0.9, 0.4).astype(np.float32)[..., None].repeat(3, 2)
    drawn = picture.copy()
    remove_lattice(drawn, np.full_like(picture, 0.5))
    # A fifth of the stroke's contrast.
    assert np.abs(drawn - picture).max() < 0.1


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="even sides"):
        remove_lattice(np.zeros((5, 4, 3), np.float32), np.zeros((5, 4, 3), np.float32))
    with pytest.raises(ValueError, match="cell 0"):
        remove_lattice(np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 3), np.float32), 0)
