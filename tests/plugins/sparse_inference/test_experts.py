"""Mixtures of experts, served by the kernels: what the engine says is what the NumPy graph says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from fairlead_language_model.graph import KVPages, LlamaGraph, PageTable
from fairlead_sparse_inference.engine import Engine, SparseModel
from fairlead_sparse_inference.engine.graph_model import GraphModel
from fairlead_sparse_inference.metrics import EngineCollector
from tests.plugins.sparse_inference.conftest import Collected, greedy, run
from tests.plugins.sparse_inference.experts import FAMILIES, NEURONS, random_experts

PROMPT = [5, 9, 20, 31, 7, 112]
each_family = pytest.mark.parametrize("family", FAMILIES)


def all_logits(model: SparseModel, tokens: list[int]) -> np.ndarray:
    pages, table = KVPages(model.config, 4), PageTable()
    pages.reserve(table, len(tokens))
    return model.decoder(pages).prefill(np.array(tokens, np.int32), 0, table.array(), all_logits=True).logits


@each_family
def test_the_kernels_give_the_graphs_logits(tmp_path: Path, family: str) -> None:
    path = random_experts(tmp_path, family)
    graph = LlamaGraph.load(path)
    expected = graph.forward(PROMPT, graph.pages(16), PageTable())
    for bits, tolerance in ((None, 0.05), (8, 0.05), (4, 0.5)):
        model = SparseModel.load(path, weight_bits=bits)
        assert not isinstance(model, GraphModel)
        errors = np.sqrt(np.mean((all_logits(model, PROMPT) - expected) ** 2, axis=1))
        # Rounding may turn a router's close choice between two experts, for few tokens.
        assert np.median(errors) < tolerance * expected.std()


@each_family
@pytest.mark.parametrize("bits", [None, 4])
def test_requests_at_once_have_the_tokens_of_each_alone(tmp_path: Path, family: str, bits: int | None) -> None:
    model = SparseModel.load(random_experts(tmp_path, family), weight_bits=bits)
    prompts: list[list[int]] = [[5 + i, 9, 20, *range(30, 30 + 3 * i)] for i in range(8)]
    alone: list[Any] = []
    engine = Engine(model, max_sequences=8)
    try:
        alone += [run(engine, greedy(prompt, max_tokens=10)).tokens for prompt in prompts]
        sinks = [Collected() for _ in prompts]
        for prompt, sink in zip(prompts, sinks, strict=True):
            engine.submit(greedy(prompt, max_tokens=10), sink)
        for sink in sinks:
            sink.wait()
        work = engine.telemetry.by_field()
        registry = CollectorRegistry()
        registry.register(EngineCollector(engine))
        told = generate_latest(registry).decode()
    finally:
        engine.close()
    assert [sink.tokens for sink in sinks] == alone
    assert f'fairlead_sparse_experts_used_total{{layer="1"}} {float(work["experts"][1])}' in told
    assert work["experts"][-1] > 0 and (work["experts"][0] > 0) == (family != "qwen2_moe")


@each_family
def test_a_token_computes_the_neurons_of_its_experts(tmp_path: Path, family: str) -> None:
    model = SparseModel.load(random_experts(tmp_path, family))
    pages, table = KVPages(model.config, 4), PageTable()
    pages.reserve(table, 1)
    every, some = NEURONS[family]
    assert len(model.activations[-1]) == every
    assert int(model.decoder(pages).step(5, 0, table.array()).work[-1, 1]) == some
    active = np.count_nonzero(model.activations[-1])
    assert active == some or (family == "smallthinker" and 0 < active < some)


def test_a_prompt_that_is_known_is_not_computed_again(tmp_path: Path) -> None:
    model = SparseModel.load(random_experts(tmp_path, "qwen3_moe"), weight_bits=4)
    engine, prompt = Engine(model), [*range(5, 45)]
    try:
        first = run(engine, greedy(prompt, max_tokens=8))
        again = run(engine, greedy(prompt, max_tokens=8))
        cached = engine.telemetry.cached_tokens
    finally:
        engine.close()
    assert again.tokens == first.tokens and cached >= 32
