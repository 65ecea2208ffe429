"""dReLU-fication: starts from the very model, ends as a dReLU one that the engine reads, refuses others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fairlead_language_model.graph import LlamaGraph, PageTable
from fairlead_sparse_inference.engine import SparseModel
from fairlead_sparse_inference.sparsity.command import sparse
from fairlead_sparse_inference.sparsity.drelufication.initial import initial_state, shape_of
from fairlead_sparse_inference.sparsity.model import load_model

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(sparse, ["drelufy", *map(str, arguments)], catch_exceptions=False)


def test_the_start_is_the_swiglu_model_itself(stock: Path) -> None:
    from dataclasses import replace

    from fairlead_sparse_inference.train.model import LlamaDrelu

    model, tokens = load_model(stock), [0, 9, 40, 80, 7]
    shape = replace(shape_of(model.config, stock, 128), ffn="swiglu", neurons=128)
    twin = LlamaDrelu(shape)
    state = initial_state(model.graph.weights, shape)
    twin.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    expected = model.graph.forward(tokens, model.graph.pages(8), PageTable())
    with torch.no_grad():
        # 32 neurons of zeros were added.
        np.testing.assert_allclose(twin(torch.tensor([tokens]))[0].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("fade", ["0", "0.5"])
def test_training_ends_as_a_drelu_checkpoint(stock: Path, text: Path, tmp_path: Path, fade: str) -> None:
    common = (stock, text, "--run", tmp_path / "run", "--context", "32", "--batch", "4", "--fade", fade, "--json")
    first = run(*common, "--out", tmp_path / "a", "--steps", "6", "--validate-every", "3")
    assert first.exit_code == 0, first.output
    second = run(*common, "--out", tmp_path / "b", "--steps", "30", "--validate-every", "10")
    before, after = json.loads(first.stdout), json.loads(second.stdout)
    assert (before["steps"], after["steps"]) == (6, 30)
    assert after["drelu"]["loss"] < before["drelu"]["loss"]
    assert after["swiglu"] == before["swiglu"]
    assert all(0.1 < share < 0.95 for share in after["gate_sparsity"])
    config = LlamaGraph.load(tmp_path / "b").config
    assert (config.activation, config.intermediate_size) == ("drelu", 96)
    assert SparseModel.load(tmp_path / "b").tokenizer.encode("the rain")[0] == 0


def test_other_models_are_refused(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    result = run(checkpoint, text, "--run", tmp_path / "r", "--out", tmp_path / "o", "--steps", "1")
    assert (
        result.exit_code == 1
        and "does not take a feed-forward network that is not SwiGLU (drelu, relu)" in result.output
    )
    assert list(tmp_path.glob("[ro]")) == []
