"""Bundles for tests: a checkpoint's, and synthetic ones of any size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import PackedMatrix, pack
from fairlead_kernels.packed import assemble
from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.graph import load_weights
from fairlead_sparse_inference.bundle import BundleLayout, NetworkRows, checkpoint_files, write_bundle

BITS = 4
#: Columns of the residual stream that no layer writes: there every token has the same value, which gates use as a bias.
CONSTANT = 32


def bundle_of(checkpoint: Path, path: Path, *, seed: int = 3) -> Path:
    """Convert a small checkpoint, with neurons in a random order and predictors that choose about half of them."""
    read = open_checkpoint(checkpoint)
    weights, random = load_weights(read), np.random.default_rng(seed)
    neurons, hidden = read.config.intermediate_size, read.config.hidden_size
    resident: dict[str, Any] = {
        "model.embed_tokens.weight": packed(weights.embedding),
        "model.norm.weight": np.asarray(weights.norm),
    }
    if weights.head is not weights.embedding:
        resident["lm_head.weight"] = packed(weights.head)
    networks: list[NetworkRows] = []
    for index, layer in enumerate(weights.layers):
        prefix = f"model.layers.{index}."
        for name in "qkvo":
            resident[f"{prefix}self_attn.{name}_proj.weight"] = packed(getattr(layer, name))
        resident[prefix + "input_layernorm.weight"] = np.asarray(layer.input_norm)
        resident[prefix + "post_attention_layernorm.weight"] = np.asarray(layer.post_norm)
        resident |= _random_predictor(index, neurons, hidden, random)
        down = layer.down_t if layer.down_t is not None else np.ascontiguousarray(np.asarray(layer.down).T)
        order = random.permutation(neurons).astype(np.int32)
        name = f"layers.{index}"
        networks.append(NetworkRows(name, packed(layer.gate), packed(layer.up), packed(down), order, neurons // 3))
    write_bundle(path, networks, resident, checkpoint_files(checkpoint), layout=BundleLayout.of(hidden, BITS))
    return path


def packed(matrix: Any) -> PackedMatrix:
    """Pack a matrix with `BITS` bits."""
    wide = matrix.dequantize() if hasattr(matrix, "dequantize") else np.asarray(matrix, np.float32)
    return pack(np.ascontiguousarray(wide), BITS)


def _random_predictor(layer: int, neurons: int, hidden: int, random: np.random.Generator) -> dict[str, Any]:
    a, b = random.standard_normal((32, hidden)), random.standard_normal((neurons, 32))
    return _predictor(layer, a.astype(np.float32), b.astype(np.float32), np.zeros(neurons, np.float32), 0.0)


def _predictor(layer: int, a: Any, b: Any, bias: Any, threshold: float) -> dict[str, Any]:
    prefix = f"layers.{layer}.predictor."
    parts = {"a": pack(a, 8), "b": pack(b, 8), "bias": bias, "threshold": np.array([threshold], np.float32)}
    return {prefix + name: value for name, value in parts.items()}


def synthetic_bundle(
    path: Path,
    tokenizer: Path,
    *,
    hidden: int,
    neurons: int,
    layers: int,
    heads: int = 8,
    active: float = 0.1,
    rank: int = 32,
    seed: int = 11,
) -> Path:
    """Write a model of random weights for tests of size and speed; what it says means nothing.

    A share `active` of a layer's neurons has a gate above zero, some neurons far more often than others: gates are
    of low rank with a bias for each neuron, which the predictors know too. The most active ones come first, as hot.
    """
    random = np.random.default_rng(seed)
    config = json.loads((tokenizer / "config.json").read_text())
    config |= {
        "hidden_size": hidden,
        "intermediate_size": neurons,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "fairlead": {"ffn": "drelu", "synthetic": "random weights", "gate_sparsity": [1 - active] * layers},
    }
    files = {name: content for name, content in checkpoint_files(tokenizer).items() if name != "config.json"}
    files["config.json"] = json.dumps(config, indent=1).encode()
    resident = _resident(config, random)
    networks = _networks(config, resident, active, rank, random)
    write_bundle(path, networks, resident, files, layout=BundleLayout.of(hidden, BITS))
    return path


def _resident(config: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    hidden, width = config["hidden_size"], config["num_attention_heads"] * config["head_dim"]
    embedding = random.standard_normal((config["vocab_size"], hidden)).astype(np.float32)
    embedding[:, :CONSTANT] = 1
    resident: dict[str, Any] = {"model.embed_tokens.weight": pack(embedding, BITS)}
    resident["model.norm.weight"] = np.ones(hidden, np.float32)
    if not config["tie_word_embeddings"]:
        resident["lm_head.weight"] = pack(random.standard_normal(embedding.shape).astype(np.float32), BITS)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q", width), ("k", width // 2), ("v", width // 2)):
            resident[f"{prefix}self_attn.{name}_proj.weight"] = _matrix(rows, hidden, random)
        output = random.standard_normal((hidden, width)).astype(np.float32) * np.float32(0.5 * width**-0.5)
        output[:CONSTANT] = 0
        resident[prefix + "self_attn.o_proj.weight"] = pack(output, BITS)
        for name in ("input_layernorm", "post_attention_layernorm"):
            resident[f"{prefix}{name}.weight"] = np.ones(hidden, np.float32)
    return resident


def _matrix(rows: int, columns: int, random: np.random.Generator, *, silent: int = 0) -> PackedMatrix:
    """Random packed weights of variance about 1 / columns, without a detour over floats; `silent` columns are zero."""
    unsigned = random.integers(1, 16, (rows, columns), np.uint8)
    unsigned[:, :silent] = 8
    scale = np.full((rows, columns // 32), 0.23 * columns**-0.5, np.float16)
    return assemble(unsigned, scale, BITS)


def _networks(
    config: dict[str, Any], resident: dict[str, Any], active: float, rank: int, random: np.random.Generator
) -> Iterator[NetworkRows]:
    hidden, neurons = config["hidden_size"], config["intermediate_size"]
    for layer in range(config["num_hidden_layers"]):
        a = random.standard_normal((rank, hidden)).astype(np.float32) * np.float32(hidden**-0.5)
        a[:, :CONSTANT] = 0
        b = random.standard_normal((neurons, rank)).astype(np.float32) * np.float32(rank**-0.5)
        bias = np.sort(_biases(neurons, active, random))[::-1].astype(np.float32)
        gate = b @ a
        gate[:, :CONSTANT] = bias[:, None] / CONSTANT
        # relu(a x) and relu(-a x) together say what a x is.
        resident |= _predictor(layer, np.concatenate((a, -a)), np.concatenate((b, -b), axis=1), bias, -0.3)
        shuffled = random.permutation(neurons)
        order = np.empty(neurons, np.int32)
        order[:] = np.argsort(shuffled)
        up, down = _matrix(neurons, hidden, random), _matrix(neurons, hidden, random, silent=CONSTANT)
        rows = _shuffled(pack(gate, BITS), shuffled)
        for part, kind in (("b", PackedMatrix), ("bias", np.ndarray)):
            name = f"layers.{layer}.predictor.{part}"
            stored = resident[name]
            resident[name] = _shuffled(stored, shuffled) if kind is PackedMatrix else stored[shuffled]
        yield NetworkRows(f"layers.{layer}", rows, up, down, order, neurons // 4)


def _shuffled(matrix: PackedMatrix, places: NDArray[np.int64]) -> PackedMatrix:
    return PackedMatrix(np.ascontiguousarray(matrix.data[places]), matrix.columns, matrix.bits)


def _biases(neurons: int, active: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Biases of gates of unit variance: activation frequencies are spread (a beta distribution of mean `active`)."""
    from statistics import NormalDist

    frequency = random.beta(0.6, 0.6 * (1 - active) / active, neurons).clip(1e-4, 0.98)
    inverse = NormalDist().inv_cdf
    return np.array([inverse(f) for f in frequency])


def remove(path: Path) -> None:
    """Delete a bundle."""
    shutil.rmtree(path, ignore_errors=True)
