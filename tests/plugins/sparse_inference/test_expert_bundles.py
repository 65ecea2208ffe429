"""Experts that are streamed from a bundle: the text of memory within any budget, read by need."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fairlead_kernels import backend
from fairlead_language_model.errors import LanguageModelError
from fairlead_language_model.graph import KVPages, PageTable
from fairlead_sparse_inference.bundle import open_bundle
from fairlead_sparse_inference.engine import Engine, SparseModel
from fairlead_sparse_inference.sparsity.command import sparse
from tests.plugins.sparse_inference.conftest import Collected, greedy, run
from tests.plugins.sparse_inference.experts import FAMILIES, random_experts

PROMPT = [5, 17, 33, 80, 41, 2, 9, 120, 7, 7, 61, 8]
native = pytest.mark.skipif(backend().name != "native", reason="the compiled extension is not installed")


def converted(source: Path, out: Path, *options: str) -> Path:
    result = CliRunner().invoke(sparse, ["convert", str(source), str(out), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module", params=FAMILIES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of each family as a bundle."""
    folder = tmp_path_factory.mktemp("experts")
    return converted(random_experts(folder / "model", request.param), folder / "bundle")


@pytest.fixture
def start() -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(path: Path, *, streamed: bool = True, **options: Any) -> Engine:
        made.append(Engine(SparseModel.load(path, streamed=streamed), **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def logits(model: SparseModel, prompt: int) -> np.ndarray:
    """Logits of PROMPT, of which so many tokens come at once and the others one by one."""
    pages, table = KVPages(model.config, 4), PageTable()
    pages.reserve(table, len(PROMPT))
    decoder, pages_of = model.decoder(pages), table.array()
    first = decoder.prefill(np.array(PROMPT[:prompt], np.int32), 0, pages_of, all_logits=True).logits
    steps = [decoder.step(token, at, pages_of).logits for at, token in enumerate(PROMPT) if at >= prompt]
    return np.concatenate([first, steps])


@pytest.mark.parametrize("prompt", [1, 3, 9])
def test_streamed_experts_have_the_bits_of_memory(bundle: Path, prompt: int) -> None:
    memory, streamed = SparseModel.load(bundle, streamed=False), SparseModel.load(bundle)
    expected = logits(memory, prompt)
    assert streamed.store is not None and not streamed.store.shape.resident_gates
    close = np.testing.assert_array_equal if backend().name == "native" else np.testing.assert_allclose
    for slots in (streamed.store.shape.total_slots, streamed.store.shape.total_slots // 16):
        streamed.store.resize(slots)
        close(logits(streamed, prompt), expected)
        assert streamed.store.used <= slots


def test_an_expert_is_one_range_of_the_file(bundle: Path) -> None:
    opened = open_bundle(bundle)
    names, end = list(opened.networks), 0
    for network in opened.networks.values():
        assert network.offset == end
        end += opened.layout.network_bytes(network.neurons)
    assert names == sorted(names, key=lambda name: int(name.split(".")[1]))
    assert sum(".experts." in name for name in names) == 6 * (1 if "layers.0" in names else 2)


def test_only_experts_that_are_chosen_are_read(bundle: Path) -> None:
    model = SparseModel.load(bundle)
    assert model.store is not None
    pages, table = KVPages(model.config, 4), PageTable()
    pages.reserve(table, 1)
    work = model.decoder(pages).step(5, 0, table.array()).work[-1]
    chosen = int(work[1])
    assert chosen < len(model.activations[-1])
    # Found where they had been asked for early, or missed.
    assert int(work[3:7].sum()) == chosen and work[6] > 0
    assert model.store.used < model.store.shape.total_slots


@native
def test_experts_are_asked_for_before_the_attention(bundle: Path) -> None:
    model = SparseModel.load(bundle)
    assert model.store is not None
    expected = logits(SparseModel.load(bundle, streamed=False), 1)
    # Room for about two tokens' experts: what a token needs is often not there.
    model.store.resize(max(64, model.store.shape.total_slots // 3))
    np.testing.assert_array_equal(logits(model, 1), expected)
    asked, needed = model.store.guesses
    assert asked > 0 and 0 < needed <= asked
    if model.config.experts is not None and model.config.experts.router_before_attention:
        # Its router has said what it will be.
        assert needed == asked


@native
def test_a_budget_that_moves_while_it_generates_changes_no_token(bundle: Path, start: Callable[..., Engine]) -> None:
    expected = run(start(bundle, streamed=False), greedy(PROMPT, 20)).tokens
    engine = start(bundle)
    collected, plan, random = Collected(), engine.plan, np.random.default_rng(5)
    engine.submit(greedy(PROMPT, 20), collected)
    full = plan.bytes_for(plan.max_pages, plan.max_slots)
    while not collected.done.wait(0.004):
        budget = int(random.integers(plan.minimum_bytes, full + 1))
        engine.resize(budget)
        assert engine.memory_in_use() <= budget
    assert collected.wait().tokens == expected


def test_sequences_at_once_have_the_tokens_of_each_alone(bundle: Path, start: Callable[..., Engine]) -> None:
    engine = start(bundle, max_sequences=4)
    engine.resize(engine.plan.minimum_bytes + 4 * engine.plan.sequence_pages * engine.plan.page_bytes)
    prompts = [[5 + i, 9, 20, *range(30, 30 + 3 * i)] for i in range(4)]
    alone = [run(engine, greedy(prompt, 10)).tokens for prompt in prompts]
    sinks = [Collected() for _ in prompts]
    for prompt, sink in zip(prompts, sinks, strict=True):
        engine.submit(greedy(prompt, 10), sink)
    assert [sink.wait().tokens for sink in sinks] == alone


def test_a_bundle_that_lacks_an_expert_is_refused(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    names = ("num_local_experts", "num_experts", "moe_num_primary_experts")
    count = next(name for name in names if name in config)
    (copy / "config.json").write_text(json.dumps(config | {count: 7}))
    with pytest.raises(LanguageModelError, match=r"accepted: one named layers\.\d\.experts\.6"):
        SparseModel.load(copy)
