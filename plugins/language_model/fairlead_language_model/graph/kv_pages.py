"""The arena of key and value pages that sequences share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import quantize_heads

from ..config import ModelConfig
from ..errors import LanguageModelError
from .page_pool import PagePool
from .page_table import PageTable

KV_BITS = (32, 8)


class KVPages:
    """Pages of keys and values: two arrays [layers, pages, page_size, kv_heads, head_dim].

    With 32 bits they are float32; with 8 bits int8, and two float32 arrays [layers, pages, page_size, kv_heads] hold
    the scale of each position and head.

    `pool` counts who holds each page: tables, and a PrefixCache where there is one. Memory that no token has touched is
    not resident. Not thread-safe: one generation thread owns it.
    """

    def __init__(self, config: ModelConfig, pages: int, page_size: int = 16, *, bits: int = 32) -> None:
        if pages < 1 or page_size < 1:
            raise ValueError(f"pages {pages}, page_size {page_size}: accepted: 1 and above")
        if bits not in KV_BITS:
            raise ValueError(f"bits {bits}: accepted: {', '.join(map(str, KV_BITS))}")
        self.bits = bits
        self.page_size = page_size
        self._shape = (config.num_key_value_heads, config.head_dim)
        self._layers = config.num_hidden_layers
        self.arrays = self._arrays(pages)
        self.pool = PagePool(pages)

    @property
    def keys(self) -> NDArray[Any]:
        """All keys."""
        return self.arrays["keys"]

    @property
    def values(self) -> NDArray[Any]:
        """All values."""
        return self.arrays["values"]

    @property
    def key_scale(self) -> NDArray[np.float32] | None:
        """The scales of all keys, or None where they are float32."""
        return self.arrays.get("key_scale")

    @property
    def value_scale(self) -> NDArray[np.float32] | None:
        """The scales of all values, or None where they are float32."""
        return self.arrays.get("value_scale")

    @property
    def count(self) -> int:
        """Number of pages."""
        return self.pool.count

    @property
    def free(self) -> int:
        """Number of pages that nobody holds."""
        return self.pool.free

    @property
    def page_bytes(self) -> int:
        """Bytes of one page's keys and values over all layers."""
        return sum(array.nbytes for array in self.arrays.values()) // self.count

    def pages_for(self, tokens: int) -> int:
        """Return how many pages hold a number of tokens."""
        return -(-tokens // self.page_size)

    def reserve(self, table: PageTable, length: int) -> None:
        """Give a table the pages that `length` tokens need; raises OutOfPages, changing nothing, if too few."""
        table.pages += self.pool.take(max(0, self.pages_for(length) - len(table.pages)))

    def release(self, table: PageTable) -> None:
        """Give all pages of a table back; it is empty afterwards."""
        self.truncate(table, 0)

    def truncate(self, table: PageTable, length: int) -> None:
        """Forget the tokens from `length` on, and give back the pages that only they used."""
        if not 0 <= length <= table.length:
            raise ValueError(f"length {length}: accepted: 0 to {table.length}")
        kept = self.pages_for(length)
        self.pool.release(table.pages[kept:])
        del table.pages[kept:]
        table.length = length

    def copy(self, source: int, target: int) -> None:
        """Copy what one page holds, over all layers, to another."""
        for array in self.arrays.values():
            array[:, target] = array[:, source]

    def own(self, table: PageTable, start: int) -> None:
        """Copy the table's pages from position `start` on that others hold too, so that it may write them.

        Raises OutOfPages, changing nothing, where there are too few for the copies.
        """
        places = range(start // self.page_size, len(table.pages))
        shared = [place for place in places if self.pool.holders(table.pages[place]) > 1]
        for place, page in zip(shared, self.pool.take(len(shared)), strict=True):
            self.copy(table.pages[place], page)
            self.pool.release([table.pages[place]])
            table.pages[place] = page

    def resize(self, count: int, tables: Sequence[PageTable]) -> dict[int, int]:
        """Move to an arena of `count` pages, keeping what is held; page numbers and arrays change.

        Returns the new number of each held page, for holders that are no tables. Raises OutOfPages and changes nothing
        where more are held. Both arenas exist while it runs.
        """
        numbers = self.pool.compact(count)
        arrays, held = self._arrays(count), list(numbers)
        for name, array in arrays.items():
            array[:, : len(held)] = self.arrays[name][:, held]
        self.arrays = arrays
        for table in tables:
            table.pages = [numbers[page] for page in table.pages]
        return numbers

    def export(self, table: PageTable) -> dict[str, NDArray[Any]]:
        """Return copies of what a table holds: arrays [layers, tokens, ...] by name."""
        pages, slots = self._places(table, 0, table.length)
        return {name: array[:, pages, slots] for name, array in self.arrays.items()}

    def restore(self, table: PageTable, start: int, end: int, exported: Mapping[str, NDArray[Any]]) -> None:
        """Fill positions [start, end) of a table, which has their pages, with what `export` gave.

        Raises ValueError, changing nothing, where the arrays are those of another kind of pages or too short.
        """
        for name, array in self.arrays.items():
            given = exported.get(name)
            wanted = (self._layers, *array.shape[3:])
            if given is None or given.dtype != array.dtype or (given.shape[0], *given.shape[2:]) != wanted:
                raise ValueError(f"{name}: accepted: {array.dtype} [layers, tokens, ...] of the shape {wanted}")
            if given.shape[1] < end:
                raise ValueError(f"{name}: holds {given.shape[1]} tokens; accepted: at least {end}")
        pages, slots = self._places(table, start, end)
        for name, array in self.arrays.items():
            array[:, pages, slots] = exported[name][:, start:end]
        table.length = end

    def check(self, tables: Iterable[PageTable], cached: Iterable[int] = ()) -> None:
        """Raise LanguageModelError unless the tables and the `cached` pages are all holders that there are."""
        uses = Counter(cached)
        for table in tables:
            uses.update(table.pages)
            if not 0 <= table.length <= len(table.pages) * self.page_size:
                raise LanguageModelError(f"a table of {len(table.pages)} pages claims {table.length} tokens")
        wrong = self.pool.wrong(uses)
        if wrong:
            raise LanguageModelError(f"KV pages {wrong[:8]} are lost, shared or do not exist")

    def write(
        self, layer: int, table: PageTable, start: int, keys: NDArray[np.float32], values: NDArray[np.float32]
    ) -> None:
        """Store keys and values [tokens, kv_heads, head_dim] at positions from `start` on."""
        pages, slots = self._places(table, start, start + keys.shape[0])
        for name, written in (("key", keys), ("value", values)):
            if self.bits == 8:
                written, self.arrays[f"{name}_scale"][layer, pages, slots] = quantize_heads(written)
            self.arrays[f"{name}s"][layer, pages, slots] = written

    def read(
        self, layer: int, table: PageTable, start: int, end: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the keys and values [end - start, kv_heads, head_dim] at positions [start, end)."""
        first = start // self.page_size
        pages = table.array()[first : self.pages_for(end)]
        window = slice(start - first * self.page_size, end - first * self.page_size)
        keys, values = self._floats("key", layer, pages), self._floats("value", layer, pages)
        return keys.reshape(-1, *self._shape)[window], values.reshape(-1, *self._shape)[window]

    def _floats(self, name: str, layer: int, pages: NDArray[np.int32]) -> NDArray[np.float32]:
        stored = self.arrays[f"{name}s"][layer, pages]
        return stored if self.bits == 32 else stored * self.arrays[f"{name}_scale"][layer, pages][..., None]

    def _places(self, table: PageTable, start: int, end: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return page and slot of each position in [start, end)."""
        positions: NDArray[np.int64] = np.arange(start, end, dtype=np.int64)
        return table.array()[positions // self.page_size], positions % self.page_size

    def _arrays(self, pages: int) -> dict[str, NDArray[Any]]:
        """Make what the pages consist of: arrays whose first axes are [layers, pages, page_size]."""
        shape = (self._layers, pages, self.page_size, *self._shape)
        kind = np.float32 if self.bits == 32 else np.int8
        arrays: dict[str, NDArray[Any]] = {"keys": np.zeros(shape, kind), "values": np.zeros(shape, kind)}
        if self.bits == 8:
            arrays |= {name: np.zeros(shape[:-1], np.float32) for name in ("key_scale", "value_scale")}
        return arrays
