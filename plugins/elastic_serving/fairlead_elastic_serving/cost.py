"""Predicts what an instance does on a node, from the node's measured facts and the model's footprint.

A decode step of b sequences of s tokens takes max((W + b s kappa) / BW, 2 P b / FLOPs) (docs: limits), a prompt its
operations. Throughput is that of a full batch of reference requests, which is also what an instance reports from its
fitted step times, so that the agent can correct the one by the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_agent.plugin import Estimate, NodeFacts, Quantiles

from .footprint import DTYPE_BYTES, Footprint
from .planning.limits import decode_step_seconds
from .settings import Settings

CUDA_VARIANT = "bf16-cuda"
#: Arithmetic of each variant.
VARIANTS = {"f32-cpu": "float32", "bf16-cpu": "bfloat16", CUDA_VARIANT: "bfloat16"}
#: Operations a second and core in products of many rows, by arithmetic and what the processor has for it. Measured with
#: this engine and its native kernels, in processor time, on one thread of an Intel Xeon with AMX; those without
#: AVX-512 or without instructions for bfloat16 are set by their narrower vectors and have not been measured.
FLOPS_PER_CORE = {
    ("float32", True): 74e9,
    ("float32", False): 37e9,
    ("bfloat16", True): 185e9,
    ("bfloat16", False): 6e9,
}
#: Instruction sets that speed an arithmetic up, as /proc/cpuinfo and the ARM kernel name them.
FAST_FEATURES = {"float32": {"avx512f", "sve"}, "bfloat16": {"amx_bf16", "avx512_bf16", "bf16"}}
#: A GPU's facts do not tell; those of a small one are taken, and what is measured corrects them.
DEVICE_BYTES_PER_S, DEVICE_FLOPS = 300e9, 40e12
#: What a step takes beside reading and computing: in all, for each layer, and for each sequence (attention, drawing,
#: text). Measured as above; float32 goes through fused native layers, bfloat16 through torch's operations.
STEP_OVERHEAD_S = 1e-3
LAYER_OVERHEAD_S = {"float32": 2e-4, "bfloat16": 1.2e-3}
SEQUENCE_OVERHEAD_S = {"float32": 2e-4, "bfloat16": 5e-4}
#: Interpreter, torch, tokenizer, web server and head room, before any weight is loaded: on a processor, beside a GPU.
#: Of torch's libraries the system maps more or less at once: 245 to 305 MiB were seen for the same worker.
BASE_BYTES, CUDA_BASE_BYTES = 400 * 2**20, 1300 * 2**20
#: What a step's states and torch's own buffers take on a GPU.
WORKSPACE_BYTES = 512 * 2**20
#: Importing torch and starting the server; a CUDA context comes on top of it.
BASE_STARTUP_S, CUDA_STARTUP_S = 4.0, 5.0
#: Tokens of one sequence without room for which nothing is served.
LEAST_TOKENS = 256
#: Prompt and answer of a reference request.
REFERENCE_PROMPT, REFERENCE_ANSWER = 256, 64
ASSUMED_BANDWIDTH = 8e9
ASSUMED_STORAGE_READ = 200e6
#: Relative spread of a prediction.
SPREAD = 0.8


@dataclass(frozen=True, slots=True)
class Device:
    """What computes: bytes of memory and operations a second."""

    bytes_per_s: float
    flops: float


def estimate(model: Footprint, settings: Settings, variant: str, facts: NodeFacts) -> Estimate:
    """Predict one instance of a variant on this node."""
    dtype, cuda = VARIANTS[variant], variant == CUDA_VARIANT
    cores = max(0.1, min(settings.threads or facts.processor.cores, facts.processor.cores_free))
    device = Device(DEVICE_BYTES_PER_S, DEVICE_FLOPS) if cuda else processor(facts, dtype, cores)
    slowness = 1 / facts.processor.speed_factor
    batch = settings.max_sequences
    smaller = model.compression(dtype) if settings.kv_format == "tiered" else 1.0
    decode_s = decode_seconds(model, dtype, device, batch, smaller) + overhead_s(model, dtype, batch) * slowness
    prompt_s = 2 * model.step_parameters * REFERENCE_PROMPT / device.flops + overhead_s(model, dtype, 1) * slowness
    watts = facts.watts_per_core
    return Estimate(
        latency_s=Quantiles.around(prompt_s, SPREAD),
        throughput_per_s=Quantiles.around(batch / decode_s, SPREAD),
        throughput_unit="token",
        memory_bytes=memory_bytes(model, settings, variant),
        memory_minimum_bytes=least_memory_bytes(model, settings, variant),
        cores=cores,
        energy_j=Quantiles.around(watts * cores * decode_s / batch, SPREAD) if watts is not None else None,
        startup_s=Quantiles.around(_startup_s(model, facts, cuda), SPREAD),
        needs_real=("gpu",) if cuda else (),
        reason=_reason(model, settings, variant, device),
    )


def processor(facts: NodeFacts, dtype: str, cores: float) -> Device:
    """Return what a node's processor does with an arithmetic on so many of its cores."""
    features = {feature.lower() for feature in facts.processor.features}
    rate = FLOPS_PER_CORE[dtype, bool(features & FAST_FEATURES[dtype])] * cores
    bandwidth = facts.processor.memory_bandwidth_bytes_per_s or ASSUMED_BANDWIDTH
    return Device(bandwidth * facts.processor.speed_factor, rate * facts.processor.speed_factor)


def decode_seconds(model: Footprint, dtype: str, device: Device, batch: int, compression: float) -> float:
    """Return the least time of a decode step of `batch` reference requests that are half answered."""
    return decode_step_seconds(
        model.step_parameters * DTYPE_BYTES[dtype],
        batch,
        REFERENCE_PROMPT + REFERENCE_ANSWER / 2,
        model.token_bytes(dtype),
        compression,
        device.bytes_per_s,
        model.step_parameters,
        device.flops,
    )


def overhead_s(model: Footprint, dtype: str, sequences: int) -> float:
    """Return what a step of so many sequences takes beside reading and computing."""
    return STEP_OVERHEAD_S + LAYER_OVERHEAD_S[dtype] * model.layers + SEQUENCE_OVERHEAD_S[dtype] * sequences


def memory_bytes(model: Footprint, settings: Settings, variant: str) -> dict[str, int]:
    """Return the bytes by tier with which an instance serves max_sequences whole contexts, or kv_bytes."""
    context, sequences = settings.context_of(model.context), settings.max_sequences
    whole = model.kv_bytes(sequences, context, VARIANTS[variant], settings.page_bytes)
    if settings.kv_format == "tiered":
        # A prompt is stored as it is until its last token.
        whole = int(whole / model.compression(VARIANTS[variant])) + whole // sequences
    return _by_tier(model, settings, variant, whole if settings.kv_bytes is None else min(whole, settings.kv_bytes))


def least_memory_bytes(model: Footprint, settings: Settings, variant: str) -> dict[str, int]:
    """Return the fewest bytes by tier with which an instance serves: LEAST_TOKENS of one sequence."""
    tokens = min(LEAST_TOKENS, settings.context_of(model.context))
    return _by_tier(model, settings, variant, model.kv_bytes(1, tokens, VARIANTS[variant], settings.page_bytes))


def _by_tier(model: Footprint, settings: Settings, variant: str, kv_bytes: int) -> dict[str, int]:
    dtype = VARIANTS[variant]
    work = model.work_bytes(dtype, settings.step_tokens, settings.max_sequences)
    held = model.ends_bytes(dtype) + model.layer_bytes(dtype) + work + kv_bytes
    if variant == CUDA_VARIANT:
        return {"dram": CUDA_BASE_BYTES + settings.swap_bytes, "vram": held + WORKSPACE_BYTES}
    return {"dram": BASE_BYTES + held + settings.swap_bytes}


def _startup_s(model: Footprint, facts: NodeFacts, cuda: bool) -> float:
    storage = facts.tier("storage")
    read = (storage.read_bytes_per_s if storage else None) or ASSUMED_STORAGE_READ
    base_s = BASE_STARTUP_S + (CUDA_STARTUP_S if cuda else 0.0)
    return base_s / facts.processor.speed_factor + model.file_bytes / read


def _reason(model: Footprint, settings: Settings, variant: str, device: Device) -> str:
    parameters = model.step_parameters / 1e6
    token = model.token_bytes(VARIANTS[variant])
    return (
        f"{parameters:.1f} M parameters in {VARIANTS[variant]}, {token / 1024:.1f} KiB of keys and values a token, "
        f"batches of {settings.max_sequences}, {device.bytes_per_s / 1e9:.1f} GB/s, {device.flops / 1e9:.0f} GFLOP/s"
    )
