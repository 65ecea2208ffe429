"""The Triton kernels behind the interface that `backends` describes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .. import torch_backend
from ..backends import TorchBackend, refuse_chunks
from ..tiers import HIGH, LOW, Tiers
from . import attention, chunks, move, scores, write

Tensor = torch.Tensor


class TritonBackend(TorchBackend):
    """Triton where there is a kernel for it; torch on the same device for what is left.

    Torch computes over pages of 32-bit floats and heads whose width is no power of two; what chunks' slots receive, and
    chunks over codes; and windows, or several queries of one sequence, over both tiers.
    """

    name = "triton"

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
        chosen = write.write if _has_kernels(tiers, tier) else TorchBackend.write
        chosen(pages, tiers, tier, tables, rows, slots, keys, values, scores, positions)

    def gather(  # type: ignore[override]
        self, pages: Tensor, tiers: Tiers, tier: int, tables: Tensor, rows: Tensor, slots: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return keys, values, scores and positions of single tokens."""
        chosen = move.read if _has_kernels(tiers, tier) else TorchBackend.gather
        return chosen(pages, tiers, tier, tables, rows, slots)

    def copy_slots(  # type: ignore[override]
        self, pages: Tensor, tiers: Tiers, tier: int, tables: Tensor, rows: Tensor, sources: Tensor, targets: Tensor
    ) -> None:
        """Copy tokens within their tier."""
        chosen = move.copy_slots if _has_kernels(tiers, tier) else TorchBackend.copy_slots
        chosen(pages, tiers, tier, tables, rows, sources, targets)

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
        """Attention over both tiers, and scores where ``now`` is given. Waits for the device: for the longest row."""
        stored = (queries, pages, tiers, tables, rows, counts, scale)
        if starts is not None or window is not None or not (_has_kernels(tiers, HIGH) and _has_kernels(tiers, LOW)):
            return super().attend(*stored, now=now, holders=holders, starts=starts, window=window, positions=positions)
        high, low = counts[rows.reshape(-1).long()].amax(dim=0).tolist() if rows.numel() else (0, 0)
        if now is None:
            return attention.attend(*stored, longest=(high, low))
        refuse_chunks(starts, window)
        logits = torch.empty((*queries.shape[:2], high + low), dtype=torch.float32, device=queries.device)
        output, total = attention.attend(*stored, longest=(high, low), logits=logits)
        scores.update_scores(
            pages, tiers, tables, rows, counts, logits, total, now, longest=(high, low), holders=holders
        )
        return output, total

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
        """Causal attention of chunks; single tokens of all sequences go through the splits of `attend`."""
        form, width = tiers.high.format, tiers.head_dim
        if received is None and window is None and _has_kernels(tiers, HIGH) and _one_each(starts):
            counts = torch.zeros((len(tables), 2), dtype=torch.int32, device=queries.device)
            counts[rows.long(), HIGH] = (stored + 1)[:, None]
            longest = (int(stored.max()) + 1 if len(stored) else 0, 0)
            alike = Tiers(tiers.high, tiers.high)
            return attention.attend(queries, pages, alike, tables, rows, counts, scale, longest=longest)
        given = (queries, starts, stored, pages, tiers, tables, rows, scale)
        other = (form.key_bits, form.value_bits) != (16, 16) or width & (width - 1) or width < 16
        if received is not None or other:
            return torch_backend.attend_chunks(*given, window=window, received=received)
        return chunks.attend_chunks(*given, window=window)


def _one_each(starts: Tensor) -> bool:
    """Return whether every sequence has one token; waits for the device."""
    return bool((starts.diff() == 1).all())


def _has_kernels(tiers: Tiers, tier: int) -> bool:
    """Return whether Triton has kernels for a tier's pages (`pages.layout_arguments`)."""
    form, width = tiers.layout(tier).format, tiers.head_dim
    return max(form.key_bits, form.value_bits) <= 16 and not width & (width - 1)
