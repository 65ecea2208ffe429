"""The light module: what the agent asks before it starts anything."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from fairlead_agent.plugin import Estimate, GpuFacts, MemoryFacts, NodeFacts, ProcessorFacts, Refusal, Workload
from fairlead_kernels import packed_row_bytes
from fairlead_sparse_inference.footprint import Footprint, UnknownModel, read_footprint
from fairlead_sparse_inference.light import GPU, NATIVE, NUMPY, plugin

from .bundles import synthetic_bundle
from .experts import FAMILIES, random_experts

GIB = 2**30


def facts(**changes: Any) -> NodeFacts:
    processor: dict[str, Any] = {
        "architecture": "x86_64",
        "features": ("avx2", "fma"),
        "cores": 2,
        "cores_free": 2,
        "memory_bandwidth_bytes_per_s": 10e9,
    }
    processor |= changes.pop("processor", {})
    free = changes.pop("free_bytes", GIB)
    return NodeFacts(
        node="edge",
        processor=ProcessorFacts(**processor),
        memory=(MemoryFacts(tier="dram", total_bytes=GIB, free_bytes=free),),
        software=changes.pop("software", {"kernels": "native:avx2"}),
        **changes,
    )


@pytest.fixture
def workload(checkpoint: Path) -> Workload:
    return Workload(name="chat", plugin="sparse_inference", config={"model": str(checkpoint)})


def estimated(workload: Workload, variant: str, node: NodeFacts) -> Estimate:
    answer = plugin.estimate(workload, variant, node)
    assert isinstance(answer, Estimate), answer
    return answer


def refused(workload: Workload, variant: str, node: NodeFacts) -> Refusal:
    answer = plugin.estimate(workload, variant, node)
    assert isinstance(answer, Refusal), answer
    return answer


def test_native_kernels_beat_the_fallback(workload: Workload) -> None:
    native, fallback = (estimated(workload, variant, facts()) for variant in (NATIVE, NUMPY))
    assert native.throughput_per_s.p50 > 2 * fallback.throughput_per_s.p50
    assert native.latency_s.p50 < fallback.latency_s.p50
    assert native.throughput_unit == "token"


def test_a_slower_processor_and_a_narrow_memory_slow_the_estimate(workload: Workload) -> None:
    usual = estimated(workload, NATIVE, facts())
    slow = estimated(workload, NATIVE, facts(processor={"speed_factor": 0.4}))
    assert slow.throughput_per_s.p50 < usual.throughput_per_s.p50
    assert slow.startup_s.p50 > usual.startup_s.p50
    narrow = estimated(workload, NATIVE, facts(processor={"memory_bandwidth_bytes_per_s": 1e7}))
    assert narrow.throughput_per_s.p50 < 0.5 * usual.throughput_per_s.p50


def test_energy_is_stated_only_where_the_profile_knows_power(workload: Workload) -> None:
    assert estimated(workload, NATIVE, facts()).energy_j is None
    answer = estimated(workload, NATIVE, facts(watts_per_core=4.0))
    assert answer.energy_j is not None
    assert answer.energy_j.p50 == pytest.approx(8.0 / answer.throughput_per_s.p50)


def test_memory_grows_with_the_sequences_and_has_a_minimum(workload: Workload) -> None:
    many = workload.model_copy(update={"config": {**workload.config, "max_sequences": 16}})
    one, sixteen = (estimated(w, NATIVE, facts()).memory_bytes["dram"] for w in (workload, many))
    assert sixteen > one
    minima = [estimated(w, NATIVE, facts()).memory_minimum_bytes["dram"] for w in (workload, many)]
    assert minima[0] == minima[1] < one
    answer = refused(workload, NATIVE, facts(free_bytes=32 * 2**20))
    assert answer.reason == "too little free memory"
    assert answer.has == "32 MiB of dram"


def test_a_draft_model_and_sessions_take_memory(workload: Workload, checkpoint: Path, tmp_path: Path) -> None:
    def minimum(**config: Any) -> int:
        asked = workload.model_copy(update={"config": {**workload.config, **config}})
        return estimated(asked, NATIVE, facts()).memory_minimum_bytes["dram"]

    weights = (checkpoint / "model.safetensors").stat().st_size
    assert minimum(draft_model=str(checkpoint)) > minimum() + weights
    assert minimum(session_directory="/sessions") > minimum()
    assert minimum(draft="ngram") == minimum()
    missing = workload.model_copy(update={"config": {**workload.config, "draft_model": str(tmp_path / "gone")}})
    assert "gone" in refused(missing, NATIVE, facts()).reason


def test_a_variant_without_its_kernels_is_refused_with_the_reason(workload: Workload) -> None:
    node = facts(software={"kernels": "numpy:no compiled module is installed"})
    answer = refused(workload, NATIVE, node)
    assert answer.reason == "no compiled kernels here"
    assert "no compiled module" in answer.has
    assert isinstance(plugin.estimate(workload, NUMPY, node), Estimate)


SIMULATED = GpuFacts(name="A", memory_total_bytes=1, memory_free_bytes=1, simulated=True)


@pytest.mark.parametrize(("gpus", "has"), [((), "no GPU"), ((SIMULATED,), "a simulated GPU")])
def test_the_gpu_variant_needs_a_real_gpu(workload: Workload, gpus: tuple[GpuFacts, ...], has: str) -> None:
    assert refused(workload, GPU, facts(gpus=gpus)).has == has


def test_an_unknown_variant_is_none_of_ours(workload: Workload) -> None:
    assert plugin.estimate(workload, "int4-npu", facts()) is None


def test_a_model_that_is_not_on_the_node_is_refused(workload: Workload, tmp_path: Path) -> None:
    gone = workload.model_copy(update={"config": {"model": str(tmp_path / "gone")}})
    assert "gone/config.json" in refused(gone, NATIVE, facts()).reason
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 64}))
    broken = workload.model_copy(update={"config": {"model": str(tmp_path)}})
    assert "num_attention_heads" in refused(broken, NATIVE, facts()).reason


def test_a_context_beyond_the_models_is_refused(workload: Workload) -> None:
    wide = workload.model_copy(update={"config": {**workload.config, "context_tokens": 4096}})
    assert "context_tokens = 4096: accepted: at most 128" in refused(wide, NATIVE, facts()).reason


def test_validate_fills_in_defaults(checkpoint: Path) -> None:
    config = plugin.validate({"model": str(checkpoint), "max_sequences": 2})
    assert config["max_sequences"] == 2
    assert config["max_waiting"] == 32


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": "no-such-model"}, "model = 'no-such-model': accepted: "),
        ({"max_sequence": 2}, "max_sequence = 2: unknown; accepted: model"),
        ({"max_sequences": 0}, "max_sequences = 0: "),
        ({"context_tokens": "many"}, "context_tokens = 'many': "),
    ],
)
def test_validate_names_field_value_and_what_is_accepted(config: dict[str, Any], words: str, checkpoint: Path) -> None:
    with pytest.raises(ValueError) as raised:
        plugin.validate({"model": str(checkpoint), **config})
    assert words in str(raised.value)


def test_probe_says_what_the_kernels_say() -> None:
    import fairlead_kernels
    from fairlead_language_model.installed import processor_flags

    found = plugin.probe(facts(processor={"features": processor_flags()}))
    backend = fairlead_kernels.backend()
    assert found["kernels"].split(":")[0] == backend.name
    if backend.name == "native":
        assert found["kernels"] == f"native:{backend.isa}"


def test_importing_the_light_module_imports_nothing_heavy() -> None:
    script = (
        "import sys, fairlead_sparse_inference.light as light; light.plugin.describe(); "
        "heavy = {'numpy', 'torch', 'starlette', 'uvicorn', 'tokenizers', 'fairlead_kernels'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[]"


def gguf(**numbers: int) -> bytes:
    """A GGUF header without tensors."""

    def string(text: str) -> bytes:
        return struct.pack("<Q", len(text)) + text.encode()

    pairs = [string("general.architecture") + struct.pack("<I", 8) + string("llama")]
    pairs += [string(f"llama.{name}") + struct.pack("<II", 4, value) for name, value in numbers.items()]
    tokens = struct.pack("<IIQ", 9, 8, 3) + b"".join(map(string, ("a", "b", "c")))
    pairs.append(string("tokenizer.ggml.tokens") + tokens)
    return struct.pack("<4sIQQ", b"GGUF", 3, 0, len(pairs)) + b"".join(pairs)


NUMBERS = {
    "block_count": 2,
    "embedding_length": 64,
    "feed_forward_length": 128,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "context_length": 256,
}


def test_a_gguf_model_is_measured_by_its_header(workload: Workload, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf(**NUMBERS))
    model = read_footprint(path)
    assert (model.layers, model.kv_width, model.context) == (2, 32, 256)
    assert model.weights == 2 * (2 * 64 * (64 + 32) + 3 * 64 * 128) + 3 * 64
    named = workload.model_copy(update={"config": {"model": str(path)}})
    assert estimated(named, NATIVE, facts()).throughput_per_s.p50 > 0


def test_a_powerinfer_file_is_measured_as_sparse(tmp_path: Path) -> None:
    path = tmp_path / "model.powerinfer.gguf"
    path.write_bytes(b"PWRI" + gguf(**NUMBERS)[4:])
    model = read_footprint(path)
    assert 0.5 < model.sparsity < 1 and model.active_weights < model.weights


def test_opt_has_two_matrices_a_neuron(tmp_path: Path) -> None:
    config = {
        "architectures": ["OPTForCausalLM"],
        "vocab_size": 300,
        "hidden_size": 64,
        "ffn_dim": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = read_footprint(tmp_path)
    assert model.weights == 2 * (4 * 64 * 64 + 2 * 64 * 256) + 300 * 64
    assert model.active_weights == pytest.approx(model.weights - 2 * 64 * 256 * model.sparsity)
    assert model.sparsity > 0.5


EXPERTS = {
    "architectures": ["Qwen2MoeForCausalLM"],
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 96,
    "shared_expert_intermediate_size": 32,
    "mlp_only_layers": [0],
}


def test_a_token_pays_for_the_experts_that_it_chooses(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(EXPERTS))
    model = read_footprint(tmp_path)
    outside = 3 * 4 * 64 * 64 + 300 * 64 + 2 * 9 * 64
    assert model.weights == outside + 3 * 64 * (128 + 2 * (2 * 96 + 32))
    assert model.idle_weights == 3 * 64 * 2 * 6 * 96
    assert model.weight_bytes(4) == int((model.weights + model.idle_weights) * (4 / 8 + 2 / 32))
    (tmp_path / "config.json").write_text(json.dumps(EXPERTS | {"num_experts_per_tok": 9}))
    with pytest.raises(UnknownModel, match=r"num_experts_per_tok = 9: accepted: 1 to 8"):
        read_footprint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in EXPERTS.items() if k != "num_experts_per_tok"}))
    with pytest.raises(UnknownModel, match="num_experts_per_tok' is missing"):
        read_footprint(tmp_path)


def test_experts_in_gguf_have_an_estimate(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    dense = read_footprint_of(path, NUMBERS)
    mixed = read_footprint_of(path, NUMBERS | {"expert_count": 8, "expert_used_count": 2})
    assert mixed.weights > dense.weights and mixed.idle_weights > 2 * mixed.weights / 8
    assert mixed.neurons == dense.neurons and mixed.networks == 8 * dense.networks


def read_footprint_of(path: Path, numbers: dict[str, int]) -> Footprint:
    path.write_bytes(gguf(**numbers))
    return read_footprint(path)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_footprint_counts_the_weights_of_experts(tmp_path: Path, family: str) -> None:
    path = random_experts(tmp_path / "model", family)
    model = read_footprint(path)
    with safe_open(path / "model.safetensors", "np") as stored:
        shapes = [stored.get_slice(name).get_shape() for name in stored.keys()]  # noqa: SIM118
    matrices = sum(rows * columns for shape in shapes if len(shape) == 2 for rows, columns in [shape])
    assert model.weights + model.idle_weights == matrices


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_are_bid_for(tmp_path: Path, family: str) -> None:
    path = random_experts(tmp_path / "model", family)
    workload, model = (
        Workload(name="chat", plugin="sparse_inference", config={"model": str(path)}),
        read_footprint(path),
    )
    answer = estimated(workload, NATIVE, facts())
    total = (model.weights + model.idle_weights) / 1e6
    assert f"of {total:.1f} M weights a token" in answer.reason
    dearer = json.loads((path / "config.json").read_text())
    name = next(name for name in dearer if name in ("num_experts_per_tok", "moe_num_active_primary_experts"))
    (path / "config.json").write_text(json.dumps(dearer | {name: 6}))
    assert estimated(workload, NATIVE, facts()).throughput_per_s.p50 < answer.throughput_per_s.p50


@pytest.mark.parametrize("mode", ["exact", "predictor"])
def test_experts_of_a_bundle_may_be_on_storage_whatever_the_mode(tmp_path: Path, mode: str) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(EXPERTS | {"hidden_size": 1024}))
    networks = [{"neurons": 128}, *({"neurons": 96} for _ in range(16)), *({"neurons": 32} for _ in range(2))]
    (bundle / "bundle.json").write_text(json.dumps({"hidden": 1024, "bits": 4, "networks": networks}))
    model = read_footprint(bundle)
    assert model.cache_bytes(mode, 1) == model.neuron_bytes and model.cache_bytes(mode, 0.25) < model.neuron_bytes / 3


@given(st.data())
def test_a_damaged_gguf_header_is_refused_and_never_crashes(data: st.DataObject) -> None:
    whole = bytearray(gguf(**NUMBERS))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        path.write_bytes(cut)
        try:
            read_footprint(path)
        except UnknownModel as error:
            assert "model.gguf" in str(error)


def test_the_stories_model_in_gguf_is_served(tmp_path: Path) -> None:
    data = os.environ.get("FAIRLEAD_DATA")
    if not data:
        pytest.skip("FAIRLEAD_DATA is not set")
    path = next(Path(data).rglob("*.gguf"), None)
    if path is None:
        pytest.skip("no .gguf file in FAIRLEAD_DATA")
    from fairlead_sparse_inference.engine import Engine, SparseModel

    from .conftest import greedy, run

    footprint, model = read_footprint(path), SparseModel.load(path)
    assert footprint.layers == model.config.num_hidden_layers
    engine = Engine(model)
    try:
        answer = run(engine, greedy(model.tokenizer.encode("Once upon a time"), 30))
        assert len(answer.text.split()) > 5
    finally:
        engine.close()


def test_a_bundle_asks_for_what_there_is_down_to_its_minimum(checkpoint: Path, tmp_path: Path) -> None:
    path = synthetic_bundle(tmp_path / "bundle", checkpoint, hidden=1024, neurons=4096, layers=3)
    model = read_footprint(path)
    assert model.neuron_bytes == 3 * 4096 * 3 * packed_row_bytes(1024, 4)
    asked: dict[str, list[int]] = {}
    for mode in ("exact", "predictor"):
        bundle = Workload(name="chat", plugin="sparse_inference", config={"model": str(path), "mode": mode})
        plenty = estimated(bundle, NATIVE, facts())
        minimum = plenty.memory_minimum_bytes["dram"]
        little = estimated(bundle, NATIVE, facts(free_bytes=minimum + 2**20))
        assert little.memory_bytes["dram"] == minimum + 2**20 < plenty.memory_bytes["dram"]
        refused(bundle, NATIVE, facts(free_bytes=minimum - 1))
        asked[mode] = [minimum, plenty.memory_bytes["dram"]]
    assert asked["predictor"][0] < asked["exact"][0], "exact mode holds all gates"
    assert asked["predictor"][1] == asked["exact"][1]
