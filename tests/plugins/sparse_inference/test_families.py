"""Families beyond Llama, served by the engine: what it generates is what the NumPy graph says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fairlead_language_model.errors import TokenizerError
from fairlead_language_model.graph import LlamaGraph, PageTable
from fairlead_sparse_inference.engine import Engine, SparseModel
from fairlead_sparse_inference.engine.graph_model import GraphModel
from fairlead_sparse_inference.train.tokenizer import train_tokenizer
from tests.plugins.sparse_inference.conftest import TEXT, greedy, run

OPT: dict[str, Any] = {
    "architectures": ["OPTForCausalLM"],
    "vocab_size": 300,
    "hidden_size": 64,
    "ffn_dim": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def opt_tensors(seed: int) -> dict[str, np.ndarray]:
    rng, hidden, neurons = np.random.default_rng(seed), OPT["hidden_size"], OPT["ffn_dim"]
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (OPT["vocab_size"], hidden)}
    shapes["embed_positions.weight"] = (OPT["max_position_embeddings"] + 2, hidden)
    shapes |= {f"final_layer_norm.{part}": (hidden,) for part in ("weight", "bias")}
    for layer in range(OPT["num_hidden_layers"]):
        prefix = f"layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= {
                f"{prefix}self_attn.{name}.weight": (hidden, hidden),
                f"{prefix}self_attn.{name}.bias": (hidden,),
            }
        shapes |= {f"{prefix}fc1.weight": (neurons, hidden), f"{prefix}fc1.bias": (neurons,)}
        shapes |= {f"{prefix}fc2.weight": (hidden, neurons), f"{prefix}fc2.bias": (hidden,)}
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            shapes |= {f"{prefix}{name}.{part}": (hidden,) for part in ("weight", "bias")}
    return {f"model.decoder.{k}": rng.normal(0, 0.2, v).astype(np.float32) for k, v in shapes.items()}


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    """The directory of a random OPT with a tokenizer."""
    (tmp_path / "config.json").write_text(json.dumps(OPT))
    save_file(opt_tensors(4), tmp_path / "model.safetensors")
    tokenizer = train_tokenizer([TEXT], OPT["vocab_size"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_an_opt_model_is_served_with_its_sparsity(opt: Path) -> None:
    model = SparseModel.load(opt)
    engine = Engine(model)
    try:
        served = run(engine, greedy([5, 9, 20], max_tokens=12))
    finally:
        engine.close()
    assert len(served.tokens) == 12
    graph = LlamaGraph.load(opt)
    pages, table = graph.pages(32), PageTable()
    logits = graph.prefill([5, 9, 20], pages, table)
    for token in served.tokens:
        # The engine's weights are rounded to eight bits: its choice is the graph's, or all but.
        assert logits[token] > logits.max() - 0.05 * np.ptp(logits)
        logits = graph.decode(token, pages, table)
    fired = np.stack([piece.active_neurons for piece in served.pieces])
    assert (fired > 0).all() and (fired < 2 * OPT["ffn_dim"]).all()


def test_what_the_kernels_lack_is_served_by_the_graph(opt: Path) -> None:
    tensors, rng = opt_tensors(4), np.random.default_rng(5)
    tensors["model.decoder.embed_tokens.weight"] = rng.normal(0, 0.2, (300, 32)).astype(np.float32)
    tensors["model.decoder.project_in.weight"] = rng.normal(0, 0.3, (64, 32)).astype(np.float32)
    tensors["model.decoder.project_out.weight"] = rng.normal(0, 0.3, (32, 64)).astype(np.float32)
    save_file(tensors, opt / "model.safetensors")
    (opt / "config.json").write_text(json.dumps(OPT | {"word_embed_proj_dim": 32}))
    served_as_the_graph_says(opt, "an embedding of width 32 that is projected to hidden_size 64")


def served_as_the_graph_says(path: Path, reason: str) -> SparseModel:
    """Serve two requests at once, and hold their tokens against those that the graph finds alone."""
    model = SparseModel.load(path)
    assert isinstance(model, GraphModel) and model.reason == reason
    engine, prompts = Engine(model), ([5, 9, 20], [7, 7])
    try:
        for prompt in prompts[1:]:
            run(engine, greedy(prompt, max_tokens=3))
        model.activations[:] = [np.zeros_like(counts) for counts in model.activations]
        served = run(engine, greedy(prompts[0], max_tokens=12))
    finally:
        engine.close()
    graph = LlamaGraph.load(path)
    pages, table, expected = graph.pages(32), PageTable(), []
    logits = graph.prefill(prompts[0], pages, table)
    for _ in range(12):
        expected.append(int(logits.argmax()))
        logits = graph.decode(expected[-1], pages, table)
    assert served.tokens == expected
    return model


def test_another_models_tokenizer_is_refused(opt: Path) -> None:
    described = json.loads((opt / "tokenizer.json").read_text())
    described["model"]["vocab"]["never seen"] = 300
    (opt / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(TokenizerError, match=r"accepted: below vocab_size 300: is this another model's tokenizer"):
        SparseModel.load(opt)
