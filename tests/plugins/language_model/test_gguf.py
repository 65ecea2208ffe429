"""Checkpoints in GGUF: names, row order and quantized types, the same logits, and damage of every kind."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Kind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_kernels import Q8Matrix
from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.errors import CheckpointError, ConfigError, LanguageModelError
from fairlead_language_model.gguf_file import GgufFile
from fairlead_language_model.gguf_names import hf_name
from fairlead_language_model.graph import LlamaGraph, PageTable, load_weights

TO_GGUF = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def interleave(weights: np.ndarray, heads: int) -> np.ndarray:
    """Reorder rows as llama.cpp's converter does (LlamaModel.permute)."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weights.shape)


def write_gguf(
    path: Path, tensors: dict[str, np.ndarray], config: dict[str, Any], kind: Kind = Kind.F32, arch: str = "llama"
) -> Path:
    """Convert a model in Hugging Face's layout, as llama.cpp's converter does."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    for name, value in tensors.items():
        stem = name
        for theirs, ours in TO_GGUF.items():
            stem = stem.replace(theirs, ours)
        stem = stem.replace("model.layers.", "blk.")
        if arch == "llama" and ("attn_q." in stem or "attn_k." in stem):
            value = interleave(value, config["num_attention_heads" if "attn_q." in stem else "num_key_value_heads"])
        if value.ndim == 1:
            writer.add_tensor(stem, value)
        else:
            writer.add_tensor(stem, gguf.quants.quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(graph: LlamaGraph) -> np.ndarray:
    return graph.forward([3, 1, 4, 1, 5, 9, 2, 6], graph.pages(16), PageTable())


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_gguf_gives_the_same_logits_as_safetensors(
    tmp_path: Path, tiny_model: Path, random_tensors: Callable[..., Any], config: dict[str, Any], arch: str
) -> None:
    path = write_gguf(tmp_path / "m.gguf", random_tensors(0), config, arch=arch)
    np.testing.assert_allclose(logits(LlamaGraph.load(path)), logits(LlamaGraph.load(tiny_model)), atol=1e-5)


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q5_1, Kind.Q4_1])
def test_every_type_gives_the_values_that_were_quantized(
    tmp_path: Path, random_tensors: Callable[..., Any], config: dict[str, Any], kind: Kind
) -> None:
    tensors = random_tensors(1)
    checkpoint = open_checkpoint(write_gguf(tmp_path / "m.gguf", tensors, config, kind))
    for name in ("model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight"):
        shape = tensors[name].shape
        rows = gguf.quants.dequantize(gguf.quants.quantize(tensors[name], kind), kind)
        np.testing.assert_array_equal(checkpoint.array(name, shape), rows)


def test_q8_0_keeps_its_groups_bit_for_bit(
    tmp_path: Path, random_tensors: Callable[..., Any], config: dict[str, Any]
) -> None:
    checkpoint = open_checkpoint(write_gguf(tmp_path / "m.gguf", random_tensors(1), config, Kind.Q8_0))
    for name in ("model.layers.0.self_attn.k_proj.weight", "model.layers.0.mlp.up_proj.weight"):
        shape = checkpoint.shape(name)
        matrix = checkpoint.matrix(name, (shape[0], shape[1]))
        assert isinstance(matrix, Q8Matrix)
        np.testing.assert_array_equal(matrix.dequantize(), checkpoint.array(name, shape))


def test_tied_output_and_ends_come_from_the_file(
    tmp_path: Path, random_tensors: Callable[..., Any], config: dict[str, Any]
) -> None:
    tensors = random_tensors(0)
    del tensors["lm_head.weight"]
    checkpoint = open_checkpoint(write_gguf(tmp_path / "m.gguf", tensors, config))
    assert checkpoint.config.tie_word_embeddings
    weights = load_weights(checkpoint)
    assert weights.head is weights.embedding


def test_rope_frequency_factors_are_applied(
    tmp_path: Path, random_tensors: Callable[..., Any], config: dict[str, Any]
) -> None:
    tensors = random_tensors(0)
    plain = logits(LlamaGraph.load(write_gguf(tmp_path / "a.gguf", tensors, config)))
    ones = {**tensors, "rope_freqs.weight": np.ones(4, np.float32)}
    same = logits(LlamaGraph.load(write_gguf(tmp_path / "b.gguf", ones, config)))
    stretched = {**tensors, "rope_freqs.weight": np.full(4, 8, np.float32)}
    other = logits(LlamaGraph.load(write_gguf(tmp_path / "c.gguf", stretched, config)))
    np.testing.assert_array_equal(same, plain)
    assert np.abs(other - plain).max() > 0.01


def test_a_real_file_tells_a_story(stories: Path) -> None:
    from fairlead_language_model.tokenizer import open_tokenizer

    graph, tokenizer = LlamaGraph.load(stories), open_tokenizer(stories)
    pages, table = graph.pages(64), PageTable()
    tokens = tokenizer.encode("Once upon a time")
    best = graph.prefill(tokens, pages, table)
    for _ in range(24):
        tokens.append(int(best.argmax()))
        best = graph.decode(tokens[-1], pages, table)
    assert tokenizer.decode(tokens).startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play"
    )


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("blk.11.ffn_gate.weight", "model.layers.11.mlp.gate_proj.weight"),
        ("blk.0.attn_q.bias", "model.layers.0.self_attn.q_proj.bias"),
        ("output.weight", "lm_head.weight"),
        ("blk.2.ffn_up.7.weight", "model.layers.2.mlp.experts.7.up_proj.weight"),
        ("blk.0.ffn_gate_exps.weight", None),
        ("blk.x.ffn_gate.weight", None),
    ],
)
def test_names_are_translated(theirs: str, ours: str | None) -> None:
    assert hf_name(theirs) == ours


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def header(tensors: int, keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


PAD = bytes(64)
BOMBS: dict[str, tuple[bytes, str]] = {
    "magic": (b"GGML" + PAD, "is not a GGUF file"),
    "version": (header(0, 0, version=1), "GGUF version 1; accepted: 2, 3"),
    "cut": (b"GGUF\x03\x00", "truncated"),
    "counts": (header(1 << 60, 0) + PAD, "do not fit into the file"),
    "string length": (header(0, 1) + struct.pack("<Q", 1 << 63) + PAD, "truncated"),
    "array length": (
        header(0, 1) + text("k") + struct.pack("<IIQ", 9, 0, 1 << 60) + PAD,
        "1152921504606846976 bytes wanted",
    ),
    "string array length": (header(0, 1) + text("k") + struct.pack("<IIQ", 9, 8, 1 << 60) + PAD, "strings do not fit"),
    "array of arrays": (header(0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1) + PAD, "unsupported type 9"),
    "value type": (header(0, 1) + text("k") + struct.pack("<I", 77) + PAD, "unknown value type 77"),
    "key twice": (header(0, 2) + (text("k") + struct.pack("<II", 4, 1)) * 2 + PAD, "key 'k' appears twice"),
    "alignment": (header(0, 1) + text("general.alignment") + struct.pack("<II", 4, 3) + PAD, "a power of two"),
    "tensor twice": (header(2, 0) + tensor("x", (4,), 0, 0) * 2 + PAD, "tensor x: appears twice"),
    "dimensions": (header(1, 0) + tensor("x", (1,) * 5, 0, 0) + PAD, "tensor x: has 5 dimensions"),
    "tensor type": (header(1, 0) + tensor("x", (4,), 99, 0) + PAD, "tensor x: has the unknown type 99"),
    "rows of blocks": (header(1, 0) + tensor("x", (33,), 8, 0) + PAD, "multiples of 32"),
    "outside": (header(1, 0) + tensor("x", (1 << 40, 1 << 40), 0, 0) + PAD, "tensor x: lies outside the file"),
    "offset": (header(1, 0) + tensor("x", (4,), 0, 1 << 62) + PAD, "tensor x: lies outside the file"),
    "name not UTF-8": (header(1, 0) + struct.pack("<Q", 2) + b"\xff\xff" + PAD, "is not UTF-8"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, name: str) -> None:
    content, message = BOMBS[name]
    path = tmp_path / "bomb.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        GgufFile(path)


def test_an_unknown_architecture_is_named(
    tmp_path: Path, random_tensors: Callable[..., Any], config: dict[str, Any]
) -> None:
    path = write_gguf(tmp_path / "m.gguf", random_tensors(0), config, arch="mamba")
    with pytest.raises(ConfigError, match=r"general\.architecture = 'mamba': accepted: one of bamboo, llama, opt"):
        open_checkpoint(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=4),
    kept=st.floats(0, 1),
)
def test_a_mutated_file_loads_or_raises_our_error(
    tmp_path: Path, mutable: bytes, edits: list[tuple[float, bytes]], kept: float
) -> None:
    content = bytearray(mutable[: max(1, int(len(mutable) * min(1, 2 * kept)))])
    # Most edits go to the header, where they do the most harm.
    for place, replacement in edits:
        at = int(place * min(len(content), 3000))
        content[at : at + len(replacement)] = replacement
    path = tmp_path / "mutated.gguf"
    path.write_bytes(content)
    try:
        load_weights(open_checkpoint(path))
    except LanguageModelError as error:
        assert "mutated.gguf" in str(error)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=4))
def test_a_real_file_with_mutations_opens_or_raises_our_error(
    tmp_path: Path, stories: Path, edits: list[tuple[float, bytes]]
) -> None:
    from fairlead_language_model.tokenizer import open_tokenizer

    content = bytearray(stories.read_bytes())
    for place, replacement in edits:
        # The first 20 KB are the header with its vocabulary.
        at = int(place * 20_000)
        content[at : at + len(replacement)] = replacement
    path = tmp_path / "mutated.gguf"
    path.write_bytes(content)
    try:
        load_weights(open_checkpoint(path))
        tokenizer = open_tokenizer(path)
        tokenizer.decode(tokenizer.encode("Once upon a time"))
    except LanguageModelError as error:
        assert "mutated.gguf" in str(error)


@pytest.fixture
def mutable(tmp_path: Path, random_tensors: Callable[..., Any], config: dict[str, Any]) -> bytes:
    return write_gguf(tmp_path / "m.gguf", random_tensors(0), config, Kind.Q8_0).read_bytes()
