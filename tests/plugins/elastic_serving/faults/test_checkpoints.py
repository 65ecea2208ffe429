"""Checkpoints that are damaged, or are not what their config says: one error that names the file and the part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fairlead_agent.plugin import Budget
from fairlead_elastic_serving.engine.engine import Engine
from fairlead_elastic_serving.errors import ModelUnsupported
from fairlead_elastic_serving.opening import open_within
from fairlead_elastic_serving.settings import read_settings
from fairlead_language_model.errors import LanguageModelError
from fairlead_language_model.serving import Failure
from tests.plugins.elastic_serving.engine.conftest import open_model
from tests.plugins.elastic_serving.engine.serving import WAIT_S, request, run
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens

Change = Callable[[Path], object]
REFUSED = (LanguageModelError, ModelUnsupported, ValueError)


@pytest.fixture
def copy(llama: RandomModel, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama.directory, tmp_path / "model"))


def _config(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def changed(folder: Path) -> None:
        file = folder / "model.safetensors"
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)

    return changed


def _cut(name: str, size: int) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


QUERIES = "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(_cut("config.json", 30), ("config.json",), id="config-cut-off"),
        pytest.param(_cut("model.safetensors", 5000), ("model.safetensors",), id="weights-cut-off"),
        pytest.param(_cut("model.safetensors", 0), ("model.safetensors",), id="no-weights"),
        pytest.param(_cut("tokenizer.json", 100), ("tokenizer.json",), id="tokenizer-cut-off"),
        pytest.param(lambda folder: (folder / "tokenizer.json").unlink(), ("tokenizer",), id="no-tokenizer"),
        pytest.param(lambda folder: (folder / "config.json").unlink(), ("config.json",), id="no-config"),
        pytest.param(_config(num_hidden_layers=4), ("model.layers.3", "missing"), id="a-layer-less"),
        pytest.param(_config(intermediate_size=64), ("mlp", "has shape"), id="other-neurons"),
        pytest.param(_config(vocab_size=98), ("embed_tokens", "has shape"), id="other-vocabulary"),
        pytest.param(_config(num_key_value_heads=4), ("k_proj", "has shape"), id="other-heads"),
        pytest.param(_config(num_key_value_heads=3), ("num_key_value_heads",), id="heads-that-do-not-divide"),
        pytest.param(_config(architectures=["MambaForCausalLM"]), ("MambaForCausalLM",), id="unknown-architecture"),
        pytest.param(_tensors(lambda tensors: tensors.pop(QUERIES)), (QUERIES, "missing"), id="no-queries"),
        pytest.param(
            _tensors(lambda tensors: tensors.update({QUERIES: tensors[QUERIES].int()})), (QUERIES,), id="integers"
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_named(copy: Path, change: Change, words: tuple[str, ...]) -> None:
    change(copy)
    with pytest.raises(REFUSED) as caught:
        open_within(read_settings({"model": str(copy)}), "f32-cpu", Budget())
    said = str(caught.value)
    assert all(word in said for word in words), said
    assert "\n" not in said


def test_weights_that_are_no_numbers_fail_the_request_and_say_so(copy: Path) -> None:
    _tensors(lambda tensors: tensors["model.norm.weight"].fill_(float("nan")))(copy)
    engine = Engine(open_model(copy, 100), check=True)
    answers = run(engine, request(some_tokens(9), 5), request(some_tokens(7), 5, temperature=1.0, seed=1))
    for answer in answers:
        (failure,) = answer.events
        assert isinstance(failure, Failure) and "NaN" in failure.message
    assert engine.drain(WAIT_S) and engine.pages[0] == 0
    engine.close()
