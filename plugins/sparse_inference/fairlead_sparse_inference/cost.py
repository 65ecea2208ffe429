"""Predicts what the engine does on a node, from its measured facts and the model's footprint.

A decode step reads the active weights once, so it takes the longer of two times: their bytes over the memory's
bandwidth, and their number over what the cores' kernels can multiply. A fixed part a token is the engine's own
(sampling, text, the event loop). The rates below were measured with the engine of this package; what a node's past
instances measured corrects them (`NodeFacts.calibration`).
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_agent.plugin import Estimate, NodeFacts, Quantiles

from .footprint import PAGE_TOKENS, Q8_BYTES, Footprint
from .settings import Settings

#: Weights multiplied per second and core while decoding, by the kernels' instruction set.
WEIGHTS_PER_S = {"avx512": 9e9, "avx2": 6e9, "neon": 3e9, "plain": 1.2e9, "numpy": 0.35e9}
#: How much faster a prompt's tokens go than single ones, because a weight is read once for many of them.
PREFILL_GAIN = {"avx512": 3.0, "avx2": 3.0, "neon": 2.5, "plain": 1.5, "numpy": 8.0}
#: What the engine spends a token outside the kernels, on a core of speed factor 1.
TOKEN_OVERHEAD_S = {"numpy": 2.5e-3}
DEFAULT_OVERHEAD_S = 1.5e-4
#: Interpreter, NumPy, tokenizer and web server before any weight is loaded.
BASE_BYTES = 96 * 2**20
BASE_STARTUP_S = 1.5
REFERENCE_PROMPT_TOKENS = 64
ASSUMED_BANDWIDTH = 8e9
ASSUMED_STORAGE_READ = 200e6
#: Relative spread of a prediction before and after an instance was measured on this node.
SPREAD, CALIBRATED_SPREAD = 0.6, 0.2


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of one decode step at batch 1, and of one prompt token."""

    decode_s: float
    prompt_token_s: float


def speed(model: Footprint, kernels: str, facts: NodeFacts, cores: float) -> Speed:
    """Predict the engine's speed with `kernels` ("avx512", ..., "numpy") on so many of the node's cores."""
    processor = facts.processor
    bandwidth = (processor.memory_bandwidth_bytes_per_s or ASSUMED_BANDWIDTH) * processor.speed_factor
    rate = WEIGHTS_PER_S[kernels] * cores * processor.speed_factor
    overhead_s = TOKEN_OVERHEAD_S.get(kernels, DEFAULT_OVERHEAD_S) / processor.speed_factor
    # NumPy has no row-skipping product worth its overhead: it multiplies every row.
    weights = model.active_weights if kernels != "numpy" else float(model.weights)
    decode_s = max(weights * Q8_BYTES / bandwidth, weights / rate) + overhead_s
    return Speed(decode_s, model.weights / (rate * PREFILL_GAIN[kernels]))


def memory_bytes(model: Footprint, settings: Settings, sequences: int) -> int:
    """Return the bytes of memory that the engine needs to serve so many sequences at the full context."""
    context = min(settings.context_tokens or model.context, model.context)
    # One page more: a sequence's last page may be started before the first of another is free.
    return BASE_BYTES + model.weight_bytes + model.kv_bytes(sequences * context + PAGE_TOKENS)


def estimate(model: Footprint, settings: Settings, kernels: str, variant: str, facts: NodeFacts) -> Estimate:
    """Predict one instance of the engine on this node."""
    cores = max(0.1, min(settings.threads or facts.processor.cores, facts.processor.cores_free))
    predicted = speed(model, kernels, facts, cores)
    factor = facts.calibration.get(variant)
    spread = SPREAD if factor is None else CALIBRATED_SPREAD
    decode_s = predicted.decode_s / (factor or 1.0)
    first_s = REFERENCE_PROMPT_TOKENS * predicted.prompt_token_s / (factor or 1.0) + decode_s
    watts = facts.watts_per_core
    return Estimate(
        latency_s=Quantiles.around(first_s, spread),
        throughput_per_s=Quantiles.around(1 / decode_s, spread),
        throughput_unit="token",
        memory_bytes={"dram": memory_bytes(model, settings, settings.max_sequences)},
        memory_minimum_bytes={"dram": memory_bytes(model, settings, 1)},
        cores=cores,
        energy_j=Quantiles.around(watts * cores * decode_s, spread) if watts is not None else None,
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
    active = model.active_weights if kernels != "numpy" else model.weights
    return (
        f"{active / 1e6:.1f} M of {model.weights / 1e6:.1f} M weights a token, {kernels} kernels on {cores:g} cores, "
        f"memory at {source}, speed factor {facts.processor.speed_factor:g}"
    )
