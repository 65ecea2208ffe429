"""Where Triton kernels run: on a CUDA device, else in Triton's interpreter. Decided before triton is imported."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest


def _device() -> str:
    if find_spec("torch") is None:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET", "0") == "0" else "cpu"


DEVICE = _device()
TOO_LATE = DEVICE == "cpu" and "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def device() -> str:
    """The device that Triton kernels run on; without triton the test is skipped."""
    pytest.importorskip("torch", reason="torch is not installed: pip install 'fairlead-elastic-serving[triton]'")
    pytest.importorskip("triton", reason="triton is not installed: pip install 'fairlead-elastic-serving[triton]'")
    if TOO_LATE:
        pytest.skip("triton was imported before its interpreter could be chosen: set TRITON_INTERPRET=1")
    return DEVICE
