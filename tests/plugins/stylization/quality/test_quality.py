"""Measures: known values, and what makes them rise or fall."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead_stylization.errors import BadPicture
from fairlead_stylization.quality.similarity import high_frequency_energy, structural_similarity
from fairlead_stylization.quality.split import TEST_CONTENTS, TEST_STYLES, is_test, split_pictures


def picture(seed: int, size: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).random((size, size, 3), np.float32)


def test_similarity_is_one_for_the_same_and_as_scikit_image_has_it() -> None:
    one = picture(0)
    assert structural_similarity(one, one) == pytest.approx(1)
    other = np.clip(one + np.random.default_rng(1).normal(0, 0.1, one.shape).astype(np.float32), 0, 1)
    got = structural_similarity(one, other)
    assert got < 0.99
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed: SSIM is not compared")
    wanted = metrics.structural_similarity(
        one, other, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert got == pytest.approx(float(wanted), abs=2e-3)


def test_similarity_refuses_pictures_that_differ_in_size_or_are_too_small() -> None:
    with pytest.raises(BadPicture, match="one shape"):
        structural_similarity(picture(0, 48), picture(0, 40))
    with pytest.raises(BadPicture, match="11 pixels"):
        structural_similarity(picture(0, 8), picture(0, 8))


def test_noise_has_more_fine_detail_than_a_slope() -> None:
    slope = np.repeat(np.linspace(0, 1, 48, dtype=np.float32)[None, :, None], 48, 0).repeat(3, 2)
    assert high_frequency_energy(picture(2)) > 100 * high_frequency_energy(slope)


def test_the_split_is_by_name_wherever_a_copy_lies(tmp_path: Path) -> None:
    assert (len(TEST_CONTENTS), len(TEST_STYLES)) == (4, 3)
    for name in ("wave.jpg", "udnie.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [[path.name for path in paths] for paths in split_pictures(tmp_path)] == [["udnie.jpg"], ["wave.jpg"]]
    assert is_test("/elsewhere/Chelsea.PNG")


def test_a_judge_measures_nothing_between_a_picture_and_itself() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: perceptual measures are not tested")
    from fairlead_stylization.networks.vgg import Vgg19
    from fairlead_stylization.quality.perceptual import Judge

    torch.manual_seed(0)
    judge = Judge(Vgg19("relu3_1", widths=(4, 6, 8, 8, 8)).requires_grad_(False))
    one, turned = picture(3), picture(3)[::-1].copy()
    for measure in (judge.content, judge.style, judge.distance):
        assert measure(one, one) == pytest.approx(0, abs=1e-9)
        assert measure(one, picture(4) ** 3) > 0
    assert judge.style(one, turned) < judge.style(one, picture(4) ** 3)
    assert judge.style(one, judge.look(turned)) == judge.style(one, turned)
    with pytest.raises(BadPicture, match=r"accepted: \[H, W, 3\]"):
        judge.content(one[..., :1], one)
