"""Attention of a stage's layers over uncompressed pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fairlead_language_model.config import ModelConfig

from ..arena.allocation import I32
from ..arena.formats import K16V16, K32V32, KVFormat
from ..arena.page_tables import HIGH, PageTables
from ..kernels.backends import KernelBackend
from ..kernels.native_backend import native_kernels, native_layout
from ..kernels.tiers import Tiers
from ..memory import PageMemory
from .batch import Batch
from .layers import StepAttention

RAW_FORMATS: dict[torch.dtype, KVFormat] = {torch.float32: K32V32, torch.bfloat16: K16V16}
"""How keys and values are stored that are not compressed, by the type of the weights."""


def raw_tiers(config: ModelConfig, dtype: torch.dtype, page_bytes: int) -> Tiers:
    """Return the layout of pages of uncompressed keys and values; the low tier is not used."""
    return Tiers.of(RAW_FORMATS[dtype], RAW_FORMATS[dtype], config.head_dim, page_bytes)


class Attention(Protocol):
    """Where a stage's keys and values are, and how it attends to them."""

    def begin(self, batch: Batch, layers: range) -> StepAttention:
        """Return the attention of one microbatch, whose rows are those of ``layers``."""
        ...


class PagedAttention:
    """Keys and values in the high tier of this stage's tables.

    Args:
        config: of the model.
        memory: the pages.
        tables: of the rows that batches name.
        tiers: the layout of the tables' pages.
        backend: the kernels.
    """

    def __init__(
        self, config: ModelConfig, memory: PageMemory, tables: PageTables, tiers: Tiers, backend: KernelBackend
    ) -> None:
        self.config, self.memory, self.tables, self.tiers, self.backend = config, memory, tables, tiers, backend

    def begin(self, batch: Batch, layers: range) -> PagedStep | NativePagedStep:
        """Return the attention of one microbatch, whose rows are those of ``layers``."""
        return (NativePagedStep if self.backend.name == "native" else PagedStep)(self, batch, layers)


class PagedStep:
    """Attention of one microbatch over a stage's own pages."""

    def __init__(self, attention: PagedAttention, batch: Batch, layers: range) -> None:
        self._attention, self._first = attention, layers.start
        put, it = attention.backend.put, _Places.of(batch, *_tables(attention, batch))
        self._tables_t, self._rows, self._token_rows = put(it.tables), put(it.rows), put(it.token_rows)
        self._slots, self._scores = put(it.slots), put(it.scores)
        self._positions, self._starts, self._stored = put(batch.positions), put(batch.starts), put(batch.stored)
        self._scale = attention.config.head_dim**-0.5

    def __call__(self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Store a layer's new keys and values, and attend; see `layers.StepAttention`."""
        return self.attend(layer, queries, keys, values)[0]

    def attend(
        self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same; returns also the logarithms of the sums of all logits' exponentials, float32 [tokens, heads]."""
        it, place = self._attention, layer - self._first
        kernels, pages, tiers = it.backend, it.memory.pages_t, it.tiers
        kernels.write(
            pages, tiers, HIGH, self._tables_t, self._token_rows[place], self._slots,
            keys.contiguous(), values.contiguous(), self._scores, self._positions,
        )  # fmt: skip
        return kernels.attend_chunks(
            queries.contiguous(), self._starts, self._stored, pages, tiers, self._tables_t, self._rows[place],
            self._scale, window=it.config.window(layer),
        )  # fmt: skip


class NativePagedStep:
    """The same by the native kernels, without a detour over tensors."""

    def __init__(self, attention: PagedAttention, batch: Batch, layers: range) -> None:
        self._first, self._batch = layers.start, batch
        self._kernels, self._layout = native_kernels(), native_layout(attention.tiers)
        self._pages, self._window = attention.memory.pages, attention.config.window
        self._it = _Places.of(batch, attention.tables.tables, batch.rows)
        self._scale = attention.config.head_dim**-0.5

    def __call__(self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Store a layer's new keys and values, and attend; see `layers.StepAttention`."""
        return self.attend(layer, queries, keys, values)[0]

    def attend(
        self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PagedStep.attend`."""
        output, total = self.attend_arrays(layer, _floats(queries), _floats(keys), _floats(values))
        return torch.from_numpy(output).to(queries.dtype), torch.from_numpy(total)

    def attend_arrays(
        self, layer: int, queries: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same for contiguous arrays."""
        place, batch, pages, it = layer - self._first, self._batch, self._pages, self._it
        self._kernels.write(
            self._layout, pages, HIGH, it.tables, it.token_rows[place], it.slots,
            keys, values, it.scores, batch.positions,
        )  # fmt: skip
        return self._kernels.attend_chunks(
            self._layout, queries, batch.starts, batch.stored, pages, it.tables, it.rows[place], self._scale,
            window=self._window(layer),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Places:
    """Where a microbatch's vectors go, in host memory.

    tables: of pages; rows: int32 [layers, sequences, kv_heads]; token_rows: [layers, tokens, kv_heads]; slots: int32
    [tokens, kv_heads]; scores: zeros, likewise. By layer, so that what a layer takes lies together.
    """

    tables: I32
    rows: I32
    token_rows: I32
    slots: I32
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, batch: Batch, tables: I32, rows: I32) -> _Places:
        by_layer = np.ascontiguousarray(rows.swapaxes(0, 1))
        if len(batch.stored) == len(batch.tokens):
            token_rows, slots = by_layer, batch.stored
        else:
            lengths = batch.lengths
            token_rows = np.repeat(by_layer, lengths, axis=1)
            slots = np.arange(len(batch.tokens), dtype=np.int32) + np.repeat(batch.stored - batch.starts[:-1], lengths)
        each = np.repeat(slots[:, None], rows.shape[2], axis=1)
        return cls(tables, by_layer, token_rows, each, np.zeros(each.shape, np.float32))


def _tables(attention: PagedAttention, batch: Batch) -> tuple[I32, I32]:
    """The tables and the batch's rows of them; for another device only what the batch needs of them."""
    tables = attention.tables.tables
    if attention.memory.device.type == "cpu":
        return tables, batch.rows
    tokens = int((batch.stored + batch.lengths).max(initial=1))
    width = attention.tiers.high.pages_for(tokens)
    own = tables[batch.rows.reshape(-1), :width]
    return own, np.arange(batch.rows.size, dtype=np.int32).reshape(batch.rows.shape)


def _floats(vectors: torch.Tensor) -> NDArray[np.float32]:
    return vectors.float().contiguous().numpy()
