"""What an accelerator needs, found without importing any of it. Imported by the agent: standard library only."""

from __future__ import annotations

from importlib.util import find_spec

from fairlead_language_model.installed import torch_without_cuda


def lacking_for(kind: str) -> str | None:
    """Return which software an accelerator of that kind ("cuda", "onnxruntime") lacks here, or None."""
    modules = ("torch", "triton") if kind == "cuda" else ("onnx", "onnxruntime")
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        extra = "gpu" if kind == "cuda" else "onnx"
        return f"{' and '.join(missing)} (`pip install 'fairlead-sparse-inference[{extra}]'`)"
    return torch_without_cuda() if kind == "cuda" else None
