"""Predicts what the engine does on a node, from its measured facts and the model's footprint.

A decode step reads the active weights once, so it takes the longer of two times: their bytes over the memory's
bandwidth, and their number over what the cores' kernels can multiply. A fixed part a token is the engine's own
(sampling, text, the event loop). The rates below were measured with the engine of this package; the agent
corrects the prediction by what past instances measured on its node.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_agent.plugin import Estimate, NodeFacts, Quantiles

from .footprint import PAGE_TOKENS, WEIGHT_BYTES, Footprint
from .settings import Settings

#: Weights multiplied per second and core while decoding, by instruction set: measured at Q8 on an AMD EPYC (Zen 4)
#: core, except NEON, which is set by its narrower vectors and has not been measured.
WEIGHTS_PER_S = {
    "avx512vnni": 11e9,
    "avx512": 11e9,
    "avx2": 11e9,
    "neon_dotprod": 4e9,
    "neon": 4e9,
    "plain": 1.3e9,
    "numpy": 1.2e9,
}
#: How much faster a prompt's tokens go than single ones, because a weight is read once for many of them.
PREFILL_GAIN = {
    "avx512vnni": 2.9,
    "avx512": 2.9,
    "avx2": 2.9,
    "neon_dotprod": 2.9,
    "neon": 2.9,
    "plain": 3.4,
    "numpy": 2.9,
}
#: What the engine spends a token outside the kernels (sampling, text, the event loop).
OVERHEAD_S = 2e-4
#: What the interpreter spends a layer where it calls NumPy for every operation.
NUMPY_LAYER_S = 4e-4
#: Interpreter, NumPy, tokenizer, web server and head room, before any weight is loaded.
BASE_BYTES = 88 * 2**20
BASE_STARTUP_S = 1.2
REFERENCE_PROMPT_TOKENS = 64
ASSUMED_BANDWIDTH = 8e9
ASSUMED_STORAGE_READ = 200e6
#: Relative spread of a prediction.
SPREAD = 0.6


#: Of a bundle's neurons, the smallest share that the engine caches.
LEAST_CACHED = 1 / 32


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of one decode step at batch 1, and of one prompt token."""

    decode_s: float
    prompt_token_s: float


def speed(model: Footprint, kernels: str, facts: NodeFacts, cores: float, bits: int | None = None) -> Speed:
    """Predict the engine's speed with `kernels` ("avx512", ..., "numpy") on so many of the node's cores.

    `bits` are those of a packed checkpoint's weights, or None.
    """
    processor = facts.processor
    bandwidth = (processor.memory_bandwidth_bytes_per_s or ASSUMED_BANDWIDTH) * processor.speed_factor
    rate = WEIGHTS_PER_S[kernels] * cores * processor.speed_factor
    # NumPy has no row-skipping product worth its overhead: it multiplies every row.
    weights = model.active_weights if kernels != "numpy" else float(model.weights)
    overhead_s = OVERHEAD_S + (NUMPY_LAYER_S * model.layers if kernels == "numpy" else 0.0)
    decode_s = max(weights * WEIGHT_BYTES[bits or 8] / bandwidth, weights / rate) + overhead_s / processor.speed_factor
    return Speed(decode_s, model.weights / (rate * PREFILL_GAIN[kernels]))


def memory_bytes(
    model: Footprint, settings: Settings, sequences: int, draft: Footprint | None = None, *, cached: float = 1.0
) -> int:
    """Return the bytes of memory that the engine needs to serve so many sequences at the full context.

    `cached` is the share of a bundle's neurons that is held in memory.
    """
    context = settings.context_of(model.context)
    packed = model.weight_bytes(settings.weight_bits)
    weights = packed - model.neuron_bytes + model.cache_bytes(settings.mode, cached) + model.pass_bytes
    # One page more: a sequence's last page may be started before the first of another is free.
    pages = model.kv_bytes(sequences * context + PAGE_TOKENS, settings.kv_bits)
    return BASE_BYTES + weights + pages + _beside_bytes(model, settings, context, draft)


def least_memory_bytes(model: Footprint, settings: Settings, draft: Footprint | None = None) -> int:
    """Return the fewest bytes of memory with which the engine serves one sequence."""
    return memory_bytes(model, settings, 1, draft, cached=LEAST_CACHED)


def _beside_bytes(model: Footprint, settings: Settings, context: int, draft: Footprint | None) -> int:
    """A draft model with its pages for all sequences, and the session that is copied while it is written."""
    copied = model.kv_bytes(context, settings.kv_bits) if settings.session_directory is not None else 0
    if draft is None:
        return copied
    drafted = settings.max_sequences * min(context, draft.context)
    return copied + draft.weight_bytes() + draft.kv_bytes(drafted + settings.max_sequences * PAGE_TOKENS)


def estimate(
    model: Footprint, settings: Settings, kernels: str, facts: NodeFacts, draft: Footprint | None = None
) -> Estimate:
    """Predict one instance of the engine on this node."""
    cores = max(0.1, min(settings.threads or facts.processor.cores, facts.processor.cores_free))
    predicted = speed(model, kernels, facts, cores, settings.weight_bits)
    decode_s = predicted.decode_s
    first_s = REFERENCE_PROMPT_TOKENS * predicted.prompt_token_s + decode_s
    watts = facts.watts_per_core
    wanted = memory_bytes(model, settings, settings.max_sequences, draft)
    minimum = least_memory_bytes(model, settings, draft)
    tier = facts.tier("dram")
    # A bundle takes what there is: its cache is as large as it may be.
    room = tier.free_bytes if tier is not None and model.neuron_bytes else wanted
    return Estimate(
        latency_s=Quantiles.around(first_s, SPREAD),
        throughput_per_s=Quantiles.around(1 / decode_s, SPREAD),
        throughput_unit="token",
        memory_bytes={"dram": min(wanted, max(minimum, room))},
        memory_minimum_bytes={"dram": minimum},
        cores=cores,
        energy_j=Quantiles.around(watts * cores * decode_s, SPREAD) if watts is not None else None,
        startup_s=Quantiles.around(_startup_s(model, facts), SPREAD),
        reason=_reason(model, kernels, facts, cores),
    )


def _startup_s(model: Footprint, facts: NodeFacts) -> float:
    storage = facts.tier("storage")
    read = (storage.read_bytes_per_s if storage else None) or ASSUMED_STORAGE_READ
    return BASE_STARTUP_S / facts.processor.speed_factor + model.file_bytes / read


def _reason(model: Footprint, kernels: str, facts: NodeFacts, cores: float) -> str:
    measured = facts.processor.memory_bandwidth_bytes_per_s
    source = f"{measured / 1e9:.1f} GB/s measured" if measured else f"{ASSUMED_BANDWIDTH / 1e9:.0f} GB/s assumed"
    active, total = model.active_weights if kernels != "numpy" else model.weights, model.weights + model.idle_weights
    return (
        f"{active / 1e6:.1f} M of {total / 1e6:.1f} M weights a token, {kernels} kernels on {cores:g} cores, "
        f"memory at {source}, speed factor {facts.processor.speed_factor:g}"
    )
