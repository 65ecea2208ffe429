"""What an accelerator needs, found without importing any of it. Imported by the agent: standard library only."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

_CUDA = re.compile(r"^cuda[^=\n]*=\s*(None|['\"][^'\"]*['\"])", re.MULTILINE)


def lacking_for(kind: str) -> str | None:
    """Return which software an accelerator of that kind ("cuda", "onnxruntime") lacks here, or None."""
    modules = ("torch", "triton") if kind == "cuda" else ("onnx", "onnxruntime")
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        extra = "gpu" if kind == "cuda" else "onnx"
        return f"{' and '.join(missing)} (`pip install 'fairlead-sparse-inference[{extra}]'`)"
    return _torch_without_cuda() if kind == "cuda" else None


def _torch_without_cuda() -> str | None:
    """PyTorch says in a file of its own for which CUDA it was built."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        found = _CUDA.search(Path(spec.origin).with_name("version.py").read_text())
    except OSError:
        return None
    return "a build of torch with CUDA" if found is not None and found[1] == "None" else None
