"""The arena of key and value pages that sequences share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..config import ModelConfig
from ..errors import LanguageModelError, OutOfPages
from .page_table import PageTable


class KVPages:
    """Pages of keys and values: two float32 arrays [layers, pages, page_size, kv_heads, head_dim].

    Memory that no token has touched is not resident. Not thread-safe: one generation thread owns it.
    """

    def __init__(self, config: ModelConfig, pages: int, page_size: int = 16) -> None:
        if pages < 1 or page_size < 1:
            raise ValueError(f"pages {pages}, page_size {page_size}: accepted: 1 and above")
        self.page_size = page_size
        self._shape = (config.num_key_value_heads, config.head_dim)
        self._layers = config.num_hidden_layers
        self.keys, self.values = self._arrays(pages)
        # The last entry is handed out first, so that low pages are used first.
        self._free = list(range(pages))[::-1]

    @property
    def count(self) -> int:
        """Number of pages."""
        return self.keys.shape[1]

    @property
    def free(self) -> int:
        """Number of pages that no table holds."""
        return len(self._free)

    @property
    def page_bytes(self) -> int:
        """Bytes of one page's keys and values over all layers."""
        return (self.keys.nbytes + self.values.nbytes) // self.count

    def pages_for(self, tokens: int) -> int:
        """Return how many pages hold a number of tokens."""
        return -(-tokens // self.page_size)

    def reserve(self, table: PageTable, length: int) -> None:
        """Give a table the pages that `length` tokens need; raises OutOfPages, changing nothing, if too few."""
        wanted = self.pages_for(length) - len(table.pages)
        if wanted > len(self._free):
            raise OutOfPages(wanted, len(self._free))
        for _ in range(wanted):
            table.pages.append(self._free.pop())

    def release(self, table: PageTable) -> None:
        """Take all pages of a table back; it is empty afterwards."""
        self.truncate(table, 0)

    def truncate(self, table: PageTable, length: int) -> None:
        """Forget the tokens from `length` on, and take back the pages that only they used."""
        if not 0 <= length <= table.length:
            raise ValueError(f"length {length}: accepted: 0 to {table.length}")
        kept = self.pages_for(length)
        returned = table.pages[kept:]
        self._refuse_free(returned)
        self._free.extend(reversed(returned))
        del table.pages[kept:]
        table.length = length

    def resize(self, count: int, tables: Sequence[PageTable]) -> None:
        """Move to an arena of `count` pages, keeping what the tables hold; page numbers and arrays change.

        Raises OutOfPages and changes nothing where the tables hold more. Both arenas exist while it runs.
        """
        used = [page for table in tables for page in table.pages]
        if len(used) > count or count < 1:
            raise OutOfPages(len(used), count)
        keys, values = self._arrays(count)
        keys[:, : len(used)], values[:, : len(used)] = self.keys[:, used], self.values[:, used]
        self.keys, self.values = keys, values
        numbers = iter(range(len(used)))
        for table in tables:
            table.pages = [next(numbers) for _ in table.pages]
        self._free = list(range(len(used), count))[::-1]

    def check(self, tables: Iterable[PageTable]) -> None:
        """Raise LanguageModelError unless every page is either free or in one table, once."""
        uses = Counter(self._free)
        for table in tables:
            uses.update(table.pages)
            if not 0 <= table.length <= len(table.pages) * self.page_size:
                raise LanguageModelError(f"a table of {len(table.pages)} pages claims {table.length} tokens")
        wrong = [page for page in uses.keys() | set(range(self.count)) if uses[page] != 1 or not 0 <= page < self.count]
        if wrong:
            raise LanguageModelError(f"KV pages {sorted(wrong)[:8]} are lost, shared or do not exist")

    def write(
        self, layer: int, table: PageTable, start: int, keys: NDArray[np.float32], values: NDArray[np.float32]
    ) -> None:
        """Store keys and values [tokens, kv_heads, head_dim] at positions from `start` on."""
        positions: NDArray[np.int64] = np.arange(start, start + keys.shape[0], dtype=np.int64)
        pages = table.array()[positions // self.page_size]
        slots = positions % self.page_size
        self.keys[layer, pages, slots] = keys
        self.values[layer, pages, slots] = values

    def read(
        self, layer: int, table: PageTable, start: int, end: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the keys and values [end - start, kv_heads, head_dim] at positions [start, end)."""
        first = start // self.page_size
        pages = table.array()[first : self.pages_for(end)]
        window = slice(start - first * self.page_size, end - first * self.page_size)
        keys, values = self.keys[layer, pages], self.values[layer, pages]
        return keys.reshape(-1, *self._shape)[window], values.reshape(-1, *self._shape)[window]

    def _arrays(self, pages: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        shape = (self._layers, pages, self.page_size, *self._shape)
        return np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def _refuse_free(self, pages: Sequence[int]) -> None:
        twice = set(pages) & set(self._free)
        if twice:
            raise LanguageModelError(f"KV pages {sorted(twice)[:8]} are released twice")
