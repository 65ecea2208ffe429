"""OPT from a bundle of two rows a neuron: the text of memory, streamed, exact and with predictors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from fairlead_kernels import backend
from fairlead_language_model.errors import LanguageModelError
from fairlead_language_model.graph import KVPages, LlamaGraph, PageTable
from fairlead_sparse_inference.bundle import open_bundle
from fairlead_sparse_inference.engine import Engine, SparseModel
from fairlead_sparse_inference.footprint import read_footprint
from fairlead_sparse_inference.sparsity.command import sparse
from fairlead_sparse_inference.train.tokenizer import train_tokenizer
from tests.plugins.sparse_inference.conftest import TEXT, greedy, run
from tests.plugins.sparse_inference.test_families import OPT, opt_tensors

PROMPT = [5, 17, 33, 80, 41, 2, 9, 120, 7, 7, 61, 8]
VARIANTS: dict[str, dict[str, Any]] = {
    "norm-first": {},
    "norm-last": {"do_layer_norm_before": False},
    "untied": {"tie_word_embeddings": False},
}


def command(name: str, *arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(sparse, [name, *map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code in (0, 3), result.output
    return json.loads(result.stdout)


def opt(path: Path, **changes: Any) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(OPT | changes))
    tensors = opt_tensors(4)
    if not changes.get("tie_word_embeddings", True):
        shape = (OPT["vocab_size"], OPT["hidden_size"])
        tensors["lm_head.weight"] = np.random.default_rng(9).normal(0, 0.2, shape).astype(np.float32)
    save_file(tensors, path / "model.safetensors")
    train_tokenizer([TEXT], OPT["vocab_size"]).save(str(path / "tokenizer.json"))
    return path


def served(path: Path, mode: str, **options: Any) -> tuple[list[int], Any]:
    engine = Engine(SparseModel.load(path, mode=mode, **options))
    try:
        if engine.model.store is not None:
            engine.resize(engine.plan.minimum_bytes)
        return run(engine, greedy(PROMPT, 20)).tokens, engine.telemetry.by_field()
    finally:
        engine.close()


def logits(model: SparseModel) -> np.ndarray:
    pages, table = KVPages(model.config, 4), PageTable()
    pages.reserve(table, len(PROMPT))
    return model.decoder(pages).prefill(np.array(PROMPT, np.int32), 0, table.array(), all_logits=True).logits


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bundle_holds_the_model(tmp_path: Path, variant: str) -> None:
    source, bundle = opt(tmp_path / "model", **VARIANTS[variant]), tmp_path / "bundle"
    command("convert", source, bundle, "--bits", "8")
    opened = open_bundle(bundle)
    assert opened.layout.matrices == 2 and list(opened.rows("layers.0")) == ["gate", "down_t"]
    graph = LlamaGraph.load(source)
    expected = graph.forward(PROMPT, graph.pages(16), PageTable())
    memory, streamed = (logits(SparseModel.load(bundle, streamed=streamed)) for streamed in (False, True))
    assert np.sqrt(np.mean((memory - expected) ** 2)) < 0.05 * expected.std()
    if backend().name == "native":
        np.testing.assert_array_equal(streamed, memory)
    else:
        np.testing.assert_allclose(streamed, memory, rtol=1e-4, atol=1e-4)
    tokens, told = served(bundle, "exact", streamed=True)
    assert tokens == served(bundle, "exact", streamed=False)[0]
    assert told["misses"].sum() > 0 and (told["active"] < told["computed"]).all()
    model = read_footprint(bundle)
    assert model.neuron_bytes == sum(2 * opened.layout.row_bytes * OPT["ffn_dim"] for _ in range(2))


def test_predictors_of_opt(tmp_path: Path) -> None:
    source, text, out = opt(tmp_path / "model"), tmp_path / "text.txt", tmp_path / "p.safetensors"
    text.write_text(TEXT * 2)
    sizes = ("--tokens", "512", "--held-tokens", "128", "--test-tokens", "128", "--context", "32", "--epochs", "2")
    gates = ("--recall", "0.95", "--perplexity-budget", "1")
    report = command("train-predictor", source, text, "--out", out, *sizes, "--numpy", *gates)
    assert all(layer["weighted_recall"] > 0.9 for layer in report["layers"])
    command("profile", source, text, "--out", tmp_path / "profile.npz", "--part", "all", "--context", "32")
    command("convert", source, tmp_path / "b", "--predictors", out, "--profile", tmp_path / "profile.npz")
    scored = command("perplexity", tmp_path / "b", text, "--part", "all", "--context", "32", "--tokens", "64")
    assert set(scored["modes"]) == {"exact", "predictor"}
    memory, _ = served(tmp_path / "b", "predictor", streamed=False)
    streamed, told = served(tmp_path / "b", "predictor", streamed=True)
    assert streamed == memory
    assert told["predictor_ns"].any() and told["predicted"].sum() <= told["computed"].sum()


def test_a_plan_for_opt(tmp_path: Path) -> None:
    source, text, profile = opt(tmp_path / "model"), tmp_path / "text.txt", tmp_path / "profile.npz"
    text.write_text(TEXT * 2)
    command("profile", source, text, "--out", profile, "--part", "all", "--context", "32")
    speeds = ("--disk-reads-per-s", "10000", "--disk-bandwidth", "1GB", "--memory-bandwidth", "10GB")
    made = command("plan", source, "--profile", profile, "--memory", "64MiB", "--out", tmp_path / "p.json", *speeds)
    command("convert", source, tmp_path / "b", "--profile", profile, "--plan", tmp_path / "p.json", "--bits", "4")
    opened = open_bundle(tmp_path / "b")
    assert (made["cluster_neurons"], made["cluster_bytes"]) == (
        opened.layout.cluster_neurons,
        opened.layout.cluster_bytes,
    )
    assert made["neurons_bytes"] == (tmp_path / "b" / "neurons.bin").stat().st_size
    # Attention, tables, biases and first matrices: what a bundle keeps in memory, but for keys and values.
    resident = (tmp_path / "b" / "resident.safetensors").stat().st_size
    first = OPT["num_hidden_layers"] * OPT["ffn_dim"] * opened.layout.row_bytes
    assert made["fixed_bytes"] >= resident + first
    assert "all neurons fit" in made["reason"]


def test_thresholds_of_opt(tmp_path: Path) -> None:
    source, text, out = opt(tmp_path / "model"), tmp_path / "text.txt", tmp_path / "t.json"
    text.write_text(TEXT * 2)
    sizes = ("--tokens", "256", "--held-tokens", "128", "--context", "32", "--sparsity", "0.8")
    (level,) = command("threshold", source, text, "--out", out, *sizes)["levels"]
    assert abs(level["measured_sparsity"] - 0.8) < 0.1 and level["feed_forward_us"] is None


def test_an_architecture_of_another_kind_is_refused(tmp_path: Path) -> None:
    command("convert", opt(tmp_path / "model"), tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "bundle.json").read_text())
    (tmp_path / "b" / "bundle.json").write_text(json.dumps(manifest | {"matrices": 4}))
    with pytest.raises(LanguageModelError, match=r"matrices = 4"):
        SparseModel.load(tmp_path / "b")
    # Room for three rows a bundle, so that only the architecture says otherwise.
    wide = {"matrices": 3, "cluster_neurons": manifest["cluster_neurons"] // 2, "networks": manifest["networks"][:1]}
    (tmp_path / "b" / "bundle.json").write_text(json.dumps(manifest | wide))
    with pytest.raises(LanguageModelError, match=r"matrices = 3: accepted: 2|neurons_bytes"):
        SparseModel.load(tmp_path / "b")
