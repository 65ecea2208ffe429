"""Training: seeded, resumable, loss falls; the test split is never read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is not installed: training is not tested")

from fairlead_stylization.checkpoints.files import read_tensors  # noqa: E402
from fairlead_stylization.errors import BadSetting  # noqa: E402
from fairlead_stylization.networks import shape as networks  # noqa: E402
from fairlead_stylization.training import loop  # noqa: E402
from fairlead_stylization.training.loop import rate_at, train  # noqa: E402
from fairlead_stylization.training.objective import LossWeights, Objective  # noqa: E402
from fairlead_stylization.training.pictures import Sampler, read_folder  # noqa: E402
from fairlead_stylization.training.settings import TrainingSettings  # noqa: E402
from fairlead_stylization.training.textures import textures  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name, seed in (("contents", 0), ("styles", 1)):
        (tmp_path / name).mkdir()
        for index, made in enumerate(textures(3, 96, seed)):
            Image.fromarray(made).save(tmp_path / name / f"{index}.png")
    return tmp_path


@pytest.fixture
def settings(folders: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingSettings:
    """A run of small networks."""
    from fairlead_stylization.networks.vgg import Vgg19

    torch.manual_seed(0)
    small = Vgg19("relu5_1", widths=(4, 6, 8, 8, 8)).requires_grad_(False)
    monkeypatch.setattr(loop, "_objective", lambda settings: Objective(small, None, LossWeights()))
    monkeypatch.setitem(networks.SHAPES, "edge", networks.StudentShape((4, 6, 8), 1, 4))
    return TrainingSettings(
        *(folders / name for name in ("contents", "styles", "vgg", "out")), steps=4, batch=2, size=64, every=2
    )


def test_a_run_that_goes_on_gives_what_a_whole_one_does(settings: TrainingSettings, tmp_path: Path) -> None:
    whole = read_tensors(train(settings))
    parts = replace(settings, out=tmp_path / "parts")
    rates: list[int] = []
    train(replace(parts, steps=2, out=parts.out), lambda step, terms: rates.append(step))
    assert rates == [2]
    resumed = loop.Run(parts)
    assert resumed.resume()
    assert resumed.step == 2
    records = [json.loads(line) for line in (settings.out / "losses.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [2, 4]
    assert set(whole) == set(resumed.student.state_dict())


def test_the_same_seed_gives_the_same_weights(settings: TrainingSettings, tmp_path: Path) -> None:
    one = read_tensors(train(replace(settings, steps=2)))
    two = read_tensors(train(replace(settings, steps=2, out=tmp_path / "again")))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_loss_falls_with_two_workers(settings: TrainingSettings) -> None:
    run = loop.Run(replace(settings, workers=2, rate=5e-3, warmup=1, steps=40))
    # What each batch asks for differs; what the encoder is to see does not.
    losses = [float(run.advance()["distilled"]) for _ in range(20)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_the_test_split_is_not_read(folders: Path) -> None:
    made = folders / "contents" / "0.png"
    for name in ("chelsea.png", "the_scream.jpg", "Tubingen.JPG"):
        Image.open(made).convert("RGB").save(folders / "contents" / name)
    assert len(read_folder(folders / "contents")) == 3
    (folders / "none").mkdir()
    with pytest.raises(BadSetting, match="none has none that training may read"):
        read_folder(folders / "none")


def test_batches_are_squares_in_range(folders: Path) -> None:
    sampler = Sampler.of(folders / "contents", folders / "styles", seed=0)
    for pictures in sampler.batch(3, 64):
        assert pictures.shape == (3, 3, 64, 64)
        assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1


def test_textures_are_seeded_and_differ() -> None:
    one, again = textures(4, 32, 5), textures(4, 32, 5)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], one[3])


def test_the_rate_rises_and_falls(settings: TrainingSettings) -> None:
    rates = [rate_at(step, replace(settings, steps=1000, warmup=100)) for step in (0, 100, 500, 999)]
    assert rates[0] < rates[1] > rates[2] > rates[3]
    assert rates[3] == pytest.approx(settings.rate / 100, rel=0.1)


def test_settings_that_cannot_be_are_refused(settings: TrainingSettings) -> None:
    with pytest.raises(BadSetting, match="variant: 'huge'; accepted: edge, quality"):
        replace(settings, variant="huge")
    with pytest.raises(BadSetting, match="size: 100; accepted: multiples of 8"):
        replace(settings, size=100)


def test_deep_terms_ask_for_the_slim_network(settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    from fairlead_stylization.networks.vgg import Vgg19

    monkeypatch.undo()
    monkeypatch.setattr(loop, "read_vgg", lambda *_: Vgg19("relu3_1", widths=(4, 6, 8)))
    with pytest.raises(BadSetting, match=r"slim: none, and .* ends at relu3_1; accepted: the slim network's file"):
        train(replace(settings, losses=LossWeights(patches=0.5)))


def test_losses_are_read_and_checked() -> None:
    from dataclasses import fields

    from fairlead_stylization.training.command import SHIPPED, read_losses

    assert {field.name for field in fields(LossWeights)} == set(SHIPPED)
    assert read_losses(["style=12.5", "patches=0"]) == {"style": 12.5, "patches": 0.0}
    for word in ("styles=3", "style", "style=-1", "style=nan", "style=much"):
        with pytest.raises(BadSetting, match=f"--loss '{word}'; accepted: "):
            read_losses([word])


def test_the_commands_train_and_export(settings: TrainingSettings, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: the export command is not run")
    from click.testing import CliRunner

    from fairlead_stylization.networks.running import shipped_stylizer, student_file
    from fairlead_stylization.training.command import export_command, train_command

    settings.vgg.write_bytes(b"stands for the network that the fixture gives")
    told = [
        "--contents",
        settings.contents,
        "--styles",
        settings.styles,
        "--vgg",
        settings.vgg,
        "--out",
        tmp_path / "run",
    ]
    told += ["--steps", 1, "--batch", 2, "--size", 64, "--loss", "style=20"]
    for name in ("a.heic", "b.heic"):
        (settings.contents / name).write_bytes(b"a picture, but none that is read")
    got = CliRunner().invoke(train_command, [str(word) for word in told])
    assert got.exit_code == 0, got.output
    assert (
        f"{settings.contents}: passed over: 2 .heic; accepted: .jpg" in got.stderr and got.stderr.count("passed") == 1
    )
    weights = tmp_path / "run" / "weights.safetensors"
    assert weights.stat().st_mode == (tmp_path / "run" / "losses.jsonl").stat().st_mode
    got = CliRunner().invoke(export_command, [str(weights), "--out", str(tmp_path / "graphs")])
    assert got.exit_code == 0, got.output
    graphs = tmp_path / "graphs"
    assert {path.name for path in graphs.iterdir()} == {"edge-style.onnx", "edge-picture.onnx", "edge.safetensors"}
    # What a workload's `weights` names: graphs draw by it (this network is too narrow for kernels), searches find it.
    assert shipped_stylizer("edge", 1, graphs, runtime="onnx").weights_digest
    assert student_file("edge", graphs).is_file()
    got = CliRunner().invoke(export_command, [str(settings.vgg), "--out", str(tmp_path / "graphs")])
    assert got.exit_code == 1
    assert "not a file of tensors" in got.output


def test_a_picture_that_cannot_be_read_is_named_and_hidden_files_are_none(tmp_path: Path) -> None:
    from PIL import Image

    from fairlead_stylization.errors import BadPicture
    from fairlead_stylization.training.pictures import read_folder

    Image.new("RGB", (40, 30)).save(tmp_path / "good.png")
    (tmp_path / "._good.png").write_bytes(b"what a system keeps beside a picture")
    assert len(read_folder(tmp_path)) == 1
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(BadPicture, match=r"bad\.jpg: cannot be decoded"):
        read_folder(tmp_path)
