"""Training the slope of scenes: seeded, it goes on, and what it learns is to see what VGG-19 sees."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed: training is not tested")

from fairlead_stylization.checkpoints.files import read_tensors  # noqa: E402
from fairlead_stylization.networks.refiner import Refiner  # noqa: E402
from fairlead_stylization.networks.refining import NativeRefiner  # noqa: E402
from fairlead_stylization.networks.running import shipped_stylizer  # noqa: E402
from fairlead_stylization.networks.shape import RefinerShape  # noqa: E402
from fairlead_stylization.networks.vgg import Vgg19  # noqa: E402
from fairlead_stylization.training import refining, seeing  # noqa: E402
from fairlead_stylization.training.settings import TrainingSettings  # noqa: E402
from fairlead_stylization.training.slope_command import slope_command  # noqa: E402


@pytest.fixture
def settings(paths: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> TrainingSettings:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    small = Vgg19("relu3_1", widths=(4, 6, 256, 8, 8)).requires_grad_(False)
    monkeypatch.setattr(refining, "read_vgg", lambda path: small)
    return TrainingSettings(*paths, steps=4, batch=2, size=64, every=2, warmup=1)


def test_a_run_goes_on_and_its_weights_are_what_scenes_are_refined_by(settings: TrainingSettings) -> None:
    base = shipped_stylizer("edge", 1)
    told: list[int] = []
    refining.train_refiner(replace(settings, steps=2), base, lambda step, terms: told.append(step), seeing.SlopeRun)
    made = refining.train_refiner(settings, base, lambda step, terms: told.append(step), seeing.SlopeRun)
    assert told == [2, 4]
    assert made.name == "scene-refiner.safetensors"
    entries = [json.loads(line) for line in (settings.out / "losses.jsonl").read_text().splitlines()]
    assert all(np.isfinite(list(entry.values())).all() for entry in entries)
    picture = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    native = NativeRefiner(made, "scene")
    assert native.loss(picture, native.target(picture[::-1].copy())) > 0


def test_the_same_seed_gives_the_same_weights(settings: TrainingSettings, tmp_path: Path) -> None:
    base = shipped_stylizer("edge", 1)
    one, other = (
        read_tensors(refining.train_refiner(replace(settings, out=tmp_path / name), base, kind=seeing.SlopeRun))
        for name in ("a", "b")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("option", "value", "said"), [("contents", "empty", "has none"), ("size", "65", "multiples of 8")]
)
def test_the_command_names_what_is_wrong(
    paths: tuple[Path, ...], tmp_path: Path, option: str, value: str, said: str
) -> None:
    contents, styles, vgg, out = paths
    (tmp_path / "empty").mkdir()
    vgg.write_bytes(b"not read")
    given = {"contents": str(contents), "styles": str(styles), "vgg": str(vgg), "out": str(out), "size": "64"}
    given[option] = str(tmp_path / value) if option == "contents" else value
    words = [word for name, text in given.items() for word in (f"--{name}", text)]
    result = CliRunner().invoke(slope_command, words)
    assert result.exit_code == 1
    assert said in result.output
    assert not out.exists()


def test_more_of_the_features_is_seen_after_some_steps(settings: TrainingSettings) -> None:
    run = seeing.SlopeRun(replace(settings, steps=60, batch=2), shipped_stylizer("edge", 1))
    unseen = [run.advance()["relu3_1"] for _ in range(40)]
    assert np.mean(unseen[-5:]) < 0.8 * np.mean(unseen[:5])


def test_pictures_that_went_on_survive_resampling_with_their_detail() -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    refiner = Refiner(RefinerShape((16, 16, 16, 16)))
    pictures, style = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    made = seeing.followed(refiner, pictures, style, random)

    def lost(picture: torch.Tensor) -> float:
        unsteady = seeing._unsteady(picture, np.random.default_rng(1))
        return float(unsteady.square().mean() / seeing._energy(picture).mean())

    assert lost(made) < 0.8 * lost(pictures)
    assert float(seeing._energy(made).mean() / seeing._energy(pictures).mean()) == pytest.approx(1, abs=0.35)
    assert not any(weight.grad is not None for weight in refiner.parameters())


@pytest.mark.parametrize("seed", range(8))
def test_varied_pictures_are_pictures(seed: int) -> None:
    pictures = torch.rand(2, 3, 64, 64)
    made = seeing.varied(pictures, np.random.default_rng(seed))
    assert made.shape == pictures.shape
    assert float(made.min()) >= 0 and float(made.max()) <= 1
    assert not torch.equal(made, pictures)
