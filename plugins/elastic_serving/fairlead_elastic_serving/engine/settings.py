"""What an engine is told about its work."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..compression.options import Compression
from ..model.layout import DTYPES


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How requests are served.

    Attributes:
        dtype: of weights, states, and uncompressed keys and values: float32 or bfloat16.
        device: of torch.
        context: longest sequence; None: the model's.
        step_tokens: that one step computes, at most: what bounds how long a prompt holds the others up.
        sequences: that run at the same time, at most.
        waiting: requests that wait, at most.
        page_bytes: of a page, a multiple of 64; None: as small as holds 16 tokens.
        host_bytes: of memory beside the budget for requests that are swapped out.
        prefix_cache: whether what was computed is kept for prompts that begin alike.
        kernels: name of the kernels' backend; None: the best that is installed.
        least_tokens: of one sequence that a budget must hold, if the context is as long.
        compression: of keys and values; None: they stay as they are.
        ttft_s: time to a request's first token below which it counts as good.
        tpot_s: mean time between its tokens, likewise.
    """

    dtype: str = "float32"
    device: str = "cpu"
    context: int | None = None
    step_tokens: int = 256
    sequences: int = 64
    waiting: int = 1024
    page_bytes: int | None = None
    host_bytes: int = 0
    prefix_cache: bool = True
    kernels: str | None = None
    least_tokens: int = 256
    compression: Compression | None = None
    ttft_s: float = 1.0
    tpot_s: float = 0.1

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r}: accepted: {', '.join(DTYPES)}")
        for name in ("step_tokens", "sequences", "waiting", "least_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: accepted: 1 and above")
        if self.context is not None and self.context < 2:
            raise ValueError(f"context {self.context}: accepted: 2 and above")
        if self.host_bytes < 0 or not self.ttft_s > 0 or not self.tpot_s > 0:
            raise ValueError(f"{self}: accepted: host_bytes 0 and above, ttft_s and tpot_s above 0")

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type as torch has it."""
        return DTYPES[self.dtype]
