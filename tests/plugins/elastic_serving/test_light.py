"""The light module: what a node bids for a model that it could serve, and why it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead_agent.plugin import Estimate, GpuFacts, MemoryFacts, NodeFacts, ProcessorFacts, Refusal, Workload
from fairlead_elastic_serving.cost import VARIANTS
from fairlead_elastic_serving.footprint import UnknownModel, read_footprint
from fairlead_elastic_serving.light import plugin
from fairlead_elastic_serving.settings import read_settings, shipped_models

GIB = 2**30
LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory that looks like a model of 8 billion parameters."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    return tmp_path


def facts(free: int = 64 * GIB, torch: str = "cpu", **changes: Any) -> NodeFacts:
    processor: dict[str, Any] = {
        "architecture": "x86_64",
        "features": ("avx512f", "amx_bf16"),
        "cores": 8,
        "cores_free": 8,
        "memory_bandwidth_bytes_per_s": 40e9,
        **changes.pop("processor", {}),
    }
    return NodeFacts(
        node="edge",
        processor=ProcessorFacts(**processor),
        memory=(MemoryFacts(tier="dram", total_bytes=free, free_bytes=free),),
        software={"elastic_torch": torch},
        **changes,
    )


def bid(model: Path, variant: str, node: NodeFacts, **config: Any) -> Estimate | Refusal:
    workload = Workload(name="chat", plugin="elastic_serving", config={"model": str(model), **config})
    answer = plugin.estimate(workload, variant, node)
    assert answer is not None
    return answer


def estimated(*args: Any, **config: Any) -> Estimate:
    answer = bid(*args, **config)
    assert isinstance(answer, Estimate), answer
    return answer


def refused(*args: Any, **config: Any) -> Refusal:
    answer = bid(*args, **config)
    assert isinstance(answer, Refusal), answer
    return answer


def test_sizes_are_those_of_the_architecture(model: Path) -> None:
    """Llama 3 8B: 8.03 billion parameters, 128 KiB of keys and values a token in 16 bits."""
    found = read_footprint(model)
    parameters = found.step_parameters + found.vocabulary * found.hidden
    assert parameters == pytest.approx(8.03e9, rel=0.001)
    assert found.layer_bytes("bfloat16") + found.ends_bytes("bfloat16") == pytest.approx(2 * parameters, rel=0.001)
    assert found.token_bytes("bfloat16") == pytest.approx(128 * 1024, rel=0.02)


def test_memory_holds_weights_and_keys_and_values(model: Path) -> None:
    whole = estimated(model, "bf16-cpu", facts(256 * GIB), max_sequences=8).memory_bytes["dram"]
    least = estimated(model, "bf16-cpu", facts(256 * GIB), max_sequences=8).memory_minimum_bytes["dram"]
    assert 15 * GIB < least < whole
    assert whole - least == pytest.approx(8 * GIB, rel=0.1), "eight contexts of a GiB, and what pages round up"
    assert estimated(model, "f32-cpu", facts(256 * GIB)).memory_minimum_bytes["dram"] > 1.9 * least
    capped = estimated(model, "bf16-cpu", facts(256 * GIB), max_sequences=8, kv_bytes=GIB // 2)
    assert capped.memory_bytes["dram"] - capped.memory_minimum_bytes["dram"] < GIB // 2
    answer = refused(model, "bf16-cpu", facts(8 * GIB))
    assert (answer.reason, answer.has) == ("too little free memory", "8192 MiB of dram")


def test_a_decode_step_is_bound_by_memory_and_a_prompt_by_arithmetic(model: Path) -> None:
    usual = estimated(model, "bf16-cpu", facts())
    wide = estimated(model, "bf16-cpu", facts(processor={"memory_bandwidth_bytes_per_s": 80e9}))
    assert wide.throughput_per_s.p50 > 1.5 * usual.throughput_per_s.p50
    assert wide.latency_s.p50 == pytest.approx(usual.latency_s.p50)
    plain = estimated(model, "bf16-cpu", facts(processor={"features": ("avx2",)}))
    assert plain.latency_s.p50 > 5 * usual.latency_s.p50, "without instructions for bfloat16"
    assert usual.throughput_per_s.p50 > estimated(model, "f32-cpu", facts()).throughput_per_s.p50


def test_a_larger_batch_gives_more_tokens(model: Path) -> None:
    rates = [estimated(model, "bf16-cpu", facts(), max_sequences=n).throughput_per_s.p50 for n in (1, 8)]
    assert rates[1] > 4 * rates[0]


def test_keys_and_values_in_tiers_take_less_memory_and_time(model: Path) -> None:
    raw, tiered = (
        estimated(model, "bf16-cpu", facts(256 * GIB), max_sequences=32, kv_format=kind) for kind in ("raw", "tiered")
    )
    assert tiered.memory_bytes["dram"] < 0.6 * raw.memory_bytes["dram"]
    assert tiered.memory_minimum_bytes == raw.memory_minimum_bytes
    assert tiered.throughput_per_s.p50 > raw.throughput_per_s.p50
    assert 3 < read_footprint(model).compression("bfloat16") < 6


def test_what_is_missing_is_said_with_what_to_install(model: Path) -> None:
    answer = refused(model, "f32-cpu", facts(torch="missing"))
    assert answer.reason == "PyTorch is not installed here"
    assert "pip install 'fairlead-elastic-serving[torch]'" in answer.needs
    assert refused(model, "bf16-cuda", facts()).has == "no GPU"
    gpu = GpuFacts(name="g", memory_total_bytes=80 * GIB, memory_free_bytes=80 * GIB, simulated=True)
    assert refused(model, "bf16-cuda", facts(torch="cuda", gpus=(gpu,))).has == "a simulated GPU"
    real = gpu.model_copy(update={"simulated": False})
    assert "CUDA" in refused(model, "bf16-cuda", facts(torch="cpu", gpus=(real,))).needs


def test_a_workload_chooses_the_arithmetic(model: Path) -> None:
    answer = refused(model, "f32-cpu", facts(), dtype="bfloat16")
    assert answer.reason == "dtype = 'bfloat16': this variant computes in float32"
    estimated(model, "bf16-cpu", facts(), dtype="bfloat16")


def test_the_manifests_variants_are_those_that_bid() -> None:
    import fairlead_elastic_serving
    from fairlead_agent.plugin.manifest import load_manifest

    manifest = load_manifest(Path(str(fairlead_elastic_serving.__file__)).with_name("plugin.yaml"))
    assert [variant.name for variant in manifest.variants] == list(VARIANTS)
    assert plugin.estimate(Workload(name="a", plugin="elastic_serving"), "int4", facts()) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": None}, "config.json"),
        ({"num_local_experts": 8}, "num_local_experts = 8: experts are not computed here"),
        ({"hidden_size": "wide"}, "invalid literal"),
    ],
)
def test_models_that_are_not_computed_here_are_named(model: Path, change: dict[str, Any], words: str) -> None:
    (model / "config.json").write_text(json.dumps({**LLAMA_8B, **change}))
    with pytest.raises(UnknownModel, match="accepted: a dense model") as caught:
        read_footprint(model)
    assert words in str(caught.value)
    assert words in refused(model, "f32-cpu", facts()).reason


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": "gone"}, "tiny-drelu, or an absolute path"),
        ({"dtype": "int8"}, "dtype = 'int8': Input should be 'float32' or 'bfloat16'"),
        ({"kv": "raw"}, "kv = 'raw': unknown; accepted: model, dtype"),
        ({"slo": {"ttft": 1}}, "slo.ttft = 1: unknown; accepted: ttft_s, tpot_s"),
        ({"drop": {"at": 0.4}}, "restore_at: accepted: less than at"),
        ({"calibration": "/c.npz"}, "calibration needs kv_format = tiered"),
        ({"compress": "pressure"}, "compress = pressure needs kv_format = tiered"),
        ({"page_bytes": 1000}, "multiple of 64"),
    ],
)
def test_settings_that_do_not_fit_are_named(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="=") as caught:
        read_settings(config)
    assert words in str(caught.value)


def test_a_model_of_another_plugin_is_found_by_name() -> None:
    assert (shipped_models()["tiny-drelu"] / "model.safetensors").is_file()
    assert plugin.validate({})["model"] == "tiny-drelu"


def test_bidding_imports_nothing_heavy() -> None:
    code = (
        "import sys; from fairlead_elastic_serving.light import plugin; plugin.describe(); "
        "heavy = {'numpy', 'torch', 'starlette', 'uvicorn', 'tokenizers', 'fairlead_kernels'}; "
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
