"""`fairlead style-generate`: holes and colours from the networks that ship, errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fairlead_stylization.commands.generate import style_generate
from fairlead_stylization.pictures import Picture, read_picture, write_picture

torch = pytest.importorskip("torch", reason="torch is not installed: networks are not tested")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a picture, a grey one and masks."""
    y, x = np.mgrid[:40, :56].astype(np.float32)
    sky = np.stack([0.3 + y / 100, 0.5 + 0 * y, 0.9 - x / 100], axis=2)
    write_picture(Picture(sky), tmp_path / "photo.png")
    Image.fromarray((2 * np.mgrid[:40, :56][0]).astype(np.uint8), "L").save(tmp_path / "grey.png")
    for name, size in (("mask", (40, 56)), ("small", (20, 20))):
        unknown = np.zeros((*size, 3), np.float32)
        unknown[10:18, 8:16] = 1
        write_picture(Picture(unknown), tmp_path / f"{name}.png")
    write_picture(Picture(np.zeros((40, 56, 3), np.float32)), tmp_path / "none.png")
    write_picture(Picture(np.ones((40, 56, 3), np.float32)), tmp_path / "all.png")
    (tmp_path / "corrupt.png").write_bytes((tmp_path / "photo.png").read_bytes()[:60])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(style_generate, list(words))


def test_a_hole_is_filled(here: Path) -> None:
    result = run("inpainting", "photo.png", "--mask", "mask.png", "-o", "out")
    assert result.exit_code == 0, result.output
    made, real = (read_picture(here / path).pixels for path in ("out/photo.png", "photo.png"))
    known = read_picture(here / "mask.png").pixels[..., 0] == 0
    np.testing.assert_array_equal(made[known], real[known])
    assert np.abs(made - real).max() < 0.1


def test_a_hole_is_filled_with_texture_unless_smoothness_is_wanted(here: Path) -> None:
    grain = np.random.default_rng(0).random((40, 56, 3)).astype(np.float32)
    write_picture(Picture(grain), here / "grain.png")
    hole, rough = read_picture(here / "mask.png").pixels[..., 0] > 0, {}
    for finish in ("textured", "smooth"):
        result = run("inpainting", "grain.png", "--mask", "mask.png", "--finish", finish, "-o", finish)
        assert result.exit_code == 0, result.output
        rough[finish] = read_picture(here / finish / "grain.png").pixels[hole].std()
    assert rough["textured"] > 1.4 * rough["smooth"]


def test_a_grey_picture_is_coloured_in_two_ways(here: Path) -> None:
    result = run("colorization", "grey.png", "--diverse", "2", "-o", "out")
    assert result.exit_code == 0, result.output
    first, second = (read_picture(here / f"out/grey-0{number}.png").pixels for number in (1, 2))
    assert np.abs(first - second).mean() > 1e-3
    np.testing.assert_allclose(first @ (0.299, 0.587, 0.114), second @ (0.299, 0.587, 0.114), atol=0.01)
    told = json.loads((here / "out/grey-diversity.json").read_text())
    assert told["kind"] == "colorization" and told["diversity"]["distance"] > 0


def test_what_may_not_be_expected_is_told(here: Path) -> None:
    assert "its colours are not looked at" in run("colorization", "photo.png").output
    assert "grey, and so is what fills its hole" in run("inpainting", "grey.png", "--mask", "mask.png").output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("inpainting", "photo.png"), "--mask: missing; accepted: a picture that is white"),
        (("colorization", "photo.png", "--mask", "mask.png"), "--mask: with colorization; accepted: with inpainting"),
        (("inpainting", "photo.png", "--mask", "mask.png", "--hints"), "--hints: with inpainting; accepted"),
        (("colorization", "grey.png", "--finish", "smooth"), "--finish: with colorization; accepted: with inpainting"),
        (("inpainting", "photo.png", "--mask", "small.png"), "small.png: 20x20 pixels; accepted: 56x40"),
        (("inpainting", "photo.png", "--mask", "none.png"), "nothing is white"),
        (("inpainting", "photo.png", "--mask", "all.png"), "nothing is known"),
        (("colorization", "grey.png", "-o", "photo.png/out"), "photo.png is no folder; accepted"),
        (("inpainting", "photo.png", "--mask", "corrupt.png"), "corrupt.png"),
        (("colorization", "corrupt.png"), "corrupt.png"),
        (("colorization", "grey.png", "--hints"), "grey.png: grey, with --hints; accepted: a picture with colours"),
        (("colorization", "grey.png", "--weights", "corrupt.png"), "corrupt.png: cannot be read"),
        (("inpainting", "missing.png", "--mask", "mask.png"), "missing.png"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(here: Path, words: tuple[str, ...], told: str) -> None:
    result = run("-o", "out", *words)
    assert result.exit_code not in (0, None) and result.exception is not None
    assert isinstance(result.exception, SystemExit), result.exception
    assert told in result.output.replace("\n", " ")
    assert not list(here.glob("out/*.png"))
