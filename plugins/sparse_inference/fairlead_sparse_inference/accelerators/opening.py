"""Opens an accelerator by its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .interface import CAPACITY, Accelerator, AcceleratorUnavailable, Network, Weights

#: "processor" is the reference: it accelerates nothing.
KINDS = ("cuda", "onnxruntime", "processor")


def open_accelerator(
    kind: str,
    network: Network,
    *,
    capacity: int = CAPACITY,
    weights: Weights = "packed",
    providers: Sequence[str] | None = None,
    provider_options: Mapping[str, Mapping[str, str]] | None = None,
) -> Accelerator:
    """Open a device with nothing loaded.

    Args:
        kind: one of KINDS.
        network: what the model's feed-forward layers have in common.
        capacity: the most tokens of one submission.
        weights: how the device holds them: as the kernels do, or as bfloat16.
        providers: of ONNX Runtime, the preferred first; None takes what is there in ONNX Runtime's own order.
        provider_options: options of providers by their names.

    Raises:
        ValueError: no such kind. AcceleratorUnavailable: the device or its software is missing; says what.
    """
    if kind == "cuda":
        from .triton_accelerator import TritonAccelerator

        return TritonAccelerator(network, capacity, weights=weights)
    if kind == "onnxruntime":
        from .onnx_accelerator import OnnxAccelerator

        return OnnxAccelerator(network, capacity, weights=weights, providers=providers, options=provider_options)
    if kind == "processor":
        from .processor import ProcessorAccelerator

        return ProcessorAccelerator(network, capacity)
    raise ValueError(f"kind = {kind!r}: accepted: {', '.join(KINDS)}")


def why_not(kind: str, providers: Sequence[str] | None = None) -> str | None:
    """Return why an accelerator of that kind cannot be opened here, or None; loads its libraries to find out."""
    try:
        open_accelerator(kind, Network(32), capacity=8, providers=providers).close()
    except AcceleratorUnavailable as error:
        return str(error)
    return None
