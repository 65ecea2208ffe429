"""Details of a style: what is fine, where it is carried to, and that tiles do not show."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_stylization.transform.details import CELL, HOP, Details, finer

SAME = np.eye(3, 4, dtype=np.float32)


def halves(left: float, right: float, size: int = 96) -> np.ndarray:
    picture = np.full((size, size, 3), left, np.float32)
    picture[:, size // 2 :] = right
    return picture


def grained(picture: np.ndarray, columns: slice, seed: int = 0) -> np.ndarray:
    made = picture.copy()
    made[:, columns] += np.random.default_rng(seed).normal(0, 0.1, made[:, columns].shape).astype(np.float32)
    return made


def test_what_is_fine_is_what_cells_do_not_show() -> None:
    slope = np.linspace(0, 1, 96, dtype=np.float32)[None, :, None] * np.ones((64, 1, 3), np.float32)
    assert np.abs(finer(slope)[:, CELL:-CELL]).max() < 1e-5
    grain = np.random.default_rng(1).normal(0, 0.1, (64, 64, 3)).astype(np.float32)
    assert np.abs(finer(grain)).mean() > 0.9 * np.abs(grain).mean()


def test_details_go_where_the_colours_are_alike() -> None:
    # The style's dark half is grained, its light half is smooth; the content is light on the other side.
    style = grained(halves(0.0, 1.0), slice(0, 48))
    lent = Details.of(style).carried(halves(1.0, 0.0), SAME)
    assert np.abs(lent[:, 60:]).mean() > 5 * np.abs(lent[:, :36]).mean()


def test_a_content_is_compared_under_its_map_of_colours() -> None:
    style = grained(halves(0.2, 0.8), slice(0, 48))
    dark = np.concatenate([SAME[:, :3], np.full((3, 1), -0.6, np.float32)], 1)
    lent = Details.of(style).carried(np.full((96, 96, 3), 0.8, np.float32), dark)
    assert np.abs(lent).mean() > 0.04


def test_a_style_lends_itself_its_own_details() -> None:
    style = np.random.default_rng(2).random((120, 144, 3), np.float32)
    np.testing.assert_allclose(Details.of(style).carried(style, SAME), finer(style), atol=1e-5)


def test_flat_areas_take_neighbouring_places_and_not_one_again_and_again() -> None:
    grain = grained(np.full((144, 144, 3), 0.5, np.float32), slice(None), 3)
    lent = Details.of(grain).carried(np.full((144, 144, 3), 0.5, np.float32), SAME)
    tile = HOP * CELL
    one, *others = (lent[60:72, start : start + 12] for start in range(6, 144 - tile, tile))
    assert all(np.abs(one - other).mean() > 0.02 for other in others)


def test_neighbours_never_take_the_same_place() -> None:
    # One place is the best for all tiles.
    style = grained(np.full((256, 256, 3), 0.9, np.float32), slice(None), 5)
    style[120:136, 120:136] -= 0.8
    lent = Details.of(style.clip(0, 1)).carried(np.full((192, 192, 3), 0.1, np.float32), SAME)
    tile = HOP * CELL
    tiles = [[lent[y + 6 : y + 18, x + 6 : x + 18] for x in range(0, 168, tile)] for y in range(0, 168, tile)]
    for y, x in np.ndindex(6, 6):
        assert np.abs(tiles[y][x] - tiles[y][x + 1]).max() > 0.01
        assert np.abs(tiles[y][x] - tiles[y + 1][x]).max() > 0.01


def test_any_size_is_lent_details_of_its_size() -> None:
    details = Details.of(np.random.default_rng(4).random((40, 40, 3), np.float32))
    for size in ((1, 1), (7, 90), (25, 24), (83, 121)):
        assert details.carried(np.zeros((*size, 3), np.float32), SAME).shape == (*size, 3)


@pytest.mark.parametrize("size", [(100, 131), (24, 200), (7, 9)])
def test_what_a_part_is_lent_is_that_part_of_the_whole(size: tuple[int, int]) -> None:
    random = np.random.default_rng(4)
    details = Details.of(random.random((96, 120, 3), np.float32))
    content = random.integers(0, 256, (*size, 3), np.uint8)
    whole = details.carried(content / np.float32(255), SAME)
    lent = details.lent(content, SAME)
    for top, left in ((0, 0), (size[0] // 3, size[1] // 4), (size[0] - 1, size[1] - 1)):
        for height, width in ((1, 1), (size[0] // 2, size[1] // 2), size):
            at = slice(top, min(size[0], top + height)), slice(left, min(size[1], left + width))
            np.testing.assert_array_equal(lent.inside(at), whole[at])
