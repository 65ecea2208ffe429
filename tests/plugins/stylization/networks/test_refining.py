"""A refiner goes down the slope of its loss, in torch and by the kernels alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fairlead_stylization.errors import BadCheckpoint, BadSetting
from fairlead_stylization.networks.numbers import Numbers
from fairlead_stylization.networks.refining import NativeRefiner, StyleSlope
from fairlead_stylization.networks.running import VARIANTS, WEIGHTS, drawing_stylizer, shipped_slope, shipped_stylizer
from fairlead_stylization.networks.shape import REFINERS
from fairlead_stylization.stylizer import Style
from fairlead_stylization.transform.tiles import Tiling, length

torch = pytest.importorskip("torch", reason="torch is not installed: refiners are not compared with it")


def blocks(seed: int, height: int = 64, width: int = 80) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.random((height // 8, width // 8, 3)), np.ones((8, 8, 1)))
    return (0.8 * coarse + 0.1 + 0.1 * rng.random((height, width, 3))).astype(np.float32)


def tensor(picture: np.ndarray):
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


@pytest.fixture(params=["edge", "quality", "scene"])
def made(request: pytest.FixtureRequest, tmp_path: Path):
    from safetensors.torch import save_file

    from fairlead_stylization.networks.refiner import Refiner

    torch.manual_seed(5)
    refiner = Refiner(REFINERS[request.param]).eval()
    for weights in refiner.weights:
        torch.nn.init.normal_(weights, 0, 0.3)
    path = tmp_path / f"{request.param}-refiner.safetensors"
    save_file(refiner.state_dict(), path)
    return refiner, path, request.param


def test_the_kernels_do_what_torch_does(made) -> None:
    refiner, path, variant = made
    picture, content, style = (blocks(seed) for seed in range(3))
    native = NativeRefiner(path, variant, numbers="floats")
    got, used = native.refine(picture, native.target(style), 0.7, content)
    wanted = refiner(tensor(picture), refiner.target(tensor(style), tensor(content)), torch.tensor([0.7]))
    np.testing.assert_allclose(got, wanted.detach()[0].permute(1, 2, 0).numpy(), atol=2e-5)
    assert len(used) == sum(map(length, native.segments))


@pytest.mark.parametrize("numbers", ["halves", "bytes"])
def test_small_numbers_change_little(made, numbers: Numbers) -> None:
    _, path, variant = made
    picture, content, style = (blocks(seed) for seed in range(3))
    whole, small = (NativeRefiner(path, variant, kind) for kind in ("floats", numbers))
    got, wanted = (one.refine(picture, one.target(style), 1.0, content)[0] for one in (small, whole))
    assert np.abs(got - wanted).mean() < 0.15 * np.abs(wanted - picture).mean()


def test_statistics_come_nearer_to_the_styles(made) -> None:
    _, path, variant = made
    native = NativeRefiner(path, variant)
    picture, content, style = (blocks(seed) for seed in range(3))
    target = native.target(style)
    refined, _ = native.refine(picture, target, 1.0, content)
    assert np.abs(native.target(refined) - target).mean() < 0.9 * np.abs(native.target(picture) - target).mean()
    assert 0 <= refined.min() <= refined.max() <= 1


def test_no_share_changes_nothing(made) -> None:
    _, path, variant = made
    native, picture = NativeRefiner(path, variant), blocks(0)
    np.testing.assert_array_equal(native.refine(picture, native.target(blocks(1)), 0.0, blocks(2))[0], picture)


def test_the_loss_is_torchs(made) -> None:
    refiner, path, variant = made
    picture, style = blocks(0), blocks(1)
    native = NativeRefiner(path, variant, numbers="floats")
    wanted, _ = refiner.loss(refiner.features(tensor(picture)), refiner.target(tensor(style)))
    assert native.loss(picture, native.target(style)) == pytest.approx(float(wanted.detach()[0]), rel=1e-3)


def test_the_slope_is_torchs(made) -> None:
    refiner, path, variant = made
    picture, style, content = (blocks(seed) for seed in range(3))
    native = NativeRefiner(path, variant, numbers="floats")
    pixels = tensor(picture).requires_grad_()
    features = refiner.features(pixels)
    wanted, _ = refiner.loss(features, replace(refiner.target(tensor(style)), content=None))
    away = (features[-1] - refiner.features(tensor(content))[-1]).square().mean()
    (slope,) = torch.autograd.grad(wanted.sum() + 0.3 * away, pixels)
    loss, lost, found = native.slope(picture, native.target(style), content, 0.3)
    assert loss == pytest.approx(float(wanted.detach()[0]), rel=1e-3)
    assert lost == pytest.approx(float(away.detach()), rel=1e-3)
    wanted_slope = slope[0].permute(1, 2, 0).numpy()
    assert np.abs(found - wanted_slope).max() < 0.01 * np.abs(wanted_slope).max()


def test_the_slope_tells_by_how_much_a_picture_comes_nearer() -> None:
    slope = shipped_slope([(blocks(2), 1.0)])
    assert slope is not None
    picture, content = blocks(0)[:61, :79], blocks(1)[:61, :79]
    loss, lost, change = slope.slope(picture, content, 0.0)
    assert loss == pytest.approx(slope.loss(picture))
    assert lost > 0 and slope.slope(content, content, 0.0)[1] == 0
    assert change.shape == picture.shape
    step = 0.05 * loss / float(np.vdot(change, change))
    assert slope.loss((picture - step * change).astype(np.float32)) == pytest.approx(0.95 * loss, rel=0.015)


def test_pictures_of_any_size_come_nearer_to_a_style() -> None:
    style, picture = blocks(2), blocks(0)[:61, :79]
    slope = shipped_slope([(style, 1.0)])
    assert slope is not None
    refined = slope.refined(picture)
    assert refined.shape == picture.shape
    assert slope.loss(refined) < 0.8 * slope.loss(picture)


def test_a_mixture_lies_between_its_styles() -> None:
    one, other = blocks(1), np.full((64, 64, 3), 0.2, np.float32)
    slope = shipped_slope([(one, 1.0), (other, 1.0)])
    assert slope is not None
    alone = [shipped_slope([(picture, 1.0)]) for picture in (one, other)]
    for first, second, own in zip((one, other), (other, one), alone, strict=True):
        assert own is not None
        assert own.loss(first) < slope.loss(first) < own.loss(second)


def test_a_style_without_weight_does_not_count() -> None:
    pair = shipped_slope([(blocks(1), 2.0), (blocks(2), 0.0)])
    alone = shipped_slope([(blocks(1), 1.0)])
    assert pair is not None and alone is not None
    assert pair.loss(blocks(0)) == pytest.approx(alone.loss(blocks(0)), rel=1e-4)


def test_weights_of_no_mixture_are_refused() -> None:
    with pytest.raises(BadSetting, match="not all 0"):
        shipped_slope([(blocks(1), 0.0), (blocks(2), 0.0)])


def test_at_no_strength_pictures_stay(tmp_path: Path) -> None:
    slope = shipped_slope([(blocks(1), 1.0)], strength=0.0)
    assert isinstance(slope, StyleSlope)
    np.testing.assert_array_equal(slope.refined(blocks(0)), blocks(0))
    assert shipped_slope([(blocks(1), 1.0)], folder=tmp_path) is None


def test_weights_of_another_shape_are_refused(made) -> None:
    _, path, variant = made
    other = "quality" if variant == "edge" else "edge"
    with pytest.raises(BadCheckpoint, match=f"accepted for {other}"):
        NativeRefiner(path, other)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if (WEIGHTS / f"{name}-refiner.safetensors").is_file()])
def test_tiles_are_refined_as_the_whole_is(variant: str) -> None:
    content, style = blocks(0, 192, 256), blocks(1)
    apart = []
    for stylizer in (drawing_stylizer(variant, 1), shipped_stylizer(variant, 1)):
        code = Style(stylizer.encode_style(style))
        whole = stylizer.stylize(content, [code])
        stylizer.tiling = replace(Tiling(), tile=128, overlap=48, largest=1, sampled=99)
        apart.append(np.abs(stylizer.stylize(content, [code]) - whole).mean())
    # As near as tiles are drawn.
    assert apart[1] < 1.2 * apart[0]
