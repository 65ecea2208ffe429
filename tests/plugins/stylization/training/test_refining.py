"""Training a refiner: seeded, resumable, and pictures come nearer to their styles than they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: training is not tested")

from fairlead_stylization.checkpoints.files import read_tensors  # noqa: E402
from fairlead_stylization.errors import BadSetting  # noqa: E402
from fairlead_stylization.networks.running import drawing_stylizer  # noqa: E402
from fairlead_stylization.networks.vgg import Vgg19  # noqa: E402
from fairlead_stylization.training import refining  # noqa: E402
from fairlead_stylization.training.objective import LossWeights  # noqa: E402
from fairlead_stylization.training.settings import TrainingSettings  # noqa: E402


@pytest.fixture
def settings(paths: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> TrainingSettings:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    small = Vgg19("relu3_1", widths=(4, 6, 8, 8, 8)).requires_grad_(False)
    monkeypatch.setattr(refining, "read_vgg", lambda path: small)
    return TrainingSettings(*paths, steps=4, batch=2, size=64, every=2, warmup=1, losses=LossWeights(0.3, 1.0))


def test_a_run_that_goes_on_has_trained_as_long(settings: TrainingSettings) -> None:
    base = drawing_stylizer("edge", 1)
    steps: list[int] = []
    refining.train_refiner(replace(settings, steps=2), base, lambda step, terms: steps.append(step))
    first = refining.train_refiner(settings, base, lambda step, terms: steps.append(step))
    assert steps == [2, 4]
    assert first.name == "edge-refiner.safetensors"
    # What a run is made for is for others, as far as the process's files are.
    assert first.stat().st_mode == (settings.out / "losses.jsonl").stat().st_mode
    told = [json.loads(line) for line in (settings.out / "losses.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in told] == [2, 4]
    assert all(np.isfinite(list(entry.values())).all() for entry in told)


def test_the_same_seed_gives_the_same_weights(settings: TrainingSettings, tmp_path: Path) -> None:
    base = drawing_stylizer("edge", 1)
    one, other = (
        read_tensors(refining.train_refiner(replace(settings, out=tmp_path / name), base)) for name in ("a", "b")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_judge_that_ends_too_early_is_refused(settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refining, "read_vgg", lambda path: Vgg19("relu2_1", widths=(4, 6, 8, 8, 8)))
    with pytest.raises(BadSetting, match="relu3_1"):
        refining.train_refiner(settings, drawing_stylizer("edge", 1))
