"""Predicts what an instance does on a node: convolutions cost by the pixel, and each picture is decoded and encoded.

T = T_request + n (c_codec + c_network / cores). The costs of a pixel were measured on an EPYC with AVX512-BF16, on
refined pictures of 512 pixels a side; those of a request and the bytes are assumed.
"""

from __future__ import annotations

from fairlead_agent.plugin import Estimate, NodeFacts, Quantiles

from .settings import Settings

VARIANTS = ("edge", "quality")
#: Processor time of the network for a pixel, on one core.
NETWORK_S = {"edge": 2.7e-7, "quality": 1.85e-6}
#: Of reading a JPEG and writing a PNG, for a pixel, and of a request whatever its size.
CODEC_S, REQUEST_S = 2.4e-7, 4e-3
#: Interpreter, numpy, ONNX Runtime, web server; graphs and what they keep.
BASE_BYTES = 150 << 20
#: A pixel's floats: the picture, its result, what is read and written; and features of a tile at once.
PIXEL_BYTES, TILE_PIXELS, FEATURE_BYTES = 48, 1 << 20, {"edge": 340, "quality": 420}
STARTUP_S = 2.5
SPREAD = 0.8


def estimate(settings: Settings, variant: str, facts: NodeFacts) -> Estimate:
    """Predict one instance of a variant on this node."""
    cores = max(0.1, min(settings.threads or facts.processor.cores, facts.processor.cores_free))
    slowness = 1 / facts.processor.speed_factor
    pixels = settings.expected_pixels
    processor_s = (REQUEST_S + pixels * (CODEC_S + NETWORK_S[variant])) * slowness
    latency_s = (REQUEST_S + pixels * (CODEC_S + NETWORK_S[variant] / max(1.0, cores))) * slowness
    memory = {"dram": memory_bytes(settings, variant)}
    watts = facts.watts_per_core
    return Estimate(
        latency_s=Quantiles.around(latency_s, SPREAD),
        throughput_per_s=Quantiles.around(cores / processor_s, SPREAD),
        throughput_unit="picture",
        memory_bytes=memory,
        memory_minimum_bytes=memory,
        cores=cores,
        energy_j=Quantiles.around(watts * processor_s, SPREAD) if watts is not None else None,
        startup_s=Quantiles.around(STARTUP_S * slowness, SPREAD),
        reason=f"{pixels / 1e6:.2g} megapixels in {latency_s * 1e3:.0f} ms on {cores:.3g} cores",
    )


def memory_bytes(settings: Settings, variant: str) -> int:
    """Main memory of an instance, with as many of its largest pictures at work as it takes."""
    features = min(settings.max_pixels, TILE_PIXELS) * FEATURE_BYTES[variant]
    return BASE_BYTES + settings.max_in_flight * (settings.max_pixels * PIXEL_BYTES + features)
