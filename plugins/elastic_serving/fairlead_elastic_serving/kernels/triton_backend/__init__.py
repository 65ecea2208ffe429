"""The kernels in Triton, for CUDA devices; with TRITON_INTERPRET=1 also on a processor, for tests.

Importing a module of this package needs torch and triton (the extra ``triton``); ask `available` first.
"""

from __future__ import annotations

from importlib.util import find_spec

from ...errors import MissingBackend


def available() -> bool:
    """Return whether torch and triton are installed; a device is not looked for."""
    return find_spec("torch") is not None and find_spec("triton") is not None


def require() -> None:
    """Raise MissingBackend where torch or triton are not installed."""
    if not available():
        raise MissingBackend(
            "the Triton kernels need torch and triton; install with: pip install 'fairlead-elastic-serving[triton]'"
        )
