"""One interface over the kernels' implementations, in torch tensors: what an engine calls, whatever computes.

On a processor the native kernels compute where they are installed, else torch; on a CUDA device Triton where it is
installed, else torch. `KernelBackend.reason` says why it is not the better one.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import MissingBackend
from . import torch_backend
from .tiers import Tiers

Tensor = torch.Tensor
NAMES = ("native", "torch", "triton")


class KernelBackend(Protocol):
    """The kernels; arguments as `reference` explains them, as contiguous tensors on the backend's device.

    Attributes:
        name: one of NAMES.
        reason: why this one computes where a faster one might; empty otherwise.
        device: where tensors have to be.
    """

    name: str
    reason: str
    device: torch.device

    def put(self, array: NDArray) -> Tensor:
        """Return a host's array on the device: on a processor the same memory, elsewhere a copy as of now."""
        ...

    def write(
        self,
        pages: Tensor,
        tiers: Tiers,
        tier: int,
        tables: Tensor,
        rows: Tensor,
        slots: Tensor,
        keys: Tensor,
        values: Tensor,
        scores: Tensor,
        positions: Tensor,
    ) -> None:
        """Quantize keys and values to a tier's format and store them; see `reference.write`."""
        ...

    def gather(
        self, pages: Tensor, tiers: Tiers, tier: int, tables: Tensor, rows: Tensor, slots: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return keys, values, scores and positions of single tokens; see `reference.gather`."""
        ...

    def copy_slots(
        self, pages: Tensor, tiers: Tiers, tier: int, tables: Tensor, rows: Tensor, sources: Tensor, targets: Tensor
    ) -> None:
        """Copy tokens within their tier; see `reference.copy_slots`."""
        ...

    def copy_pages(self, pages: Tensor, sources: Tensor, targets: Tensor) -> None:
        """Copy whole pages by number; no page is both a source and a target, no target is mentioned twice."""
        ...

    def attend(
        self,
        queries: Tensor,
        pages: Tensor,
        tiers: Tiers,
        tables: Tensor,
        rows: Tensor,
        counts: Tensor,
        scale: float,
        *,
        now: Tensor | None = None,
        holders: Tensor | None = None,
        starts: Tensor | None = None,
        window: int | None = None,
        positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attention over both tiers; see `reference.attend`. The output has the queries' type.

        With ``now`` int32 [sequences], the positions of the queries, of which each sequence then has one, the tokens'
        scores take the attention in; see `reference.update_scores`.
        """
        ...

    def attend_chunks(
        self,
        queries: Tensor,
        starts: Tensor,
        stored: Tensor,
        pages: Tensor,
        tiers: Tiers,
        tables: Tensor,
        rows: Tensor,
        scale: float,
        *,
        window: int | None = None,
        received: Sequence[Tensor | None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Causal attention of chunks; see `reference.attend_chunks`. The output has the queries' type."""
        ...


class TorchBackend:
    """The kernels in torch, for any device."""

    name = "torch"
    write = staticmethod(torch_backend.write)
    gather = staticmethod(torch_backend.gather)
    copy_slots = staticmethod(torch_backend.copy_slots)
    attend_chunks = staticmethod(torch_backend.attend_chunks)

    def __init__(self, device: torch.device, reason: str = "") -> None:
        self.device = device
        self.reason = reason

    def put(self, array: NDArray) -> Tensor:
        """Return a host's array on the device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def copy_pages(self, pages: Tensor, sources: Tensor, targets: Tensor) -> None:
        """Copy whole pages by number."""
        pages[targets.long()] = pages[sources.long()]

    def attend(
        self,
        queries: Tensor,
        pages: Tensor,
        tiers: Tiers,
        tables: Tensor,
        rows: Tensor,
        counts: Tensor,
        scale: float,
        *,
        now: Tensor | None = None,
        holders: Tensor | None = None,
        starts: Tensor | None = None,
        window: int | None = None,
        positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attention over both tiers, and scores where ``now`` is given."""
        stored = (queries, pages, tiers, tables, rows, counts, scale)
        if now is None:
            return torch_backend.attend(*stored, starts=starts, window=window, positions=positions)
        refuse_chunks(starts, window)
        return torch_backend.update_scores(*stored, now, holders)


def refuse_chunks(starts: object, window: object) -> None:
    """Raise ValueError unless each sequence has one query that sees everything: what scores are updated by."""
    if starts is not None or window is not None:
        raise ValueError("now: scores take one query a sequence in; accepted: neither starts nor window beside it")


def backend(device: str | torch.device = "cpu", name: str | None = None) -> KernelBackend:
    """Return the kernels for a device.

    Args:
        device: of torch.
        name: one of NAMES; None takes the best that is installed.

    Raises:
        ValueError: the name is unknown, or not for that device.
        MissingBackend: what was asked for by name is not installed.
    """
    place = torch.device(device)
    if name not in (None, *NAMES):
        raise ValueError(f"kernels {name!r}: accepted: {', '.join(NAMES)}")
    if name == "torch":
        return TorchBackend(place, "chosen by name")
    best = "native" if place.type == "cpu" and name is None else name or "triton"
    if name is None:
        reason = _why_not(best)
        return TorchBackend(place, reason) if reason else _made(best, place)
    return _made(best, place)


def _made(name: str, device: torch.device) -> KernelBackend:
    if name == "triton":
        from .triton_backend.interface import TritonBackend

        return TritonBackend(device)
    raise MissingBackend(_why_not(name))


def _why_not(name: str) -> str:
    """Return why the native or the Triton kernels cannot compute here; empty where they can."""
    if name == "triton":
        return "" if find_spec("triton") else "triton is not installed"
    return "the native kernels for unified pages are not installed"
