"""An accelerator holds the hot neurons of a bundle while the others are streamed from it (PowerInfer-2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import fairlead_kernels as fk
from fairlead_agent.plugin import Budget, Estimate, MemoryFacts
from fairlead_kernels.streamed import StreamOptions
from fairlead_language_model.graph import KVPages
from fairlead_language_model.hf_config import read_hf_config
from fairlead_sparse_inference import light
from fairlead_sparse_inference.accelerators import open_accelerator
from fairlead_sparse_inference.accelerators.split import leading
from fairlead_sparse_inference.bundle import Bundle, open_bundle
from fairlead_sparse_inference.engine import SparseModel
from fairlead_sparse_inference.engine.accelerated_loading import hot_of_bundle, hot_places
from fairlead_sparse_inference.engine.hybrid_model import HybridModel, network_of
from fairlead_sparse_inference.settings import AcceleratorSettings
from fairlead_sparse_inference.sparsity.placement.file import PlanError
from fairlead_sparse_inference.worker import Worker
from tests.plugins.sparse_inference.accelerators.test_accelerators import missing
from tests.plugins.sparse_inference.accelerators.test_serving import ONNX, bid, facts
from tests.plugins.sparse_inference.bundles import bundle_of, synthetic_bundle
from tests.plugins.sparse_inference.test_opt_bundle import command, opt
from tests.plugins.sparse_inference.test_worker import context

native = pytest.mark.skipif(fk.backend().name != "native", reason="the compiled extension is not installed")
TABLE = np.arange(4, dtype=np.int32)
PROMPT = np.arange(3, 15, dtype=np.int32)


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(checkpoint, tmp_path_factory.mktemp("hybrid") / "bundle")


def masks(bundle: Bundle, places: list[int]) -> list[np.ndarray]:
    """The neurons at the first places of each layer."""
    made = []
    for layer, count in enumerate(places):
        mask = np.zeros(bundle.networks[f"layers.{layer}"].neurons, np.bool_)
        mask[bundle.order(f"layers.{layer}")[:count]] = True
        made.append(mask)
    return made


def in_memory(path: Path, mode: str, places: list[int]) -> HybridModel:
    model = SparseModel.load(path, mode=mode, streamed=False)
    return HybridModel(model, open_accelerator("processor", network_of(model)), masks(open_bundle(path), places))


def streamed(path: Path, mode: str, places: list[int]) -> HybridModel:
    model = SparseModel.load(path, mode=mode, elsewhere=places)
    device = open_accelerator("processor", network_of(model))
    return HybridModel.streamed(model, device, hot_of_bundle(open_bundle(path), places))


def logits(model: SparseModel) -> list[np.ndarray]:
    """A prompt's last, single tokens' and several sequences' logits."""
    pages = KVPages(model.config, 4, 16)
    decoder = model.decoder(pages)
    got = [decoder.prefill(PROMPT, 0, TABLE).logits.copy()]
    got += [decoder.step(token, 12 + at, TABLE).logits.copy() for at, token in enumerate((7, 40, 9, 7, 11))]
    tables, positions = [TABLE, TABLE], np.array([17, 18], np.int32)
    got.append(decoder.step_many(np.array([5, 6], np.int32), positions, tables).logits.copy())
    return got


@native
@pytest.mark.parametrize("mode", ["exact", "predictor"])
@pytest.mark.parametrize("share", [0.25, 0.6])
def test_the_bits_are_those_of_a_hybrid_in_memory_whatever_is_cached(bundle: Path, mode: str, share: float) -> None:
    opened = open_bundle(bundle)
    together = opened.layout.cluster_neurons
    neurons = opened.networks["layers.0"].neurons
    places = [int(share * neurons) // together * together for _ in opened.networks]
    expected = logits(in_memory(bundle, mode, places))
    model = streamed(bundle, mode, places)
    assert model.store is not None
    assert model.store.shape.total_slots < SparseModel.load(bundle, mode=mode).store.shape.total_slots  # type: ignore[union-attr]
    for slots in (model.store.shape.full_slots, max(2, model.store.shape.full_slots // 3)):
        model.store.resize(slots)
        for one, other in zip(logits(model), expected, strict=True):
            np.testing.assert_array_equal(one, other)


@native
def test_layers_without_hot_neurons_stay_as_they_are(bundle: Path) -> None:
    together = open_bundle(bundle).layout.cluster_neurons
    places = [0] * len(open_bundle(bundle).networks)
    places[0] = 4 * together
    expected = logits(in_memory(bundle, "exact", places))
    for one, other in zip(logits(streamed(bundle, "exact", places)), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@native
def test_a_model_of_another_size_with_few_slots(checkpoint: Path, tmp_path: Path) -> None:
    """Bundles of whole blocks, hot ones first; most of what is cold is never in memory at once."""
    path = synthetic_bundle(tmp_path / "wide", checkpoint, hidden=2048, neurons=300, layers=2, active=0.2)
    places = [100, 37]
    expected = logits(in_memory(path, "predictor", places))
    model = streamed(path, "predictor", places)
    assert model.store is not None
    model.store.resize(model.store.shape.full_slots // 3)
    for one, other in zip(logits(model), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@native
def test_two_matrices_with_biases(tmp_path: Path) -> None:
    """OPT: the first matrix's bias is divided as its rows are, the second's stays with the processor."""
    path = tmp_path / "bundle"
    command("convert", opt(tmp_path / "model"), path, "--bits", "8")
    opened = open_bundle(path)
    places = [3 * opened.layout.cluster_neurons] * len(opened.networks)
    alone, hybrid = SparseModel.load(path), streamed(path, "exact", places)
    for one, other, whole in zip(logits(hybrid), logits(in_memory(path, "exact", places)), logits(alone), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, whole, rtol=1e-3, atol=1e-3)


@native
def test_a_read_that_fails_ends_the_step_and_the_next_goes_on(bundle: Path) -> None:
    places = [2 * open_bundle(bundle).layout.cluster_neurons] * len(open_bundle(bundle).networks)
    size = (bundle / "neurons.bin").stat().st_size
    broken = SparseModel.load(bundle, elsewhere=places, options=StreamOptions(broken=((size // 2, size),)))
    device = open_accelerator("processor", network_of(broken))
    model = HybridModel.streamed(broken, device, hot_of_bundle(open_bundle(bundle), places))
    with pytest.raises(OSError, match=r"neurons\.bin"):
        logits(model)
    with pytest.raises(OSError, match=r"neurons\.bin"):
        logits(model)


def test_places_are_whole_clusters_and_never_all() -> None:
    orders = [np.arange(10, dtype=np.int32)] * 3
    hot = [np.arange(10) < count for count in (5, 10, 1)]
    assert leading(hot, orders, 1) == [5, 9, 1]
    assert leading(hot, orders, 4) == [4, 8, 0]


def test_memory_decides_how_many_places(bundle: Path) -> None:
    opened, config = open_bundle(bundle), read_hf_config(bundle / "config.json")
    size = opened.layout.matrices * opened.layout.row_bytes
    neurons = sum(network.neurons for network in opened.networks.values())
    wanted = AcceleratorSettings(kind="onnxruntime")
    few = hot_places(opened, config, wanted, size * neurons // 4)
    assert 0 < sum(few) <= neurons // 4
    assert sum(hot_places(opened, config, wanted, None)) < neurons
    wide = wanted.model_copy(update={"weights": "bf16"})
    assert sum(hot_places(opened, config, wide, size * neurons // 4)) < sum(few)


def test_a_plan_that_pins_other_neurons_than_come_first_is_refused(bundle: Path, tmp_path: Path) -> None:
    opened, config = open_bundle(bundle), read_hf_config(bundle / "config.json")
    orders = [opened.order(f"layers.{layer}") for layer in range(config.num_hidden_layers)]
    plan = tmp_path / "plan.json"

    def places(pinned: list[list[int]]) -> list[int]:
        plan.write_text(json.dumps({"version": 1, "layers": [{"pinned": one} for one in pinned]}))
        return hot_places(opened, config, AcceleratorSettings(kind="onnxruntime", plan=str(plan)), None)

    together = opened.layout.cluster_neurons
    assert places([order[: 2 * together].tolist() for order in orders]) == [2 * together] * len(orders)
    with pytest.raises(PlanError, match=r"layer 0: the pinned neurons are not the first .*sparse convert --plan"):
        places([order[1:3].tolist() for order in orders])


def test_bids_know_that_the_rest_may_be_streamed(
    bundle: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light, "lacking_for", lambda kind: None)
    wide = synthetic_bundle(bundle.parent / "wide", checkpoint, hidden=1024, neurons=4096, layers=4)
    layout, networks = open_bundle(wide).layout, open_bundle(wide).networks.values()
    bytes_of_half = layout.matrices * layout.row_bytes * sum(network.neurons for network in networks) // 2

    def minimum(**accelerator: Any) -> Estimate:
        little = MemoryFacts(tier="dram", total_bytes=1 << 30, free_bytes=1 << 28)
        node = facts().model_copy(update={"memory": (little,)})
        answer = bid(wide, light.NATIVE, node, accelerator=accelerator)
        assert isinstance(answer, Estimate), answer
        return answer

    alone, half = minimum(), minimum(**ONNX, memory_bytes=bytes_of_half)
    assert half.memory_minimum_bytes["dram"] < alone.memory_minimum_bytes["dram"]
    assert half.memory_bytes["dram"] <= 1 << 28
    assert "50% of the neurons on onnxruntime" in half.reason


@native
@missing("onnx", "onnxruntime")
async def test_a_budget_that_is_cut_while_it_serves_changes_no_text(bundle: Path) -> None:
    opened = open_bundle(bundle)
    memory = opened.layout.matrices * opened.layout.row_bytes * opened.networks["layers.0"].neurons // 2
    worker = Worker()
    given = context(bundle, accelerator={**ONNX, "memory_bytes": memory}, context_tokens=64, max_sequences=1)
    worker.prepare(given)
    application = worker.application(given)

    async def text() -> str:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            body = {"model": "chat", "prompt": "The rain", "max_tokens": 12, "temperature": 0}
            return (await client.post("/v1/completions", json=body)).json()["choices"][0]["text"]

    before = await text()
    least = worker.reconfigure(given.budget, 1.0).minimum["dram"]
    budget = given.budget.model_copy(update={"memory_bytes": {"dram": least}})
    assert worker.reconfigure(budget, 1.0).accepted
    assert await text() == before
    too_little = worker.reconfigure(Budget(memory_bytes={"dram": 1 << 20}), 1.0)
    assert not too_little.accepted
    assert "at least" in too_little.reason
    worker.drain()
