"""The reference graph gives the logits of Hugging Face's models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead_language_model.errors import OutOfPages
from fairlead_language_model.graph import LlamaGraph, PageTable
from fairlead_language_model.graph.activation import combine

SHAPE: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
QWEN_MOE = {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 24}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-one-kv-head": ("Llama", {"num_key_value_heads": 1}),
    "llama-biases-tied-gelu": (
        "Llama",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "hidden_act": "gelu"},
    ),
    "llama-relu": ("Llama", {"hidden_act": "relu"}),
    "llama3-scaling": ("Llama", {"rope_parameters": LLAMA3}),
    "linear-scaling": ("Llama", {"rope_parameters": LINEAR, "hidden_act": "gelu_pytorch_tanh"}),
    "mistral-window": ("Mistral", {"sliding_window": 7, "head_dim": 16}),
    "mistral-no-window": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen2-window-from-layer-1": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "opt": ("OPT", {"ffn_dim": 48}),
    "opt-norm-last": ("OPT", {"ffn_dim": 48, "do_layer_norm_before": False}),
    "opt-narrow-embedding": ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 20}),
    "opt-no-bias-untied-gelu": (
        "OPT",
        {"ffn_dim": 48, "enable_bias": False, "tie_word_embeddings": False, "activation_function": "gelu"},
    ),
    "opt-no-final-norm": ("OPT", {"ffn_dim": 48, "_remove_final_layer_norm": True}),
    "mixtral": ("Mixtral", {"num_local_experts": 5, "num_experts_per_tok": 2, "hidden_act": "relu"}),
    "mixtral-window": ("Mixtral", {"num_local_experts": 4, "sliding_window": 6}),
    "qwen2-moe": ("Qwen2Moe", QWEN_MOE | {"shared_expert_intermediate_size": 40}),
    "qwen2-moe-some-dense": (
        "Qwen2Moe",
        QWEN_MOE | {"shared_expert_intermediate_size": 40, "mlp_only_layers": [1], "norm_topk_prob": True},
    ),
    "qwen3-moe": ("Qwen3Moe", QWEN_MOE | {"head_dim": 16, "norm_topk_prob": True}),
    "qwen3-moe-every-other": ("Qwen3Moe", QWEN_MOE | {"decoder_sparse_step": 2, "attention_bias": True}),
}


@dataclass
class Pair:
    """The same random model in both implementations."""

    graph: LlamaGraph
    theirs: Any

    def reference(self, tokens: list[int]) -> np.ndarray:
        import torch

        with torch.no_grad():
            return self.theirs(torch.tensor([tokens])).logits[0].numpy()


@pytest.fixture(params=CASES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    torch = pytest.importorskip("torch", reason="torch makes the reference logits")
    transformers = pytest.importorskip("transformers", reason="transformers holds the reference models")
    family, extra = CASES[request.param]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**{**SHAPE, **extra})
    model = getattr(transformers, f"{family}ForCausalLM")(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.3)
    model.save_pretrained(tmp_path)
    return Pair(LlamaGraph.load(tmp_path), model)


def some_tokens(count: int, seed: int = 0) -> list[int]:
    return [int(t) for t in np.random.default_rng(seed).integers(0, SHAPE["vocab_size"], count)]


def test_prompt_and_every_decoded_step_have_the_reference_logits(pair: Pair) -> None:
    tokens = some_tokens(40)
    pages, table = pair.graph.pages(64, page_size=5), PageTable()
    prompt = pair.graph.forward(tokens[:25], pages, table)
    steps = [pair.graph.decode(token, pages, table) for token in tokens[25:]]
    ours, theirs = np.concatenate([prompt, np.stack(steps)]), pair.reference(tokens)
    assert np.abs(theirs).max() > 1
    np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=1e-4)
    pages.check([table])


def test_prefill_in_chunks_equals_prefill_at_once(pair: Pair) -> None:
    tokens, pages = some_tokens(33, seed=1), pair.graph.pages(3 * 48)
    logits = [pair.graph.prefill(tokens, pages, PageTable(), chunk=chunk) for chunk in (33, 8, 1)]
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-4)
    np.testing.assert_allclose(logits[2], logits[0], atol=1e-4)


@pytest.mark.parametrize("pair", ["mistral-window", "qwen2-window-from-layer-1"], indirect=True)
def test_a_sliding_window_is_not_ignored(pair: Pair) -> None:
    config = pair.graph.config.model_copy(update={"sliding_window": None, "sliding_layers": ()})
    unbounded = LlamaGraph(config, pair.graph.weights)
    tokens = some_tokens(20)
    ours = unbounded.forward(tokens, unbounded.pages(32), PageTable())
    assert np.abs(ours - pair.reference(tokens)).max() > 0.05


@pytest.fixture
def graph(tiny_model: Path) -> LlamaGraph:
    return LlamaGraph.load(tiny_model)


def test_sequences_that_share_an_arena_do_not_mix(graph: LlamaGraph) -> None:
    prompts = [[t % 96 for t in some_tokens(11, seed)] for seed in range(3)]
    alone = [graph.prefill(p, graph.pages(16), PageTable()) for p in prompts]
    pages, tables = graph.pages(48, page_size=4), [PageTable() for _ in prompts]
    shared = np.zeros((3, graph.config.vocab_size), np.float32)
    for place in range(11):
        for i, prompt in enumerate(prompts):
            shared[i] = graph.decode(prompt[place], pages, tables[i])
    np.testing.assert_allclose(shared, np.stack(alone), atol=1e-4)
    pages.check(tables)


def test_a_moved_arena_continues_the_same_text(graph: LlamaGraph) -> None:
    pages, first, second = graph.pages(64, page_size=4), PageTable(), PageTable()
    graph.prefill([5, 6, 7, 8, 9], pages, first)
    graph.prefill([1, 2, 3], pages, second)
    pages.release(first)
    expected = graph.decode(4, pages, second)
    pages.truncate(second, 3)
    pages.resize(2, [second])
    pages.check([second])
    np.testing.assert_array_equal(graph.decode(4, pages, second), expected)


def test_a_prompt_without_room_changes_nothing(graph: LlamaGraph) -> None:
    pages, table = graph.pages(8, page_size=4), PageTable()
    with pytest.raises(OutOfPages, match="3 KV pages wanted, 2 free"):
        graph.prefill(list(range(9)), pages, table)
    assert (pages.free, table.length, table.pages) == (2, 0, [])


@pytest.mark.parametrize("token", [-1, 96])
def test_a_token_outside_the_vocabulary_is_named(graph: LlamaGraph, token: int) -> None:
    with pytest.raises(ValueError, match=f"token {token}: accepted: 0 to 95"):
        graph.forward([3, token], graph.pages(8), PageTable())


def test_a_sequence_beyond_the_context_is_refused(graph: LlamaGraph) -> None:
    with pytest.raises(ValueError, match="65 tokens: the model's context holds 64"):
        graph.prefill([1] * 65, graph.pages(96), PageTable())


def test_observer_sees_the_zeros_of_drelu(
    tmp_path: Path, config: dict[str, Any], random_tensors: Callable[..., Any], write_model: Callable[..., Path]
) -> None:
    config["fairlead"] = {"ffn": "drelu"}
    graph = LlamaGraph.load(write_model(tmp_path / "drelu", random_tensors(3), config))
    seen: list[tuple[int, float]] = []
    graph.forward([1, 2, 3], graph.pages(8), PageTable(), lambda layer, a: seen.append((layer, float((a == 0).mean()))))
    assert [layer for layer, _ in seen] == [0, 1]
    # Two independent signs: three of four products are zero, for random weights.
    assert all(0.55 < share < 0.95 for _, share in seen)


def test_neurons_that_are_left_out_add_nothing(graph: LlamaGraph) -> None:
    tokens = [1, 2, 3]

    def run(neurons: Callable[[int, np.ndarray], np.ndarray] | None) -> np.ndarray:
        return graph.forward(tokens, graph.pages(8), PageTable(), neurons=neurons)

    np.testing.assert_array_equal(run(graph.activations), run(None))
    none = run(lambda layer, x: np.zeros((len(x), graph.config.intermediate_size), np.float32))
    assert np.abs(none - run(None)).max() > 1e-3


def test_drelu_is_the_product_of_two_relus() -> None:
    gate, up = np.array([-1.0, 2.0, 3.0], np.float32), np.array([5.0, -4.0, 2.0], np.float32)
    np.testing.assert_array_equal(combine("drelu", gate, up), [0, 0, 6])
    np.testing.assert_array_equal(combine("relu", gate, up), [0, -8, 6])


def test_silu_survives_large_values() -> None:
    x = np.array([-1e4, -100.0, 0.0, 100.0, 1e4], np.float32)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(combine("silu", x, np.ones_like(x)), [0, 0, 0, 100, 1e4], atol=1e-30)
