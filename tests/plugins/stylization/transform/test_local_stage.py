"""The local stage: the paper's double loop in its plain setting, without seams otherwise; NumPy and torch agree."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_stylization.errors import BadPicture, BadSetting
from fairlead_stylization.transform import numpy_form
from fairlead_stylization.transform.numpy_form import (
    LocalStage,
    double_loop,
    global_transform,
    local_transform,
    moments,
)


def features(channels: int, height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 2, (channels, height, width)).astype(np.float32)


@pytest.mark.parametrize(("content", "style"), [((6, 20, 25), (6, 17, 13)), ((3, 12, 11), (3, 5, 9))])
def test_one_matrix_product_equals_the_papers_double_loop(content: tuple, style: tuple) -> None:
    one, two = features(*content, seed=0), features(*style, seed=1)
    np.testing.assert_allclose(local_transform(one, two), double_loop(one, two), atol=2e-4)


def test_the_global_stage_gives_the_styles_statistics() -> None:
    got = moments(global_transform(features(4, 15, 9, 0), features(4, 8, 8, 1)))
    for ours, theirs in zip(got, moments(features(4, 8, 8, 1)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_tiles_without_seams_change_smoothly() -> None:
    rows, columns = np.mgrid[:40, :40] / 40
    content = np.stack([rows, columns, rows * columns]).astype(np.float32)
    style = features(3, 30, 30, 2)

    def roughness(stage: LocalStage) -> float:
        return float(np.abs(np.diff(local_transform(content, style, stage), 2, axis=2)).max())

    assert roughness(LocalStage()) < 0.5 * roughness(numpy_form.PLAIN)


def test_a_style_on_itself_stays_nearly_itself() -> None:
    style = features(5, 24, 24, 3)
    stage = LocalStage(hop=1, floor=0.0)
    got = numpy_form.global_local_transform(style, style, stage)
    assert np.abs(got - style).mean() < 0.05 * style.std()


@pytest.mark.parametrize("stage", [LocalStage(), LocalStage(hop=5), LocalStage(hop=1)])
def test_numpy_and_torch_agree(stage: LocalStage) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: its form is not compared")
    from fairlead_stylization.transform.torch_form import LocalStyle, normalized
    from fairlead_stylization.transform.torch_form import local_transform as in_torch

    content, style = (numpy_form.normalized(features(6, *size, seed=4)) for size in ((21, 26), (18, 15)))
    local = LocalStyle.of(torch.from_numpy(style)[None])
    got = in_torch(normalized(torch.from_numpy(content)[None]), local, hop=stage.hop)[0].numpy()
    np.testing.assert_allclose(got, local_transform(content, style, stage), atol=5e-4)


def test_a_mixture_of_one_style_twice_is_that_style() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: mixtures are not compared")
    from fairlead_stylization.transform.torch_form import LocalStyle
    from fairlead_stylization.transform.torch_form import local_transform as in_torch

    content, style = torch.from_numpy(features(4, 20, 20, 5))[None], torch.from_numpy(features(4, 16, 16, 6))[None]
    one, twice = LocalStyle.of(style), LocalStyle.of(style.repeat(2, 1, 1, 1))
    twice.weights = torch.tensor([0.3, 0.7])
    torch.testing.assert_close(in_torch(content, twice), in_torch(content, one), atol=1e-4, rtol=1e-4)


def test_what_is_too_small_or_of_other_channels_is_refused() -> None:
    with pytest.raises(BadPicture, match="accepted: the same channels, 5 or more"):
        local_transform(features(3, 4, 9, 0), features(3, 9, 9, 1))
    with pytest.raises(BadPicture, match="same channels"):
        local_transform(features(3, 9, 9, 0), features(2, 9, 9, 1))
    with pytest.raises(BadSetting, match="hop: 6; accepted: 1 to the patch, 5"):
        LocalStage(hop=6)
