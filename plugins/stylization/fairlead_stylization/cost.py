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
#: Interpreter, numpy, ONNX Runtime, web server, graphs, and what is kept for the next picture.
BASE_BYTES = 250 << 20
#: Of a pixel: the picture and its result in bytes, and what decodes, enlarges and encodes them.
PIXEL_BYTES = 24
#: Features of a pixel that is drawn. Pictures of at most so many are drawn at once, larger ones in tiles; and what is
#: blended of a row of tiles.
FEATURE_BYTES = {"edge": 340, "quality": 420}
UNCUT_PIXELS, TILE_PIXELS, BAND_BYTES = 1280 * 1280, 768 * 768, 64 << 20
#: PyTorch, once a search or a completed picture has been asked for; and a result's slopes, of a pixel that is searched.
TORCH_BYTES, SLOPE_BYTES = 250 << 20, 2200
#: Of what completes pictures or enlarges them: what a network has of a pixel that goes through it, at most so many at
#: once; and a result's slopes, of a pixel that is searched. Resident memory of 0.07 to 34 megapixels, with
#: one result and with eight, was at most what these come to.
COMPLETED_BYTES, COMPLETED_PIXELS, COMPLETED_SLOPE_BYTES = 480, 512 * 512, 1400
STARTUP_S = 2.5
SPREAD = 0.8
#: What a node says about PyTorch.
TORCH = "stylization_torch"


def estimate(settings: Settings, variant: str, facts: NodeFacts) -> Estimate:
    """Predict one instance of a variant on this node."""
    cores = max(0.1, min(settings.threads or facts.processor.cores, facts.processor.cores_free))
    slowness = 1 / facts.processor.speed_factor
    pixels = settings.expected_pixels
    processor_s = (REQUEST_S + pixels * (CODEC_S + NETWORK_S[variant])) * slowness
    latency_s = (REQUEST_S + pixels * (CODEC_S + NETWORK_S[variant] / max(1.0, cores))) * slowness
    searches = facts.software.get(TORCH, "missing") != "missing"
    memory = {"dram": memory_bytes(settings, variant, searches)}
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


def work_bytes(settings: Settings, variant: str, pixels: int, results: int = 0) -> int:
    """Main memory that a request takes while it is at work.

    Args:
        settings: of the workload.
        variant: of the network.
        pixels: of its largest picture.
        results: that are looked for; 0: the plain one.
    """
    if pixels <= UNCUT_PIXELS:
        drawn = pixels * FEATURE_BYTES[variant]
    else:
        drawn = TILE_PIXELS * FEATURE_BYTES[variant] + BAND_BYTES
    plain = pixels * PIXEL_BYTES + drawn
    if not results:
        return plain
    # A change of the whole picture, and results that wait for the others.
    drawing = plain + pixels * (12 + 3 * results)
    # Content, style and what results are led to lie there as bytes.
    searching = pixels * 9 + results * min(pixels, settings.diverse_pixels) * SLOPE_BYTES
    return max(drawing, searching)


def generation_bytes(settings: Settings, pixels: int, results: int = 0) -> int:
    """Main memory that a request takes while it completes or enlarges a picture.

    Args:
        settings: of the workload.
        pixels: of its largest picture, the result among them.
        results: that are looked for; 0: the plain one.
    """
    lying = pixels * PIXEL_BYTES
    # Files of several results wait for the last one.
    drawing = lying + min(pixels, COMPLETED_PIXELS) * COMPLETED_BYTES + 3 * results * pixels
    return max(drawing, lying + results * min(pixels, settings.diverse_pixels) * COMPLETED_SLOPE_BYTES)


def room_bytes(settings: Settings, variant: str, searches: bool) -> int:
    """Main memory for all pictures at work: of the one that takes most."""
    results = settings.max_diverse if searches else 0
    largest = min(settings.max_pixels, UNCUT_PIXELS), settings.max_pixels
    stylized = max(work_bytes(settings, variant, pixels, results) for pixels in largest)
    return max(stylized, generation_bytes(settings, settings.max_pixels, results)) if searches else stylized


def memory_bytes(settings: Settings, variant: str, searches: bool) -> int:
    """Main memory of an instance; ``searches``: PyTorch is there to look for different results, and to complete."""
    return BASE_BYTES + (TORCH_BYTES if searches else 0) + room_bytes(settings, variant, searches)
