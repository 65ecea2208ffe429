"""Predicts what the engine does where an accelerator computes the hot neurons. Imported by the agent."""

from __future__ import annotations

from dataclasses import replace

from fairlead_agent.plugin import Estimate, NodeFacts, Quantiles

from .cost import SPREAD, estimate
from .footprint import WEIGHT_BYTES, Footprint
from .settings import AcceleratorSettings, Settings

#: Bytes a second that a device reads of its memory; facts do not tell, so that of a small GPU is taken.
ASSUMED_DEVICE_BANDWIDTH = 300e9
#: What handing a layer over and taking its result back adds to a token.
HANDOVER_S = 3e-5
#: Fewer neurons a layer than these are not worth a hand-over.
FEWEST_NEURONS = 64


def device_bytes(model: Footprint, settings: Settings, wanted: AcceleratorSettings) -> int:
    """Return the bytes that all neurons take on a device: a bundle's rows as they are stored, if not in bfloat16."""
    if model.neuron_bytes and wanted.weights == "packed":
        return model.neuron_bytes
    size = 2.0 if wanted.weights == "bf16" else WEIGHT_BYTES[settings.weight_bits or 8]
    return int((model.gate_weights + model.sparse_weights) * size)


def accelerated(
    model: Footprint,
    settings: Settings,
    wanted: AcceleratorSettings,
    kernels: str,
    facts: NodeFacts,
    *,
    device_memory: int | None = None,
    draft: Footprint | None = None,
) -> Estimate:
    """Predict an instance whose hot neurons lie on a device.

    Args:
        model, settings, kernels, facts, draft: see `cost.estimate`.
        wanted: the accelerator.
        device_memory: bytes that are free there; None where the device shares the processor's memory.
    """
    whole = device_bytes(model, settings, wanted)
    room = min(size for size in (whole, wanted.memory_bytes, device_memory) if size is not None)
    share = room / whole if whole else 0.0
    alone = estimate(_cold(model, share), settings, kernels, facts, draft)
    decode_s = max(1 / alone.throughput_per_s.p50, room / ASSUMED_DEVICE_BANDWIDTH) + HANDOVER_S * model.layers
    least = min(whole, whole * FEWEST_NEURONS // max(1, model.neurons))
    tier = "dram" if device_memory is None else "vram"
    minimum = _added(alone.memory_minimum_bytes, tier, least)
    return alone.model_copy(
        update={
            "throughput_per_s": Quantiles.around(1 / decode_s, SPREAD),
            "memory_bytes": _there(_added(alone.memory_bytes, tier, room), minimum, model, facts),
            "memory_minimum_bytes": minimum,
            "reason": f"{share:.0%} of the neurons on {wanted.kind} in {wanted.weights}; beside it {alone.reason}",
        }
    )


def _cold(model: Footprint, share: float) -> Footprint:
    """What the processor computes where a device has that share of the neurons; of a bundle it is streamed."""
    kept = replace(
        model,
        gate_weights=int(model.gate_weights * (1 - share)),
        sparse_weights=int(model.sparse_weights * (1 - share)),
    )
    if not model.neuron_bytes:
        return kept
    # A device never takes all of a bundle: at least one neuron a layer stays.
    all_neurons = max(model.layers, int(model.all_neurons * (1 - share)))
    neuron_bytes = model.neuron_bytes * all_neurons // model.all_neurons
    return replace(
        kept,
        neurons=max(1, int(model.neurons * (1 - share))),
        all_neurons=all_neurons,
        neuron_bytes=neuron_bytes,
        file_bytes=model.file_bytes - model.neuron_bytes + neuron_bytes,
    )


def _there(sizes: dict[str, int], minimum: dict[str, int], model: Footprint, facts: NodeFacts) -> dict[str, int]:
    """A bundle takes no more of the processor's memory than there is: its cache is as large as it may be."""
    tier = facts.tier("dram")
    if tier is None or not model.neuron_bytes:
        return sizes
    return {**sizes, "dram": min(sizes["dram"], max(minimum["dram"], tier.free_bytes))}


def _added(sizes: dict[str, int], tier: str, size: int) -> dict[str, int]:
    return {**sizes, tier: sizes.get(tier, 0) + size}
