"""Tiles cover a picture, blend without seams, and their statistics together are the whole's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fairlead_stylization.transform.tiles import Tiling, pooled, spans


@pytest.mark.parametrize("length", [10, 64, 65, 100, 777, 3840])
def test_spans_cover_a_side_with_overlap(length: int) -> None:
    found = spans(length, 64, 16)
    assert found[0].start == 0
    assert found[-1].stop == length
    assert all(span.stop - span.start == min(64, length) for span in found)
    assert all(later.start <= span.stop - 8 for span, later in pairwise(found))


def test_blending_what_was_cut_gives_it_back() -> None:
    picture = np.random.default_rng(0).random((90, 131, 3)).astype(np.float32)
    tiling = Tiling(tile=48, overlap=16, largest=1)
    np.testing.assert_allclose(tiling.blended(picture.shape, lambda piece: picture[piece]), picture, atol=1e-6)


def test_bands_are_the_whole_from_top_to_bottom() -> None:
    picture = np.random.default_rng(0).random((215, 131, 3)).astype(np.float32)
    tiling = Tiling(tile=48, overlap=16, largest=1)

    def made(piece: tuple[slice, slice]) -> np.ndarray:
        return picture[piece] + np.float32(piece[0].start % 7 / 10)

    total, weights = np.zeros(picture.shape, np.float32), np.zeros((*picture.shape[:2], 1), np.float32)
    for piece in tiling.pieces(picture.shape):
        height, width = (span.stop - span.start for span in piece)
        weight = tiling._ramp(height)[:, None, None] * tiling._ramp(width)[None, :, None]
        total[piece] += made(piece) * weight
        weights[piece] += weight
    bands = list(tiling.bands(picture.shape, made))
    ends = [(rows.start, rows.stop) for rows, _ in bands]
    assert [first for first, _ in ends] == [0, *(last for _, last in ends[:-1])] and ends[-1][1] == 215
    np.testing.assert_array_equal(np.concatenate([band for _, band in bands]), total / weights)


def test_steps_between_tiles_are_spread_over_the_overlap() -> None:
    tiling = Tiling(tile=48, overlap=16, largest=1)
    made = iter(range(100))

    def flat(piece: tuple[slice, slice]) -> np.ndarray:
        return np.full((piece[0].stop - piece[0].start, piece[1].stop - piece[1].start, 1), next(made), np.float32)

    got = tiling.blended((48, 120, 1), flat)
    assert np.abs(np.diff(got, axis=1)).max() < 0.2


def test_statistics_of_tiles_together_are_those_of_the_whole() -> None:
    random = np.random.default_rng(1)
    tiles = [random.normal(random.random(), 1 + random.random(), (5, 400)) for _ in range(4)]
    each = [np.concatenate([tile.mean(1), tile.std(1)])[None].astype(np.float32) for tile in tiles]
    whole = np.concatenate(tiles, 1)
    wanted = np.concatenate([whole.mean(1), whole.std(1)])
    np.testing.assert_allclose(pooled(each, [("deviations", 5)])[0], wanted, rtol=1e-4)


def test_covariances_of_tiles_are_those_of_the_whole() -> None:
    random = np.random.default_rng(1)
    tiles = [random.normal(size, size, (4, 50)) for size in (1, 2, 3)]
    each = [np.concatenate([tile.mean(1), np.cov(tile, bias=True).ravel()])[None].astype(np.float32) for tile in tiles]
    whole = np.concatenate(tiles, 1)
    wanted = np.concatenate([whole.mean(1), np.cov(whole, bias=True).ravel()])
    np.testing.assert_allclose(pooled(each, [("covariances", 4)])[0], wanted, rtol=1e-4, atol=1e-4)
