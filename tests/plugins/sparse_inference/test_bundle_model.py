"""The engine over a bundle: the text of memory within any budget, and what does not fit is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead_kernels import backend
from fairlead_kernels.streamed import StreamOptions
from fairlead_language_model.errors import LanguageModelError
from fairlead_sparse_inference.engine import BudgetTooSmall, Engine, ModelUnsupported, SparseModel

from .bundles import bundle_of, synthetic_bundle
from .conftest import Collected, greedy, run

PROMPT = [5, 17, 33, 80, 41, 2, 9, 120, 7, 7, 61, 8]


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a bundle."""
    return bundle_of(checkpoint, tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def start() -> Iterator[Callable[..., Engine]]:
    """Starts engines over bundles and closes them."""
    made: list[Engine] = []

    def make(path: Path, *, mode: str = "exact", streamed: bool = True, **options: Any) -> Engine:
        model = SparseModel.load(path, mode=mode, streamed=streamed)
        made.append(Engine(model, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.mark.parametrize("mode", ["exact", "predictor"])
def test_the_text_is_that_of_memory(bundle: Path, start: Callable[..., Engine], mode: str) -> None:
    expected = run(start(bundle, mode=mode, streamed=False), greedy(PROMPT, 30)).tokens
    engine = start(bundle, mode=mode)
    store = engine.model.store
    assert store is not None
    assert run(engine, greedy(PROMPT, 30)).tokens == expected
    engine.resize(engine.plan.minimum_bytes)
    assert store.slots == engine.plan.min_slots
    assert engine.memory_in_use() == engine.plan.minimum_bytes
    assert run(engine, greedy(PROMPT, 30)).tokens == expected
    with pytest.raises(BudgetTooSmall, match=str(engine.plan.minimum_bytes)):
        engine.resize(engine.plan.minimum_bytes - 1)
    engine.resize(None)
    assert store.slots == store.shape.full_slots
    assert run(engine, greedy(PROMPT, 30)).tokens == expected


@pytest.fixture(scope="module")
def large(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic model with one bundle a block."""
    path = tmp_path_factory.mktemp("large") / "synthetic"
    return synthetic_bundle(path, bundle, hidden=2048, neurons=512, layers=3)


@pytest.mark.skipif(backend().name != "native", reason="the compiled extension is not installed")
@pytest.mark.parametrize("mode", ["exact", "predictor"])
def test_a_budget_that_moves_while_it_generates_changes_no_token(
    large: Path, start: Callable[..., Engine], mode: str
) -> None:
    expected = run(start(large, mode=mode, streamed=False), greedy(PROMPT, 20)).tokens
    engine = start(large, mode=mode, memory_bytes=None)
    collected = Collected()
    engine.submit(greedy(PROMPT, 20), collected)
    plan, random = engine.plan, np.random.default_rng(5)
    full = plan.bytes_for(plan.max_pages, plan.max_slots)
    while not collected.done.wait(0.004):
        budget = int(random.integers(plan.minimum_bytes, full + 1))
        engine.resize(budget)
        assert engine.memory_in_use() <= budget
    assert collected.wait().tokens == expected


@pytest.mark.skipif(backend().name != "native", reason="the compiled extension is not installed")
def test_a_synthetic_model_is_as_sparse_as_it_says(large: Path, start: Callable[..., Engine]) -> None:
    engine = start(large, mode="exact")
    run(engine, greedy(PROMPT, 40))
    assert 0.05 < np.mean(engine.telemetry.active_share()) < 0.2


@pytest.mark.skipif(backend().name != "native", reason="the compiled extension is not installed")
def test_a_file_that_breaks_fails_one_request_and_comes_back(
    large: Path, tmp_path: Path, start: Callable[..., Engine]
) -> None:
    copy = Path(shutil.copytree(large, tmp_path / "copy"))
    file = copy / "neurons.bin"
    engine = start(copy)
    engine.resize(engine.plan.minimum_bytes)
    expected = run(engine, greedy(PROMPT, 10)).tokens
    content, times = file.read_bytes(), os.stat(file)
    os.truncate(file, 4096)
    broken = run(engine, greedy(PROMPT[::-1], 10))
    assert broken.failure is not None and "neurons.bin" in broken.failure.message
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(engine, greedy(PROMPT, 10)).tokens == expected


def test_bundles_that_do_not_fit_are_refused(bundle: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupported, match="mode predictor"):
        SparseModel.load(checkpoint, mode="predictor")
    with pytest.raises(ValueError, match="mode = 'both': accepted: exact, predictor"):
        SparseModel.load(bundle, mode="both")
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    with pytest.raises(LanguageModelError, match=r"layers\.0\.neurons = 96: accepted: 64"):
        SparseModel.load(copy)
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(LanguageModelError, match=r"one named layers\.2"):
        SparseModel.load(copy)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not list a process's mappings")
@pytest.mark.parametrize("mode", ["exact", "predictor"])
def test_no_part_of_the_bundle_stays_mapped(bundle: Path, mode: str) -> None:
    """What is kept is copied: mapped as well, it would count twice against the budget."""
    model = SparseModel.load(bundle, mode=mode)
    assert model.store is not None
    assert str(bundle) not in Path("/proc/self/maps").read_text()


def test_options_reach_the_store(bundle: Path) -> None:
    model = SparseModel.load(bundle, options=StreamOptions(hot_share=0.25, uring=False))
    assert model.store is not None
    assert model.store.options.hot_share == 0.25
    assert model.store.engine.startswith("pread")
