"""Keys and values of a piece's tokens as bytes that travel, and back into another piece.

What is sent is what is stored: floats of 16 or 32 bits, so that a token that moved is the token that was there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..arena.page_tables import HIGH
from ..model.attention import PagedAttention
from .row_store import RowStore


class Transfers:
    """Reads and writes tokens of pieces."""

    def __init__(self, paged: PagedAttention, store: RowStore) -> None:
        self.paged, self.store = paged, store

    @property
    def token_bytes(self) -> int:
        """Bytes of one token of one layer on its way."""
        tiers = self.paged.tiers
        return 2 * self.store.kv_heads * tiers.head_dim * tiers.high.format.key_bits // 8

    def read(self, name: str, first: int, end: int) -> dict[str, torch.Tensor]:
        """Return tokens [first, end) of a piece: keys and values [tokens, layers * kv_heads, head_dim], positions."""
        rows = self.store.piece(name).rows.reshape(-1)
        slots = np.repeat(np.arange(first, end, dtype=np.int32), len(rows))
        kernels, tables = self.paged.backend, self.paged.tables.tables
        keys, values, _, positions = kernels.gather(
            self.paged.memory.pages_t,
            self.paged.tiers,
            HIGH,
            kernels.put(tables),
            kernels.put(np.tile(rows, end - first)),
            kernels.put(slots),
        )
        shape = (end - first, len(rows))
        kept = torch.float16 if self.paged.tiers.high.format.key_bits == 16 else torch.float32
        return {
            "keys": keys.unflatten(0, shape).to(kept),
            "values": values.unflatten(0, shape).to(kept),
            "positions": positions.unflatten(0, shape)[:, 0].contiguous(),
        }

    def write(self, name: str, driver: str, layers: range, first: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put tokens that were read elsewhere into slots from ``first`` on; raises OutOfPages, changing nothing."""
        keys = tensors["keys"]
        count = len(keys)
        rows = self.store.ensure(name, driver, layers, first + count).reshape(-1)
        kernels = self.paged.backend
        device = kernels.device
        slots = np.repeat(np.arange(first, first + count, dtype=np.int32)[:, None], len(rows), axis=1)
        kernels.write(
            self.paged.memory.pages_t,
            self.paged.tiers,
            HIGH,
            kernels.put(self.paged.tables.tables),
            kernels.put(np.ascontiguousarray(np.broadcast_to(rows, slots.shape))),
            kernels.put(slots),
            keys.to(device).float().contiguous(),
            tensors["values"].to(device).float().contiguous(),
            kernels.put(np.zeros(slots.shape, np.float32)),
            tensors["positions"].to(device),
        )
