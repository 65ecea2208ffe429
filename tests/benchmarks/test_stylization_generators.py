"""The measures of completed pictures say what they should of pictures whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: generators are not compared")

from benchmarks import stylization_generators as bench  # noqa: E402
from fairlead_stylization.diversity.generators.completing import BOUND, Completer  # noqa: E402
from fairlead_stylization.diversity.request import Search  # noqa: E402

PICTURE = np.random.default_rng(0).random((48, 64, 3), np.float32) * 0.5 + 0.25
HOLE = np.zeros((48, 64), np.float32)
HOLE[10:30, 20:40] = 1


def test_lab_has_the_values_of_known_colours() -> None:
    colours = np.array([(1, 1, 1), (0, 0, 0), (1, 0, 0), (0, 0, 1)], np.float32)
    wanted = [(100, 0, 0), (0, 0, 0), (53.24, 80.09, 67.20), (32.30, 79.19, -107.86)]
    np.testing.assert_allclose(bench.lab(colours), wanted, atol=0.02)


def test_one_colour_keeps_the_luminance_and_the_mean() -> None:
    made = bench._one_colour(PICTURE)
    np.testing.assert_allclose(bench._luminance(made), bench._luminance(PICTURE), atol=1e-5)
    np.testing.assert_allclose(made.mean(axis=(0, 1)), PICTURE.mean(axis=(0, 1)), atol=1e-5)


@pytest.mark.parametrize("name", list(bench._fills(Completer("inpainting"))))
def test_fills_keep_what_is_known_and_see_nothing_of_what_is_not(name: str) -> None:
    fill = bench._fills(Completer("inpainting"))[name]
    made, hidden = fill(PICTURE, HOLE), np.where(HOLE[..., None] > 0, np.float32(0), PICTURE)
    np.testing.assert_allclose(made[HOLE == 0], PICTURE[HOLE == 0], atol=1 / 255)
    np.testing.assert_allclose(fill(hidden, HOLE), made, atol=1 / 255)


@pytest.mark.parametrize("kind", ["inpainting", "colorization"])
def test_noise_is_as_strong_as_what_it_is_compared_with(kind: str) -> None:
    completer = Completer(kind)  # type: ignore[arg-type]
    task = completer.task(PICTURE, HOLE if kind == "inpainting" else None)
    wanted = Search(2, BOUND, cell=16, steps=2, seed=1)
    ours, _ = completer.searched(task, wanted)
    noise = bench.as_strong_noise(task, wanted, ours)
    assert bench._norm(ours, task) <= 1.01 * bench._norm(noise, task)
    assert (noise.inputs - task.begun).abs().max() <= BOUND + 1e-6
    if kind == "inpainting":
        assert torch.equal(noise.inputs[..., 0, :], task.begun[..., 0, :].expand(2, -1, -1))
