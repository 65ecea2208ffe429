"""Attention of sequences some of which are compressed: prompts over uncompressed pages, the others over both tiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from fairlead_language_model.config import ModelConfig

from ..arena.allocation import I32
from ..arena.page_tables import HIGH, PageTables
from ..errors import ModelUnsupported
from ..kernels.backends import KernelBackend
from ..kernels.merging import merge
from ..kernels.tiers import Tiers
from ..memory import PageMemory
from ..model.batch import Batch
from ..model.layers import StepAttention
from .received import Received
from .tiered_rows import TieredRows


class Store(Protocol):
    """What attention asks whoever holds the sequences' rows."""

    def raw(self, name: str) -> I32 | None:
        """Return the rows of a sequence that is not compressed, or not to its end: int32 [layers, kv_heads]."""
        ...

    def tiered(self, name: str) -> I32 | None:
        """Return the compressed rows of a sequence, or of its beginning."""
        ...

    def compressed(self, name: str) -> int:
        """Return how many of its first tokens are compressed."""
        ...

    def received(self, name: str) -> Received:
        """Return where the attention that its uncompressed tokens get is summed."""
        ...

    def computed(self, batch: Batch) -> None:
        """Take note that a microbatch went through all layers."""
        ...


@dataclass(frozen=True)
class _Raw:
    """Sequences whose new tokens are stored uncompressed; arrays as in `Batch`, of these sequences alone."""

    names: tuple[str, ...]
    tokens: torch.Tensor
    starts: I32
    stored: I32
    rows: I32
    token_rows: I32
    slots: I32
    positions: I32
    begun: tuple[tuple[int, int, int, I32], ...]
    """Sequences whose beginning is compressed: first and last token, place among these, and rows of the tiers."""


@dataclass(frozen=True)
class _Tiered:
    """Sequences that are compressed, with one new token each."""

    tokens: torch.Tensor
    rows: I32
    positions: I32


class TieredAttention:
    """Keys and values of a stage some of whose sequences are compressed.

    Args:
        config: of the model.
        memory: the pages.
        tables: of uncompressed rows.
        tiers: the layout of their pages.
        backend: the kernels.
        rows: compressed rows.
        store: who holds which; set before the first step.

    Raises:
        ModelUnsupported: a layer sees a window of tokens only.
    """

    store: Store

    def __init__(
        self,
        config: ModelConfig,
        memory: PageMemory,
        tables: PageTables,
        tiers: Tiers,
        backend: KernelBackend,
        rows: TieredRows,
    ) -> None:
        if any(config.window(layer) is not None for layer in range(config.num_hidden_layers)):
            raise ModelUnsupported("sliding windows, whose tokens are not compressed", config.architecture)
        self.config, self.memory, self.tables, self.tiers = config, memory, tables, tiers
        self.backend, self.rows = backend, rows

    def begin(self, batch: Batch, layers: range) -> StepAttention:
        """Return the attention of one microbatch, whose rows are those of ``layers``."""
        return _Step(self, batch, layers)


class _Step:
    def __init__(self, attention: TieredAttention, batch: Batch, layers: range) -> None:
        self._attention, self._batch, self._layers = attention, batch, layers
        store = attention.store
        is_raw = np.array([store.raw(name) is not None for name in batch.names], bool)
        self._raw = self._of_raw(np.flatnonzero(is_raw)) if is_raw.any() else None
        self._tiered = self._of_tiered(np.flatnonzero(~is_raw)) if not is_raw.all() else None
        self._scale = attention.config.head_dim**-0.5

    def __call__(self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        place = layer - self._layers.start
        output = torch.empty_like(queries, memory_format=torch.contiguous_format)
        if self._raw is not None:
            chosen = self._raw.tokens
            output[chosen] = self._attend_raw(self._raw, layer, place, queries[chosen], keys[chosen], values[chosen])
        if self._tiered is not None:
            chosen, rows, positions = self._tiered.tokens, self._tiered.rows[:, place], self._tiered.positions
            tiered = self._attention.rows
            tiered.append(np.ascontiguousarray(rows), keys[chosen], values[chosen], positions)
            output[chosen] = tiered.attend(queries[chosen], np.ascontiguousarray(rows), self._scale, positions)
        if layer == self._layers.stop - 1:
            self._attention.store.computed(self._batch)
        return output

    def _attend_raw(
        self, raw: _Raw, layer: int, place: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        it = self._attention
        kernels, put = it.backend, it.backend.put
        tables = put(it.tables.tables)
        kernels.write(
            it.memory.pages_t, it.tiers, HIGH, tables, put(np.ascontiguousarray(raw.token_rows[:, place])),
            put(raw.slots), keys, values, put(np.zeros(raw.slots.shape, np.float32)), put(raw.positions),
        )  # fmt: skip
        lengths = raw.stored + np.diff(raw.starts)
        received = [
            it.store.received(name).of(layer, int(tokens)) for name, tokens in zip(raw.names, lengths, strict=True)
        ]
        output, total = kernels.attend_chunks(
            queries, put(raw.starts), put(raw.stored), it.memory.pages_t, it.tiers, tables,
            put(np.ascontiguousarray(raw.rows[:, place])), self._scale, received=received,
        )  # fmt: skip
        for first, end, _, rows in raw.begun:
            starts = np.array([0, end - first], np.int32)
            before = it.rows.attend_part(queries[first:end], starts, rows[place][None], self._scale)
            output[first:end], _ = merge([(output[first:end], total[first:end]), before])
        return output

    def _of_raw(self, sequences: np.ndarray) -> _Raw:
        batch, store = self._batch, self._attention.store
        names = tuple(batch.names[i] for i in sequences)
        lengths = batch.lengths[sequences]
        rows = np.stack([_known(store.raw(name)) for name in names])
        stored = (batch.stored[sequences] - [store.compressed(name) for name in names]).astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        tokens = np.concatenate([np.arange(batch.starts[i], batch.starts[i + 1]) for i in sequences])
        slots = np.arange(len(tokens), dtype=np.int32) + np.repeat(stored - starts[:-1], lengths)
        begun = [
            (int(starts[i]), int(starts[i + 1]), i, _known(store.tiered(name)))
            for i, name in enumerate(names)
            if store.compressed(name)
        ]
        return _Raw(
            names=names,
            tokens=self._put(tokens),
            starts=starts,
            stored=stored,
            rows=rows,
            token_rows=np.repeat(rows, lengths, axis=0),
            slots=np.repeat(slots[:, None], rows.shape[2], axis=1).astype(np.int32),
            positions=batch.positions[tokens],
            begun=tuple(begun),
        )

    def _of_tiered(self, sequences: np.ndarray) -> _Tiered:
        batch, store = self._batch, self._attention.store
        rows = np.stack([_known(store.tiered(batch.names[i])) for i in sequences])
        tokens = batch.starts[sequences]
        return _Tiered(self._put(tokens), rows, batch.positions[tokens])

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(self._attention.memory.device)


def _known(rows: I32 | None) -> I32:
    assert rows is not None
    return rows


__all__ = ["Store", "TieredAttention"]
