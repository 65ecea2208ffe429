"""The generators that searches are run on: real ones load, small ones learn, bad files are named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: generators are not tested")

from fairlead_stylization.diversity.features import unit  # noqa: E402
from fairlead_stylization.diversity.generators.colorization import Colorization  # noqa: E402
from fairlead_stylization.diversity.generators.colours import to_rgb, to_ycbcr  # noqa: E402
from fairlead_stylization.diversity.generators.inpainting import Inpainting  # noqa: E402
from fairlead_stylization.diversity.generators.shipped import load_generator, save_generator  # noqa: E402
from fairlead_stylization.diversity.generators.super_resolution import load_super_resolution  # noqa: E402
from fairlead_stylization.diversity.generators.training import GeneratorTraining, holes, train_generator  # noqa: E402
from fairlead_stylization.errors import BadCheckpoint, BadPicture, BadSetting  # noqa: E402
from fairlead_stylization.pictures import Picture, write_picture  # noqa: E402

DATA = os.environ.get("FAIRLEAD_DATA")


def test_colours_go_there_and_back() -> None:
    pictures = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(to_rgb(to_ycbcr(pictures)), pictures, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("file", "factor"), [("fsrcnn/fsrcnn_x2.npz", 2), ("espcn_onnx/espcn_x3_weights.npz", 3)])
def test_real_super_resolution_beats_bicubic(file: str, factor: int) -> None:
    if DATA is None:
        pytest.skip("FAIRLEAD_DATA is not set: real weights are not there")
    from fairlead_stylization.pictures import read_picture

    picture = read_picture(Path(DATA) / "images/content/astronaut.png").pixels[: 64 * factor, 100 : 100 + 64 * factor]
    large = torch.from_numpy(picture).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(large, scale_factor=1 / factor, mode="bicubic", antialias=True).clamp(0, 1)
    made = load_super_resolution(Path(DATA) / "style_models" / file)(small)
    plain = torch.nn.functional.interpolate(small, scale_factor=factor, mode="bicubic").clamp(0, 1)
    assert made.shape == large.shape
    inner = (..., slice(8, -8), slice(8, -8))
    # ESPCN was trained for another way of making pictures small: it is asked to be sharp, not nearer.
    error = ((made - large)[inner] ** 2).mean() / ((plain - large)[inner] ** 2).mean()
    assert error < (1.0 if factor == 2 else 1.3)


def test_files_that_are_not_generators_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(BadCheckpoint, match=r"bad\.npz: cannot be read"):
        load_super_resolution(path)
    np.savez(path, **{"conv1.weight": np.zeros((64, 3, 5, 5), np.float32), "conv1.bias": np.zeros(64, np.float32)})
    with pytest.raises(BadCheckpoint, match=r"conv1\.weight: takes 3 channels; accepted: 1"):
        load_super_resolution(path)
    np.savez(path, f1=np.full((5, 5, 1, 8), np.nan, np.float32))
    with pytest.raises(BadCheckpoint, match="f1: values that are not finite"):
        load_super_resolution(path)


@pytest.mark.parametrize("size", [(33, 47), (16, 16), (1, 5)])
def test_any_size_goes_through_and_what_is_known_stays(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, *size)
    hole = torch.zeros(size)
    hole[:, size[1] // 2 :] = 1
    with torch.no_grad():
        filled = Inpainting()(pictures, hole)
        colours = Colorization()(pictures)
    assert torch.equal(filled[..., : size[1] // 2], pictures[..., : size[1] // 2])
    assert filled.shape == colours.shape == pictures.shape
    with pytest.raises(BadPicture, match="hole"):
        Inpainting()(pictures, torch.zeros(7, 9))


@pytest.mark.parametrize("kind", ["inpainting", "colorization"])
def test_training_learns_repeats_and_is_kept(kind: str, tmp_path: Path) -> None:
    y, x = np.mgrid[:48, :64].astype(np.float32)
    sky = np.stack([0.9 - y / 96, 0.3 + 0 * y, 0.1 + y / 96 + 0 * x], axis=2).astype(np.float32)
    write_picture(Picture(sky), tmp_path / "in" / "sky.png")
    losses: list[float] = []
    wanted = GeneratorTraining(kind, steps=40, batch=2, crop=32, learning_rate=3e-3, seed=1)  # type: ignore[arg-type]
    network = train_generator(tmp_path / "in", wanted, lambda step, loss: losses.append(loss))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    again: list[float] = []
    train_generator(tmp_path / "in", GeneratorTraining(kind, steps=1, batch=2, crop=32, seed=1),  # type: ignore[arg-type]
                    lambda step, loss: again.append(loss))  # fmt: skip
    np.testing.assert_allclose(again[0], losses[0], rtol=1e-5)
    save_generator(network, tmp_path / "w.safetensors")
    loaded = load_generator(tmp_path / "w.safetensors", kind)  # type: ignore[arg-type]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=2e-3, rtol=2e-3)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = Colorization()
    with torch.no_grad():
        network.network.out.bias[0] = float("nan")
    save_generator(network, tmp_path / "w.safetensors")
    with pytest.raises(BadCheckpoint, match=r"network\.out\.bias: values that are not finite"):
        load_generator(tmp_path / "w.safetensors", "colorization")
    with pytest.raises(BadCheckpoint, match=r"missing|shape"):
        load_generator(tmp_path / "w.safetensors", "inpainting")


def test_bad_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="kind 'other'"):
        GeneratorTraining("other")  # type: ignore[arg-type]
    with pytest.raises(BadPicture, match="no picture"):
        train_generator(tmp_path, GeneratorTraining("inpainting"))


def test_holes_cover_a_part() -> None:
    made = holes(16, 64, np.random.default_rng(0))
    share = made.mean(dim=(1, 2, 3))
    assert share.min() > 0.005 and share.max() < 0.6


def test_units_have_length_one() -> None:
    maps = unit([torch.rand(2, 5, 3, 3)])
    torch.testing.assert_close(maps[0].square().sum(dim=1), torch.ones(2, 3, 3), atol=1e-3, rtol=0)
