"""The bytes of an arena's pages: weights, keys and values in one tensor.

The arena (`arena.page_arena`) says who holds which page; this holds what stands in them. One tensor is one budget.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray

from .arena.page_arena import Moves

PAGE_ALIGNMENT = 64
"""Pages begin at a multiple of it, so that weights that span pages are aligned for vector loads."""


class PageMemory:
    """Pages of one device.

    Attributes:
        pages_t: uint8 [pages, page_bytes].
        pages: the same bytes as a NumPy view; only on a CPU.

    Args:
        pages: how many.
        page_bytes: of each, a multiple of 64.
        device: where they are.

    Raises:
        ValueError: page_bytes is no multiple of 64, or there is no page.
    """

    def __init__(self, pages: int, page_bytes: int, device: torch.device | str = "cpu") -> None:
        if pages < 1 or page_bytes < PAGE_ALIGNMENT or page_bytes % PAGE_ALIGNMENT:
            raise ValueError(
                f"pages {pages}, page_bytes {page_bytes}: accepted: at least 1, multiples of {PAGE_ALIGNMENT}"
            )
        self.page_bytes = page_bytes
        self.device = torch.device(device)
        self._pages: NDArray[np.uint8] | None = None
        if self.device.type == "cpu":
            # Mapped, so that pages that were never written take no memory and can be given back to the system.
            self._map = mmap.mmap(-1, pages * page_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self._pages = np.frombuffer(self._map, np.uint8).reshape(pages, page_bytes)
            self.pages_t = torch.from_numpy(self._pages)
        else:
            self.pages_t = torch.zeros((pages, page_bytes), dtype=torch.uint8, device=self.device)

    @property
    def pages(self) -> NDArray[np.uint8]:
        """The pages as NumPy sees them; raises ValueError where they are not in host memory."""
        if self._pages is None:
            raise ValueError(f"pages on {self.device} have no NumPy view; accepted: cpu")
        return self._pages

    def copy(self, moves: Moves) -> None:
        """Copy pages as the arena's moves say."""
        if len(moves):
            source, target = self._index(moves.source), self._index(moves.target)
            self.pages_t[target] = self.pages_t[source]

    def read(self, pages: NDArray[np.integer]) -> torch.Tensor:
        """Return copies of pages, uint8 [pages, page_bytes], on their device."""
        return self.pages_t[self._index(pages)]

    def write(self, pages: NDArray[np.integer], content: torch.Tensor) -> None:
        """Fill pages with uint8 [pages, page_bytes], from any device."""
        self.pages_t[self._index(pages)] = content.to(self.device)

    def layer(self, pages: range) -> torch.Tensor:
        """Return pages that lie together as one flat view, uint8."""
        return self.pages_t[pages.start : pages.stop].reshape(-1)

    def read_often(self, pages: range) -> None:
        """Ask the system for large pages of its own under these, before they are written for the first time.

        Every step reads the weights from end to end: of small pages there are more than a processor remembers, and
        where each one lies differs from one process to the next, and with it how fast they are read. Where the system
        has no large pages nothing changes.
        """
        advice = getattr(mmap, "MADV_HUGEPAGE", None)
        if self._pages is None or advice is None:
            return
        start, end = self._inside(pages.start, pages.stop)
        if end > start:
            with suppress(OSError):
                self._map.madvise(advice, start, end - start)

    def discard(self, pages: NDArray[np.integer]) -> None:
        """Give the memory of pages back to the system: they read as zeros until they are written again.

        On an accelerator, whose allocator returns no part of a tensor, this does nothing.
        """
        if self._pages is None:
            return
        for first, last in _runs(np.sort(np.asarray(pages, np.int64))):
            start, end = self._inside(first, last + 1)
            if end > start:
                self._map.madvise(mmap.MADV_DONTNEED, start, end - start)

    def _inside(self, first: int, stop: int) -> tuple[int, int]:
        """From which to which byte pages cover the system's own pages whole."""
        system = mmap.PAGESIZE
        return -(-first * self.page_bytes // system) * system, stop * self.page_bytes // system * system

    def _index(self, pages: NDArray[np.integer]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(pages, dtype=np.int64)).to(self.device)


def _runs(pages: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and last of each run of numbers that follow one another."""
    if not len(pages):
        return []
    breaks = np.flatnonzero(np.diff(pages) != 1)
    firsts = pages[np.concatenate([[0], breaks + 1])]
    lasts = pages[np.concatenate([breaks, [len(pages) - 1]])]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))
