"""The networks that ship complete pictures: nearer than the simplest fill, differently when asked, known parts kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is not installed: generators are not tested")

from fairlead_stylization.diversity.generators.completing import BOUND, STRETCH, Completer, is_grey  # noqa: E402
from fairlead_stylization.diversity.generators.filling import membrane, plate  # noqa: E402
from fairlead_stylization.diversity.generators.shipped import shipped_generator  # noqa: E402
from fairlead_stylization.diversity.request import Search  # noqa: E402
from fairlead_stylization.errors import BadCheckpoint, BadPicture, BadSetting  # noqa: E402
from fairlead_stylization.pictures import read_picture  # noqa: E402

F32 = NDArray[np.float32]
SEVERAL = Search(2, BOUND, steps=2, cell=16, stretch=STRETCH, seed=1)


@pytest.fixture(scope="module")
def photograph() -> F32:
    """One that the networks were not trained on."""
    return read_picture(Path(__file__).parent / "held.jpg").pixels


@pytest.fixture(scope="module")
def hole(photograph: F32) -> F32:
    unknown = np.zeros(photograph.shape[:2], np.float32)
    unknown[30:66, 40:60] = unknown[80:88, 10:110] = 1
    return unknown


def luminance(picture: F32) -> F32:
    return picture @ np.array((0.299, 0.587, 0.114), np.float32)


def error(made: F32, real: F32, where: F32) -> float:
    return float(((made - real)[where > 0] ** 2).mean())


def test_a_filled_hole_is_much_nearer_than_the_mean(photograph: F32, hole: F32) -> None:
    made = Completer("inpainting").one(photograph, hole)
    plain = np.broadcast_to(photograph[hole == 0].mean(axis=0), photograph.shape)
    assert error(made, photograph, hole) < 0.6 * error(plain, photograph, hole)
    np.testing.assert_array_equal(made[hole == 0], photograph[hole == 0])


def test_what_a_hole_hides_is_not_looked_at(photograph: F32, hole: F32) -> None:
    hidden = np.where(hole[..., None] > 0, np.float32(0), photograph)
    completer = Completer("inpainting")
    np.testing.assert_array_equal(completer.one(hidden, hole), completer.one(photograph, hole))


def test_colours_are_nearer_than_grey_and_the_luminance_stays(photograph: F32) -> None:
    grey = np.repeat(luminance(photograph)[..., None], 3, axis=2)
    made = Completer("colorization").one(grey)
    assert error(made, photograph, np.ones(grey.shape[:2])) < error(grey, photograph, np.ones(grey.shape[:2]))
    np.testing.assert_allclose(luminance(made), luminance(photograph), atol=2e-3)
    assert not is_grey(made)


def test_colours_are_looked_at_as_hints_only(photograph: F32) -> None:
    grey = np.repeat(luminance(photograph)[..., None], 3, axis=2)
    completer, everywhere = Completer("colorization"), np.ones(grey.shape[:2])
    np.testing.assert_allclose(completer.one(photograph), completer.one(grey), atol=1e-3)
    led = completer.one(photograph, hints=True)
    assert error(led, photograph, everywhere) < 0.7 * error(completer.one(grey), photograph, everywhere)


@pytest.mark.parametrize("kind", ["inpainting", "colorization"])
def test_several_results_differ_and_keep_what_is_known(kind: str, photograph: F32, hole: F32) -> None:
    completer, given = Completer(kind), hole if kind == "inpainting" else None  # type: ignore[arg-type]
    (first, second), report = completer.several(photograph, given, wanted=SEVERAL)
    assert np.abs(first - second).mean() > 1e-3
    assert report["diversity"]["distance"] > 0 and report["kind"] == kind
    for made in (first, second):
        assert made.min() >= 0 and made.max() <= 1
        if given is None:
            np.testing.assert_allclose(luminance(made), luminance(photograph), atol=2e-3)
        else:
            np.testing.assert_array_equal(made[hole == 0], photograph[hole == 0])
    again, _ = completer.several(photograph, given, wanted=SEVERAL)
    np.testing.assert_array_equal(again[0], first)


def test_large_pictures_go_through_smaller_and_keep_their_pixels(photograph: F32, hole: F32) -> None:
    made = Completer("inpainting", most_pixels=64 * 64).one(photograph, hole)
    assert made.shape == photograph.shape
    np.testing.assert_array_equal(made[hole == 0], photograph[hole == 0])
    coloured = Completer("colorization", most_pixels=64 * 64).one(photograph)
    np.testing.assert_allclose(luminance(coloured), luminance(photograph), atol=2e-3)


def test_a_grey_picture_gets_a_grey_fill(photograph: F32, hole: F32) -> None:
    grey = np.repeat(luminance(photograph)[..., None], 3, axis=2)
    assert is_grey(Completer("inpainting").one(grey, hole))


def test_holes_that_cannot_be_are_named(photograph: F32, hole: F32) -> None:
    completer = Completer("inpainting")
    with pytest.raises(BadPicture, match="hole: none; accepted: one"):
        completer.one(photograph)
    with pytest.raises(BadPicture, match="accepted:"):
        completer.one(photograph, hole[1:])
    with pytest.raises(BadSetting, match="nothing is unknown"):
        completer.one(photograph, 0 * hole)
    with pytest.raises(BadSetting, match="nothing is known"):
        completer.one(photograph, np.ones_like(hole))
    with pytest.raises(BadPicture, match="accepted: with inpainting"):
        Completer("colorization").one(photograph, hole)


def test_other_kinds_and_damaged_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="accepted: inpainting, colorization"):
        shipped_generator("drawing")  # type: ignore[arg-type]
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadCheckpoint, match=r"w\.safetensors: cannot be read"):
        Completer("inpainting", tmp_path / "w.safetensors")


@pytest.mark.parametrize("fill", [membrane, plate])
def test_a_slope_goes_on_through_a_narrow_hole(fill: object) -> None:
    ramp = torch.linspace(0.1, 0.9, 40).expand(1, 3, 32, 40)
    mask = torch.zeros(1, 1, 32, 40)
    mask[..., 17:23] = 1
    made = fill(torch.where(mask > 0, torch.zeros(()), ramp), mask)  # type: ignore[operator]
    torch.testing.assert_close(made, ramp, atol=0.03, rtol=0)
