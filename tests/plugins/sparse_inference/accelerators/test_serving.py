"""A workload with an accelerator: bids, settings, loading and answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

import fairlead_kernels as fk
import fairlead_sparse_inference.light as light
from fairlead_agent.plugin import Estimate, GpuFacts, MemoryFacts, NodeFacts, ProcessorFacts, Refusal, Workload
from fairlead_language_model.graph import KVPages
from fairlead_sparse_inference.accelerators import AcceleratorUnavailable
from fairlead_sparse_inference.accelerators.split import neuron_bytes
from fairlead_sparse_inference.engine import ModelUnsupported, SparseModel
from fairlead_sparse_inference.engine.accelerated_loading import hot_neurons, load_accelerated
from fairlead_sparse_inference.settings import AcceleratorSettings, Settings, read_settings
from fairlead_sparse_inference.sparsity.placement.file import PlanError
from fairlead_sparse_inference.sparsity.profile.command import profile
from fairlead_sparse_inference.sparsity.profile.file import read_profile
from fairlead_sparse_inference.worker import Worker
from tests.plugins.sparse_inference.accelerators.test_accelerators import cuda, missing
from tests.plugins.sparse_inference.bundles import bundle_of
from tests.plugins.sparse_inference.test_worker import context

GPU = GpuFacts(name="H", memory_total_bytes=80 << 30, memory_free_bytes=40 << 30)
ONNX = {"kind": "onnxruntime", "providers": ["CPU"]}
native = pytest.mark.skipif(fk.backend().name != "native", reason="the compiled extension is not installed")


def facts(*gpus: GpuFacts) -> NodeFacts:
    return NodeFacts(
        node="edge",
        processor=ProcessorFacts(architecture="x86_64", features=("avx2", "fma"), cores=2, cores_free=2),
        memory=(MemoryFacts(tier="dram", total_bytes=1 << 30, free_bytes=1 << 30),),
        software={"kernels": "native:avx2"},
        gpus=gpus,
    )


def bid(checkpoint: Path, variant: str, node: NodeFacts, **config: Any) -> Estimate | Refusal | None:
    workload = Workload(name="chat", plugin="sparse_inference", config={"model": str(checkpoint), **config})
    return light.plugin.estimate(workload, variant, node)


def test_a_real_gpu_with_software_is_bid_with_its_memory(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light, "lacking_for", lambda kind: None)
    answer = bid(checkpoint, light.GPU, facts(GPU))
    assert isinstance(answer, Estimate), answer
    assert answer.memory_bytes["vram"] > answer.memory_minimum_bytes["vram"] > 0
    assert "100% of the neurons on cuda in bf16" in answer.reason
    part = bid(
        checkpoint, light.GPU, facts(GPU), accelerator={"kind": "cuda", "memory_bytes": 65536, "weights": "bf16"}
    )
    assert isinstance(part, Estimate), part
    assert part.memory_bytes["vram"] == 65536


def test_a_gpu_without_room_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light, "lacking_for", lambda kind: None)
    answer = bid(checkpoint, light.GPU, facts(GPU.model_copy(update={"memory_free_bytes": 1})))
    assert isinstance(answer, Refusal)
    assert answer.needs.endswith("MiB of vram")


def test_a_gpu_without_software_is_refused_with_what_is_missing(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead_sparse_inference.device_software.find_spec", lambda name: None)
    answer = bid(checkpoint, light.GPU, facts(GPU))
    assert isinstance(answer, Refusal)
    assert "torch and triton" in answer.needs
    answer = bid(checkpoint, light.NATIVE, facts(), accelerator={"kind": "onnxruntime"})
    assert isinstance(answer, Refusal)
    assert "onnx and onnxruntime" in answer.needs


@missing("torch", "triton")
@pytest.mark.skipif(cuda(), reason="torch has CUDA")
def test_a_build_of_torch_without_cuda_is_found_without_importing_it(checkpoint: Path) -> None:
    answer = bid(checkpoint, light.GPU, facts(GPU))
    assert isinstance(answer, Refusal)
    assert answer.needs == "a build of torch with CUDA"


@pytest.mark.parametrize(
    ("accelerator", "message"),
    [
        ({"kind": "npu"}, r"accelerator.kind = 'npu': Input should be 'none', 'cuda' or 'onnxruntime'"),
        ({"kind": "cuda", "providers": ["QNN"]}, r"providers and provider_options: accepted with kind = onnxruntime"),
        ({"profile": "p.npz"}, r"accelerator.profile = 'p.npz': accepted: an absolute path"),
        ({"profile": "/p.npz", "plan": "/p.json"}, r"profile and plan: accepted: one of them"),
        ({"memory_bytes": 0}, r"accelerator.memory_bytes = 0: .*greater than or equal to 1"),
        ({"device": 1}, r"accelerator.device = 1: unknown; accepted: kind, memory_bytes, weights"),
    ],
)
def test_bad_settings_are_named(accelerator: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_settings({"accelerator": accelerator})


def test_the_gpu_variant_takes_cuda_only(checkpoint: Path) -> None:
    answer = bid(checkpoint, light.GPU, facts(GPU), accelerator={"kind": "onnxruntime"})
    assert isinstance(answer, Refusal)
    assert answer.reason == "accelerator.kind = 'onnxruntime': accepted with bf16-gpu: cuda, none"


@missing("torch")
@pytest.mark.skipif(cuda(), reason="there is a GPU")
def test_the_gpu_variant_says_in_the_worker_why_it_cannot_start(checkpoint: Path) -> None:
    with pytest.raises(AcceleratorUnavailable, match="CUDA"):
        Worker().prepare(context(checkpoint, "bf16-gpu"))


@native
@missing("onnx", "onnxruntime")
async def test_a_worker_serves_with_an_accelerator(checkpoint: Path) -> None:
    answers: list[str] = []
    for accelerator in ({"kind": "none"}, ONNX):
        worker = Worker()
        given = context(checkpoint, accelerator=accelerator, weight_bits=8)
        worker.prepare(given)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(worker.application(given)), base_url="http://t"
        ) as c:
            body = {"model": "chat", "prompt": "The rain", "max_tokens": 6, "temperature": 0}
            answers.append((await c.post("/v1/completions", json=body)).json()["choices"][0]["text"])
        assert "vram" not in worker.reconfigure(given.budget, 1.0).in_use
        worker.drain()
    assert answers[0]
    assert answers[0][:2] == answers[1][:2]


def next_logits(model: SparseModel) -> np.ndarray:
    pages = KVPages(model.config, 2, 16)
    table = np.arange(2, dtype=np.int32)
    decoder = model.decoder(pages)
    decoder.prefill(np.arange(3, 9, dtype=np.int32), 0, table)
    return decoder.step(7, 6, table).logits


@native
@missing("onnx", "onnxruntime")
@pytest.mark.parametrize("mode", ["exact", "predictor"])
@pytest.mark.parametrize("share", [0.3, None], ids=["a part", "all"])
def test_a_bundle_with_hot_neurons_elsewhere(checkpoint: Path, tmp_path: Path, mode: str, share: float | None) -> None:
    path = bundle_of(checkpoint, tmp_path / "bundle")
    settings = Settings(model=str(path), mode=mode)
    alone = SparseModel.load(path, mode=mode, streamed=False)
    neurons = sum(layer.neurons for layer in alone.weights.layers)
    size = neuron_bytes(alone.weights.layers[0])
    memory = None if share is None else int(share * neurons * size)
    hybrid = load_accelerated(settings, AcceleratorSettings(**ONNX, memory_bytes=memory), None)
    assert hybrid.accelerator.loaded_bytes > 0
    assert memory is None or hybrid.accelerator.loaded_bytes <= 1.2 * memory  # as ONNX packs them
    if mode == "exact":
        expected, got = next_logits(alone), next_logits(hybrid)
        assert np.linalg.norm(got - expected) < 0.1 * np.linalg.norm(expected)
    assert np.isfinite(next_logits(hybrid)).all()
    hybrid.accelerator.close()


@native
def test_a_plan_names_the_hot_neurons(checkpoint: Path, tmp_path: Path) -> None:
    model = SparseModel.load(checkpoint)
    layers, neurons = len(model.weights.layers), model.weights.layers[0].neurons
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "layers": [{"pinned": [1, 5]}] * layers}))
    wanted = AcceleratorSettings(plan=str(plan))
    hot = hot_neurons(model, wanted, None)
    assert [np.flatnonzero(mask).tolist() for mask in hot] == [[1, 5]] * layers
    assert len(hot[0]) == neurons
    with pytest.raises(PlanError, match=r"pinned neurons take \d+ bytes; accepted: memory_bytes = 100 or less"):
        hot_neurons(model, wanted, 100)


@native
def test_a_profile_names_the_neurons_that_fire_most(checkpoint: Path, tmp_path: Path) -> None:
    text, out = tmp_path / "harbour.txt", tmp_path / "profile.npz"
    text.write_text("the ship lay at anchor in a quiet bay while men sang old songs and the wind turned north. " * 40)
    done = CliRunner().invoke(profile, [str(checkpoint), str(text), "--out", str(out), "--tokens", "128"])
    assert done.exit_code == 0, done.output
    model, often = SparseModel.load(checkpoint), read_profile(out).frequencies()
    layer = model.weights.layers[0]
    room = neuron_bytes(layer, "packed") * len(model.weights.layers) * layer.neurons // 4
    hot = hot_neurons(model, AcceleratorSettings(profile=str(out), weights="packed"), room)
    assert 0 < sum(int(mask.sum()) for mask in hot) <= len(hot) * layer.neurons // 4 + 1
    for mask, shares in zip(hot, often, strict=True):
        assert not mask.any() or shares[mask].mean() > 1.3 * shares[~mask].mean()


def test_mixtures_are_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = SimpleNamespace(gate=None)
    mixture = SimpleNamespace(weights=SimpleNamespace(layers=[layer]))
    monkeypatch.setattr(SparseModel, "load", lambda *a, **k: mixture)
    with pytest.raises(ModelUnsupported, match="no accelerator takes mixtures of experts"):
        load_accelerated(Settings(model=str(checkpoint)), AcceleratorSettings(kind="onnxruntime"), None)
