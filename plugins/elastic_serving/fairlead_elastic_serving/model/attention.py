"""Attention of a stage's layers over uncompressed pages."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fairlead_language_model.config import ModelConfig

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

    def begin(self, batch: Batch, layers: range) -> PagedStep:
        """Return the attention of one microbatch, whose rows are those of ``layers``."""
        return (NativePagedStep if self.backend.name == "native" else PagedStep)(self, batch, layers)


class PagedStep:
    """Attention of one microbatch over a stage's own pages."""

    def __init__(self, attention: PagedAttention, batch: Batch, layers: range) -> None:
        self._attention, self._first = attention, layers.start
        backend, lengths = attention.backend, batch.lengths
        tables, rows = self._tables(batch)
        put = backend.put
        self._tables_t = put(tables)
        # By layer, so that what a layer takes lies together.
        self._rows = put(np.ascontiguousarray(rows.swapaxes(0, 1)))
        of_token = np.repeat(rows, lengths, axis=0) if len(lengths) < len(batch.tokens) else rows
        self._token_rows = put(np.ascontiguousarray(of_token.swapaxes(0, 1)))
        slots = np.arange(len(batch.tokens), dtype=np.int32) + np.repeat(batch.stored - batch.starts[:-1], lengths)
        self._slots = put(np.repeat(slots[:, None], rows.shape[2], axis=1))
        self._scores = put(np.zeros(self._slots.shape, np.float32))
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

    def _tables(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """The tables and the batch's rows of them; for another device only what the batch needs of them."""
        tables = self._attention.tables.tables
        if self._attention.memory.device.type == "cpu":
            return tables, batch.rows
        tokens = int((batch.stored + batch.lengths).max(initial=1))
        width = self._attention.tiers.high.pages_for(tokens)
        own = tables[batch.rows.reshape(-1), :width]
        return own, np.arange(batch.rows.size, dtype=np.int32).reshape(batch.rows.shape)


class NativePagedStep(PagedStep):
    """The same by the native kernels, without a detour over tensors for what every layer takes."""

    def __init__(self, attention: PagedAttention, batch: Batch, layers: range) -> None:
        super().__init__(attention, batch, layers)
        self._kernels, self._layout = native_kernels(), native_layout(attention.tiers)
        self._pages, self._tables_n = attention.memory.pages, self._tables_t.numpy()
        self._rows_n, self._token_rows_n = self._rows.numpy(), self._token_rows.numpy()
        self._written = [self._scores.numpy(), batch.positions]
        self._slots_n, self._batch = self._slots.numpy(), batch

    def attend(
        self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PagedStep.attend`."""
        place, batch, pages, tables = layer - self._first, self._batch, self._pages, self._tables_n
        self._kernels.write(
            self._layout, pages, HIGH, tables, self._token_rows_n[place], self._slots_n,
            _floats(keys), _floats(values), *self._written,
        )  # fmt: skip
        output, total = self._kernels.attend_chunks(
            self._layout, _floats(queries), batch.starts, batch.stored, pages, tables, self._rows_n[place],
            self._scale, window=self._attention.config.window(layer),
        )  # fmt: skip
        return torch.from_numpy(output).to(queries.dtype), torch.from_numpy(total)


def _floats(vectors: torch.Tensor) -> NDArray[np.float32]:
    return vectors.float().contiguous().numpy()
