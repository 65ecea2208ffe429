"""`fairlead kv-calibrate`: a file that the engine takes, from what compressing heads really changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="heads are measured in torch")

from fairlead_elastic_serving.arena.formats import K4V2, K32V32  # noqa: E402
from fairlead_elastic_serving.compression import command  # noqa: E402
from fairlead_elastic_serving.compression.by_loss import Calibrating  # noqa: E402
from fairlead_elastic_serving.compression.command import Plan, kv_calibrate  # noqa: E402
from fairlead_elastic_serving.compression.options import Compression  # noqa: E402
from fairlead_elastic_serving.engine.served_model import ServedModel  # noqa: E402
from fairlead_elastic_serving.engine.settings import EngineSettings  # noqa: E402
from fairlead_elastic_serving.errors import ElasticServingError  # noqa: E402
from fairlead_language_model.tokenizer import open_tokenizer  # noqa: E402
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens  # noqa: E402

WHOLE, PRUNED = (0.0, 0.0), (1e9, 1e9)
SHAPE = ["--tokens", "80", "--after", "20", "--samples", "2", "--window", "8"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RandomModel:
    return RandomModel("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def text(model: RandomModel, tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(open_tokenizer(model.directory).decode(some_tokens(400, 3)))
    return path


def served(model: RandomModel) -> ServedModel:
    settings = EngineSettings(page_bytes=1024, sequences=8, step_tokens=32, least_tokens=8, context=100)
    return ServedModel.open(model.directory, 4_000_000, settings)


def test_heads_that_are_kept_whole_change_nothing_and_each_that_is_pruned_does(model: RandomModel) -> None:
    tokens = some_tokens(160, 1)
    opened = served(model)
    calibrating = Calibrating.over(opened, tokens, (K32V32, K4V2), Plan(60, 20, 2, 8))
    assert sum(1 for _ in calibrating.steps([WHOLE, PRUNED])) == calibrating.count([WHOLE, PRUNED])
    whole, pruned = calibrating._found
    np.testing.assert_allclose(whole.loss, 0, atol=1e-6)
    assert (pruned.loss > 1e-5).all() and (pruned.token_bytes < whole.token_bytes / 4).all()
    # With room for half of the heads, those go that lose least.
    found, together = calibrating.choose((whole.token_bytes.mean() + pruned.token_bytes.mean()) / 2 + 0.01)
    gone = found.low > 1
    assert gone.sum() == gone.size / 2 and pruned.loss[gone].max() <= pruned.loss[~gone].min()
    assert together > 0


def test_the_command_writes_what_the_engine_reads(
    model: RandomModel, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "GRID", (WHOLE, (1.0, 0.5), PRUNED))
    path = tmp_path / "alphas.json"
    result = CliRunner().invoke(
        kv_calibrate, [str(model.directory), str(text), "-o", str(path), "--ratio", "3", *SHAPE]
    )
    assert result.exit_code == 0 and "times smaller than 16-bit floats" in result.output
    wanted = Compression(calibration=path)
    settings = EngineSettings(page_bytes=1024, sequences=2, least_tokens=8, compression=wanted)
    ServedModel.open(model.directory, 4_000_000, settings)
    with pytest.raises(ElasticServingError, match="model '"):
        ServedModel.open(RandomModel("qwen3", tmp_path / "other").directory, 4_000_000, settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--after", "75"], "less than --tokens - --window, 72"),
        (["--tokens", "100000"], "--tokens 100000: accepted: up to the model's"),
        (["--high", "K7V7"], "key_bits 7"),
        (["--ratio", "500"], "token_bytes"),
    ],
)
def test_what_cannot_be_is_one_line(
    model: RandomModel, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.setattr(command, "GRID", (PRUNED,))
    arguments = [str(model.directory), str(text), "-o", str(tmp_path / "out.json"), *SHAPE, *options]
    result = CliRunner().invoke(kv_calibrate, arguments)
    assert result.exit_code != 0 and message in result.output, result.output
    assert not (tmp_path / "out.json").exists()


def test_a_short_text_is_said(model: RandomModel, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("a")
    arguments = [str(model.directory), str(tmp_path / "short.txt"), "-o", str(tmp_path / "out.json"), *SHAPE]
    result = CliRunner().invoke(kv_calibrate, arguments)
    assert result.exit_code == 1 and "accepted: at least 80, one sample" in result.output
