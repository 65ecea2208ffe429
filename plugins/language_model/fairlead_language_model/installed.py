"""Which kernels and libraries are installed here, found without importing any of them. Standard library only."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

_CUDA = re.compile(r"^cuda[^=\n]*=\s*(None|['\"][^'\"]*['\"])", re.MULTILINE)


def kernels(architecture: str, features: tuple[str, ...]) -> str:
    """Return "native:ISA" where the compiled kernels are installed, else "numpy:REASON"; imports none of them."""
    forced = os.environ.get("FAIRLEAD_KERNELS", "")
    if forced == "numpy":
        return "numpy:forced by FAIRLEAD_KERNELS"
    spec = find_spec("fairlead_kernels")
    folders = spec.submodule_search_locations if spec else None
    if not folders or not any(path for folder in folders for path in Path(folder).glob("*native*.so")):
        return "numpy:no compiled module is installed"
    return f"native:{forced if forced not in ('', 'native') else isa(architecture, features)}"


def isa(architecture: str, features: tuple[str, ...]) -> str:
    """Return the instruction set that the kernels' dispatch takes on such a processor."""
    has = {feature.lower() for feature in features}
    if architecture in ("aarch64", "arm64"):
        return "neon_dotprod" if has & {"asimddp", "dotprod"} else "neon"
    if {"avx512f", "avx512bw", "avx512vl"} <= has:
        return "avx512vnni" if "avx512_vnni" in has else "avx512"
    return "avx2" if {"avx2", "fma"} <= has else "plain"


def processor_flags() -> tuple[str, ...]:
    """Return what this machine's processor says that it can, as in /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ()
    return next((tuple(line.split(":", 1)[1].split()) for line in lines if line.startswith(("flags", "Features"))), ())


def torch_without_cuda() -> str | None:
    """Return what is lacking where PyTorch was built without CUDA, which it says in a file of its own; else None."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        found = _CUDA.search(Path(spec.origin).with_name("version.py").read_text())
    except OSError:
        return None
    return "a build of torch with CUDA" if found is not None and found[1] == "None" else None
