"""Q8 conversion, and the kernels' decoder over the same pages as the reference graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fairlead_kernels import Q8Matrix
from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.errors import LanguageModelError
from fairlead_language_model.graph import LlamaGraph, PageTable, build_decoder, load_weights, why_not_q8
from fairlead_language_model.quantize import write_q8_checkpoint

TOKENS = [3, 14, 15, 92, 65, 35, 89, 79, 32, 38, 46, 26]
VARIANTS: dict[str, dict[str, Any]] = {
    "silu": {},
    "drelu": {"hidden_act": "relu", "fairlead": {"ffn": "drelu"}},
    "relu": {"hidden_act": "relu"},
    "gelu": {"hidden_act": "gelu_pytorch_tanh"},
    "tied": {"tie_word_embeddings": True},
    "llama3": {
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        }
    },
    "qwen2": {"architectures": ["Qwen2ForCausalLM"]},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"]},
}


@pytest.fixture(params=VARIANTS)
def converted(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    config: dict[str, Any],
    random_tensors: Callable[..., Any],
    write_model: Callable[..., Path],
) -> Path:
    """Return a Q8 checkpoint of each kind of model that the decoder takes."""
    tensors, rng = random_tensors(5), np.random.default_rng(6)
    for layer in range(2):
        prefix = f"model.layers.{layer}.self_attn."
        if request.param == "qwen2":
            for name, size in (("q", 32), ("k", 16), ("v", 16)):
                tensors[f"{prefix}{name}_proj.bias"] = rng.normal(size=size).astype(np.float32)
        if request.param == "qwen3":
            for name in ("q", "k"):
                tensors[f"{prefix}{name}_norm.weight"] = rng.normal(1, 0.3, 8).astype(np.float32)
    source = open_checkpoint(write_model(tmp_path / "float", tensors, {**config, **VARIANTS[request.param]}))
    write_q8_checkpoint(source, tmp_path / "q8")
    assert open_checkpoint(tmp_path / "q8").config == source.config
    return tmp_path / "q8"


def test_the_decoder_gives_the_logits_of_the_graph(converted: Path) -> None:
    graph = LlamaGraph.load(converted)
    pages, ours, theirs = graph.pages(64, page_size=4), PageTable(), PageTable()
    decoder = build_decoder(graph.config, graph.weights, pages)
    expected = graph.forward(TOKENS, pages, ours)
    pages.reserve(theirs, len(TOKENS))
    prompt = decoder.prefill(np.array(TOKENS[:5], np.int32), 0, theirs.array(), all_logits=True).logits
    steps = [decoder.step(TOKENS[i], i, theirs.array()).logits for i in range(5, len(TOKENS))]
    np.testing.assert_allclose(np.concatenate([prompt, np.stack(steps)]), expected, atol=3e-4, rtol=1e-4)
    pages.check([ours, theirs])


def test_the_decoder_continues_what_the_graph_began(converted: Path) -> None:
    graph = LlamaGraph.load(converted)
    pages, table = graph.pages(64, page_size=4), PageTable()
    decoder = build_decoder(graph.config, graph.weights, pages)
    expected = graph.forward(TOKENS, pages, PageTable())[-1]
    graph.prefill(TOKENS[:-1], pages, table)
    pages.reserve(table, len(TOKENS))
    found = decoder.step(TOKENS[-1], len(TOKENS) - 1, table.array()).logits
    np.testing.assert_allclose(found, expected, atol=3e-4, rtol=1e-4)


def test_whoever_may_read_new_files_may_read_the_weights(tiny_model: Path, tmp_path: Path) -> None:
    write_q8_checkpoint(open_checkpoint(tiny_model), tmp_path / "q8")
    (tmp_path / "new").touch()
    (weights,) = (tmp_path / "q8").glob("*.safetensors")
    assert weights.stat().st_mode == (tmp_path / "new").stat().st_mode


def test_conversion_stays_near_the_original_and_is_idempotent(tiny_model: Path, tmp_path: Path) -> None:
    write_q8_checkpoint(open_checkpoint(tiny_model), tmp_path / "once")
    write_q8_checkpoint(open_checkpoint(tmp_path / "once"), tmp_path / "twice")
    once, twice = (load_file(tmp_path / name / "model.safetensors") for name in ("once", "twice"))
    assert once.keys() == twice.keys()
    for name in once:
        np.testing.assert_array_equal(once[name], twice[name])
    original, stored = load_weights(open_checkpoint(tiny_model)), load_weights(open_checkpoint(tmp_path / "once"))
    for a, b in zip(original.layers, stored.layers, strict=True):
        assert isinstance(b.gate, Q8Matrix) and b.down_t is not None
        np.testing.assert_allclose(b.gate.dequantize(), a.gate, atol=0.02)
        np.testing.assert_allclose(b.down, a.down, atol=0.02)


def test_a_real_gguf_becomes_a_q8_directory_that_tells_the_same_story(stories: Path, tmp_path: Path) -> None:
    from fairlead_language_model.tokenizer import open_tokenizer

    write_q8_checkpoint(open_checkpoint(stories), tmp_path)
    assert open_checkpoint(tmp_path).config == open_checkpoint(stories).config
    tokens = open_tokenizer(tmp_path).encode("Once upon a time")
    assert tokens == open_tokenizer(stories).encode("Once upon a time")
    told = []
    for path in (stories, tmp_path):
        graph = LlamaGraph.load(path)
        pages, table, text = graph.pages(64), PageTable(), list(tokens)
        best = graph.prefill(text, pages, table)
        for _ in range(12):
            text.append(int(best.argmax()))
            best = graph.decode(text[-1], pages, table)
        told.append(open_tokenizer(tmp_path).decode(text))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 8}, "sliding_window 8 is shorter"),
        ({"mlp_bias": True}, "a bias in a gated"),
        (
            {"architectures": ["OPTForCausalLM"], "ffn_dim": 64, "word_embed_proj_dim": 16},
            "an embedding of width 16 that is projected",
        ),
        ({"hidden_act": "gelu"}, "the activation gelu"),
    ],
)
def test_a_model_that_the_decoder_cannot_run_says_why(
    config: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    from fairlead_language_model.hf_config import parse_hf_config

    parsed = parse_hf_config({**config, **change}, "config.json")
    assert reason in (why_not_q8(parsed) or "")


def test_a_window_longer_than_the_context_does_not_matter(
    tmp_path: Path, config: dict[str, Any], random_tensors: Callable[..., Any], write_model: Callable[..., Path]
) -> None:
    config |= {"architectures": ["MistralForCausalLM"], "sliding_window": 64}
    graph = LlamaGraph.load(write_model(tmp_path / "m", random_tensors(0), config))
    build_decoder(graph.config, graph.weights, graph.pages(16))
    narrow = graph.config.model_copy(update={"sliding_window": 63})
    with pytest.raises(LanguageModelError, match="sliding_window 63"):
        build_decoder(narrow, graph.weights, graph.pages(16))
