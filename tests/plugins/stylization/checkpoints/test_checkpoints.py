"""Files of the community load strictly; what is not such a file is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: checkpoints are not tested")

from fairlead_stylization.checkpoints import decoders  # noqa: E402
from fairlead_stylization.checkpoints.decoders import read_decoder  # noqa: E402
from fairlead_stylization.checkpoints.files import read_tensors, write_tensors  # noqa: E402
from fairlead_stylization.checkpoints.microast import read_microast  # noqa: E402
from fairlead_stylization.checkpoints.vgg import places, read_vgg  # noqa: E402
from fairlead_stylization.errors import BadCheckpoint  # noqa: E402
from fairlead_stylization.networks.decoders import TransferNetwork, whitening_colouring  # noqa: E402
from fairlead_stylization.networks.vgg import Vgg19, convolutions  # noqa: E402

DATA = Path(os.environ.get("FAIRLEAD_DATA", "/nonexistent")) / "style_models"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FAIRLEAD_DATA has no style_models: real files are not read")


def test_tensors_are_written_for_whom_other_files_are(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = write_tensors(tmp_path / "new/w.safetensors", {"a": torch.arange(6.0).reshape(2, 3).T})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    assert torch.equal(read_tensors(path)["a"], torch.arange(6.0).reshape(2, 3).T)
    assert [each.name for each in path.parent.iterdir()] == ["w.safetensors"]


def sequence(last: str) -> dict[str, torch.Tensor]:
    """A file in the form of vgg_normalised, with random weights."""
    generator = torch.Generator().manual_seed(0)
    found = {"0.weight": torch.rand(3, 3, 1, 1, generator=generator), "0.bias": torch.zeros(3)}
    for name, inputs, outputs in convolutions(last):
        place = places(last)[name]
        found[f"{place}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * 0.05
        found[f"{place}.bias"] = torch.zeros(outputs)
    return found


def saved(tmp_path: Path, tensors: object, name: str = "file.pth") -> Path:
    torch.save(tensors, tmp_path / name)
    return tmp_path / name


def test_places_are_those_of_the_communitys_sequence() -> None:
    # Convolutions of vgg_normalised to relu4_1, and of AdaIN's decoder from there.
    assert list(places("relu4_1").values()) == [2, 5, 9, 12, 16, 19, 22, 25, 29]
    assert list(decoders.places("relu4_1").values()) == [1, 5, 8, 11, 14, 18, 21, 25, 28]


def test_a_file_of_the_full_networks_form_loads(tmp_path: Path) -> None:
    network = read_vgg(saved(tmp_path, {"state_dict": sequence("relu2_1")}))
    assert network.last == "relu2_1"
    taps = network(torch.rand(1, 3, 24, 24), {"relu1_1", "relu2_1"})
    assert {name: tuple(value.shape) for name, value in taps.items()} == {
        "relu1_1": (1, 64, 24, 24),
        "relu2_1": (1, 128, 12, 12),
    }
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_part_that_is_missing_or_of_another_shape_is_named(tmp_path: Path) -> None:
    tensors = sequence("relu2_1")
    with pytest.raises(BadCheckpoint, match=r"file.pth: 5.bias: not in the file"):
        read_vgg(saved(tmp_path, {name: value for name, value in tensors.items() if name != "5.bias"}))
    with pytest.raises(BadCheckpoint, match=r"5.weight: shape \(64, 3, 3, 3\); accepted: \(64, 64, 3, 3\)"):
        read_vgg(saved(tmp_path, tensors | {"5.weight": tensors["2.weight"]}))
    with pytest.raises(BadCheckpoint, match=r"12.weight: not in the file"):
        read_vgg(saved(tmp_path, tensors), "relu3_1")


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tensors = sequence("relu1_1")
    tensors["2.weight"][0, 0] = float("nan")
    with pytest.raises(BadCheckpoint, match=r"2.weight: holds NaN"):
        read_vgg(saved(tmp_path, tensors))


class Dangerous:
    """Unpickling this would run a command."""

    def __reduce__(self) -> tuple:
        return (os.system, ("exit 1",))


def test_nothing_in_a_file_is_run_and_no_file_is_an_error_by_name(tmp_path: Path) -> None:
    for path in (saved(tmp_path, {"a": Dangerous()}), tmp_path / "none.pth"):
        with pytest.raises(BadCheckpoint, match=path.name):
            read_tensors(path)
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(BadCheckpoint, match=r"text\.pth.*accepted: a torch or safetensors file") as refused:
        read_tensors(tmp_path / "text.pth")
    assert "weights_only" not in str(refused.value), "advice to read it unsafely"
    with pytest.raises(BadCheckpoint, match="accepted: a dictionary of tensors"):
        read_tensors(saved(tmp_path, [1, 2]))


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    other = saved(tmp_path, {"fc.weight": torch.rand(2, 2)})
    with pytest.raises(BadCheckpoint, match="not VGG-19"):
        read_vgg(other)
    with pytest.raises(BadCheckpoint, match="not a decoder"):
        read_decoder(other)
    with pytest.raises(BadCheckpoint, match="no file of content_encoder"):
        read_microast(tmp_path)


def test_wct_gives_the_styles_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    content, style = torch.randn(4, 20, 20, generator=generator), torch.randn(4, 15, 18, generator=generator) * 3
    got = whitening_colouring(content, style).flatten(1)
    assert torch.allclose(torch.cov(got), torch.cov(style.flatten(1)), atol=0.05)


def smooth_picture() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    return torch.stack([rows, columns, (rows * columns * 6).sin() * 0.5 + 0.5])[None]


@needs_data
def test_real_files_of_vgg_and_decoders_reconstruct() -> None:
    picture = smooth_picture()
    for encoder, decoder in (
        ("vgg19_wct/vgg_normalised_conv3_1.pth", "vgg19_wct/feature_invertor_conv3_1.pth"),
        ("collab_distill_16x/e4.pth", "collab_distill_16x/d4.pth"),
    ):
        network = TransferNetwork(read_vgg(DATA / encoder), read_decoder(DATA / decoder))
        got = network(picture, picture)
        assert float((got - picture).square().mean()) < 0.02


@needs_data
def test_real_microast_stylizes() -> None:
    network = read_microast(DATA / "microast")
    assert sum(parameter.numel() for parameter in network.parameters()) == 471_987
    got = network(smooth_picture(), smooth_picture().flip(1))
    assert got.shape == (1, 3, 64, 64)
    assert torch.isfinite(got).all()


def test_full_depth_has_the_papers_channels() -> None:
    assert [outputs for _, _, outputs in convolutions("relu5_1")][-1] == 512
    assert len(list(convolutions("relu5_1"))) == 13
    assert isinstance(Vgg19("relu1_1"), torch.nn.Module)
