"""The light module: what the agent asks before it starts anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead_agent.plugin import Estimate, GpuFacts, MemoryFacts, NodeFacts, ProcessorFacts, Refusal, Workload
from fairlead_sparse_inference.light import GPU, NATIVE, NUMPY, isa, plugin

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
    assert native.throughput_per_s.p50 > 1.5 * fallback.throughput_per_s.p50
    assert native.latency_s.p50 < fallback.latency_s.p50
    assert native.throughput_unit == "token"


def test_a_slower_processor_and_a_narrow_memory_slow_the_estimate(workload: Workload) -> None:
    usual = estimated(workload, NATIVE, facts())
    slow = estimated(workload, NATIVE, facts(processor={"speed_factor": 0.4}))
    assert slow.throughput_per_s.p50 < usual.throughput_per_s.p50
    assert slow.startup_s.p50 > usual.startup_s.p50
    narrow = estimated(workload, NATIVE, facts(processor={"memory_bandwidth_bytes_per_s": 1e7}))
    assert narrow.throughput_per_s.p50 < 0.5 * usual.throughput_per_s.p50


def test_what_was_measured_here_corrects_and_narrows_the_estimate(workload: Workload) -> None:
    usual = estimated(workload, NATIVE, facts())
    measured = estimated(workload, NATIVE, facts(calibration={NATIVE: 0.5}))
    assert measured.throughput_per_s.p50 == pytest.approx(usual.throughput_per_s.p50 / 2)
    spread = [answer.throughput_per_s.p90 / answer.throughput_per_s.p10 for answer in (usual, measured)]
    assert spread[1] < spread[0]


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
    assert "num_hidden_layers" in refused(broken, NATIVE, facts()).reason


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


def test_the_instruction_set_follows_the_processor() -> None:
    assert isa("aarch64", ("asimd",)) == "neon"
    assert isa("x86_64", ("avx2", "fma", "avx512f", "avx512bw", "avx512vl")) == "avx512"
    assert isa("x86_64", ("sse4_2",)) == "plain"


def test_probe_says_what_the_kernels_say() -> None:
    import fairlead_kernels
    from fairlead_sparse_inference.light import _processor_flags

    found = plugin.probe(facts(processor={"features": _processor_flags()}))
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
