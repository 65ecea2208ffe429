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
from . import native_backend, torch_backend
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

    def bookkeeping(
        self, pages: Tensor, tiers: Tiers, tier: int, tables: Tensor, rows: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores, positions and page numbers of a tier's tokens; see `torch_backend.bookkeeping`."""
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
    bookkeeping = staticmethod(torch_backend.bookkeeping)
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


class NativeBackend(TorchBackend):
    """The native kernels over processor tensors, whose memory they share; float vectors of other types are converted.

    Args:
        device: a processor.
        threads: that the kernels' pool is set to; None: as many as torch uses.
    """

    name = "native"

    def __init__(self, device: torch.device, threads: int | None = None) -> None:
        super().__init__(device)
        import fairlead_kernels

        fairlead_kernels.set_threads(threads or torch.get_num_threads())

    def write(  # type: ignore[override]
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
        """Quantize keys and values to a tier's format and store them."""
        vectors = (_floats(keys), _floats(values), _floats(scores))
        native_backend.write(
            pages.numpy(), tiers, tier, tables.numpy(), rows.numpy(), slots.numpy(), *vectors, positions.numpy()
        )

    def gather(  # type: ignore[override]
        self, pages: Tensor, tiers: Tiers, tier: int, tables: Tensor, rows: Tensor, slots: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return keys, values, scores and positions of single tokens."""
        found = native_backend.gather(pages.numpy(), tiers, tier, tables.numpy(), rows.numpy(), slots.numpy())
        keys, values, scores, positions = map(torch.from_numpy, found)
        return keys, values, scores, positions

    def copy_slots(  # type: ignore[override]
        self, pages: Tensor, tiers: Tiers, tier: int, tables: Tensor, rows: Tensor, sources: Tensor, targets: Tensor
    ) -> None:
        """Copy tokens within their tier."""
        native_backend.copy_slots(
            pages.numpy(), tiers, tier, tables.numpy(), rows.numpy(), sources.numpy(), targets.numpy()
        )

    def bookkeeping(  # type: ignore[override]
        self, pages: Tensor, tiers: Tiers, tier: int, tables: Tensor, rows: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores, positions and page numbers of a tier's tokens."""
        found = native_backend.bookkeeping(
            pages.numpy(), tiers, tier, tables.numpy(), rows.numpy(), counts.contiguous().numpy()
        )
        scores, positions, page = map(torch.from_numpy, found)
        return scores, positions, page

    def copy_pages(self, pages: Tensor, sources: Tensor, targets: Tensor) -> None:
        """Copy whole pages by number."""
        native_backend.copy_pages(pages.numpy(), sources.int().numpy(), targets.int().numpy())

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
        output, total = native_backend.attend(
            _floats(queries),
            pages.numpy(),
            tiers,
            tables.numpy(),
            rows.numpy(),
            counts.numpy(),
            scale,
            now=_numpy(now),
            holders=_numpy(holders),
            starts=_numpy(starts),
            window=window,
            positions=_numpy(positions),
        )
        return torch.from_numpy(output).to(queries.dtype), torch.from_numpy(total)

    def attend_chunks(  # type: ignore[override]
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
        """Causal attention of chunks of sequences."""
        output, total = native_backend.attend_chunks(
            _floats(queries),
            starts.numpy(),
            stored.numpy(),
            pages.numpy(),
            tiers,
            tables.numpy(),
            rows.numpy(),
            scale,
            window=window,
            received=None if received is None else [_numpy(one) for one in received],
        )
        return torch.from_numpy(output).to(queries.dtype), torch.from_numpy(total)


def _floats(vectors: Tensor) -> NDArray[np.float32]:
    return vectors.float().contiguous().numpy()


def _numpy(tensor: Tensor | None) -> NDArray | None:
    return None if tensor is None else tensor.numpy()


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
    if name == "native" and place.type != "cpu":
        raise ValueError(f"kernels 'native' on {place}: accepted: torch and triton")
    best = name or ("native" if place.type == "cpu" else "triton")
    reason = native_backend.why_not() if best == "native" else _why_no_triton()
    if reason and name is not None:
        raise MissingBackend(f"kernels {name!r}: {reason}")
    if reason:
        return TorchBackend(place, reason)
    if best == "native":
        return NativeBackend(place)
    from .triton_backend.interface import TritonBackend

    return TritonBackend(place)


def _why_no_triton() -> str:
    return "" if find_spec("triton") else "triton is not installed"
