"""Holes go on with what is around them: lines and textures, the same for a seed, in pictures and holes of any shape."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is not installed: generators are not tested")

from fairlead_stylization.diversity.generators.completing import BOUND, STRETCH, Completer  # noqa: E402
from fairlead_stylization.diversity.generators.continuing import UNKNOWN, Continued  # noqa: E402
from fairlead_stylization.diversity.generators.filling import membrane  # noqa: E402
from fairlead_stylization.diversity.request import Search  # noqa: E402
from fairlead_stylization.errors import BadSetting  # noqa: E402

F32 = NDArray[np.float32]


def planes(picture: F32) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]


def smooth(picture: F32, hole: F32) -> torch.Tensor:
    return membrane(planes(picture), torch.from_numpy(hole)[None, None])


def continued(picture: F32, hole: F32, seed: int = 0, disliked: float = 0.0) -> F32:
    """The picture with its hole filled, in two bands."""
    begun, half = smooth(picture, hole), len(hole) // 2
    filling = Continued(picture, hole, begun, seed, disliked)
    bands = (slice(0, half), slice(half, len(hole)))
    made = torch.cat([filling.fill(rows, begun[:, :, rows]) for rows in bands], dim=2)
    return made[0].permute(1, 2, 0).numpy()


def error(made: F32, real: F32, hole: F32) -> float:
    return float(np.sqrt(((made - real)[hole > 0] ** 2).mean()))


def box(height: int, width: int, top: int, left: int, down: int, across: int) -> F32:
    hole = np.zeros((height, width), np.float32)
    hole[top : top + down, left : left + across] = 1
    return hole


def line(height: int = 96, width: int = 120) -> F32:
    """A dark line, aslant, on a light ground with a little grain."""
    y, x = np.mgrid[:height, :width]
    far = np.abs(y - 0.4 * x - 25)
    grain = np.random.default_rng(3).normal(0, 0.01, (height, width))
    light = 0.8 - 0.6 * (far < 3) + grain
    return np.repeat(light[..., None], 3, axis=2).astype(np.float32)


def weave(height: int = 96, width: int = 120) -> F32:
    """A texture that comes again every 12 pixels."""
    tile = np.random.default_rng(4).random((12, 12, 3))
    return np.tile(tile, (height // 12, width // 12, 1)).astype(np.float32)


def test_a_line_goes_on_across_a_hole() -> None:
    picture, hole = line(), box(96, 120, 30, 45, 36, 30)
    made, plain = continued(picture, hole), smooth(picture, hole)[0].permute(1, 2, 0).numpy()
    assert error(made, picture, hole) < 0.6 * error(plain, picture, hole)
    columns = range(45, 75)
    middle = np.array([round(0.4 * column + 25) for column in columns])
    assert np.median(made[middle, columns]) < 0.3 < np.median(plain[middle, columns])


def test_a_texture_is_continued_much_nearer_than_by_a_membrane() -> None:
    picture, hole = weave(), box(96, 120, 30, 40, 30, 35)
    plain = smooth(picture, hole)[0].permute(1, 2, 0).numpy()
    assert error(continued(picture, hole), picture, hole) < 0.3 * error(plain, picture, hole)


def test_what_is_known_stays_and_a_seed_gives_the_same_again() -> None:
    picture, hole = line(), box(96, 120, 20, 40, 50, 30)
    first, again = continued(picture, hole, 5, 2.0), continued(picture, hole, 5, 2.0)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[hole == 0], picture[hole == 0])
    assert np.abs(first - continued(picture, hole, 6, 2.0))[hole > 0].max() > 0


def test_what_a_hole_hides_is_not_looked_at() -> None:
    picture, hole = weave(), box(96, 120, 30, 40, 30, 35)
    hidden = np.where(hole[..., None] > 0, np.float32(0), picture)
    begun = smooth(picture, hole)
    rows = slice(0, 96)
    made = [Continued(one, hole, begun).fill(rows, begun) for one in (picture, hidden)]
    torch.testing.assert_close(*made, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("size", "place"),
    [
        ((96, 120), (0, 0, 40, 30)),
        ((96, 120), (60, 90, 36, 30)),
        ((96, 120), (0, 50, 96, 20)),
        ((96, 120), (3, 3, 92, 116)),
        ((24, 9), (8, 2, 4, 5)),
        ((5, 6), (1, 2, 2, 2)),
        ((1, 40), (0, 10, 1, 5)),
    ],
)
def test_holes_at_borders_of_almost_all_and_in_tiny_pictures(
    size: tuple[int, int], place: tuple[int, int, int, int]
) -> None:
    picture, hole = weave()[: size[0], : size[1]], box(*size, *place)
    made = Completer("inpainting").one(picture, hole)
    assert made.shape == picture.shape and np.isfinite(made).all()
    assert made.min() >= 0 and made.max() <= 1
    np.testing.assert_array_equal(made[hole == 0], picture[hole == 0])


def test_holes_too_large_to_be_looked_at_as_they_are_keep_a_texture() -> None:
    picture = np.tile(weave(), (5, 5, 1))[::1].repeat(2, axis=0).repeat(2, axis=1)
    hole = box(*picture.shape[:2], 200, 300, 240, 240)
    assert hole.sum() > 2 * UNKNOWN
    for content in (picture, (picture * 255 + 0.5).astype(np.uint8)):
        made = Completer("inpainting").one(content, hole)
        steps = np.abs(np.diff(made[200:440, 300:540], axis=0)).mean() / np.abs(np.diff(picture, axis=0)).mean()
        assert 0.7 < steps < 1.3


def test_several_fills_differ_and_each_has_texture() -> None:
    picture, hole = weave(), box(96, 120, 30, 40, 30, 35)
    noisy = (picture + np.random.default_rng(1).normal(0, 0.05, picture.shape)).clip(0, 1).astype(np.float32)
    wanted = Search(2, BOUND, steps=2, cell=16, stretch=STRETCH, seed=1)
    (first, second), report = Completer("inpainting").several(noisy, hole, wanted=wanted)
    assert report["finish"] == "textured"
    assert np.abs(first - second)[hole > 0].mean() > 0.01
    for made in (first, second):
        assert made[hole > 0].std() > 0.7 * noisy.std()


def test_a_smooth_finish_is_the_networks_own_and_others_are_named() -> None:
    picture, hole = weave(), box(96, 120, 30, 40, 30, 35)
    made = Completer("inpainting").one(picture, hole, finish="smooth")
    assert made[hole > 0].std() < 0.5 * picture.std()
    with pytest.raises(BadSetting, match="finish 'rough'; accepted: textured, smooth"):
        Completer("inpainting").one(picture, hole, finish="rough")
