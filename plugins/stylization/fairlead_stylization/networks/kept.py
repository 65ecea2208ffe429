"""Memory of the last pictures' sizes, lent to one call at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")

#: What larger pictures were computed in is not kept for the next one; nor are several of more pixels together.
LARGEST_PIXELS = 1024 * 1024
COUNT = 3
#: Bytes.
LARGEST_ARRAY = 24 * 1024 * 1024


def keep_freed_memory() -> None:
    """Let the allocator keep what arrays of pictures have freed for the next ones.

    glibc gives large arrays back to the system at once, and takes them again page by page, until it has seen one of
    that size go; other allocators do not mind.
    """
    np.empty(LARGEST_ARRAY, np.uint8)


def give_freed_memory_back() -> None:
    """Give the system back what was freed: after work that smaller pictures have no use for; nothing without glibc."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Kept(Generic[T]):
    """What pictures of a size are computed in: maps whose borders are zeros already.

    Args:
        make: of a height and a width.
    """

    def __init__(self, make: Callable[[int, int], T]) -> None:
        self._make = make
        self._held: list[tuple[tuple[int, int], T]] = []
        self._lock = Lock()

    @contextmanager
    def lent(self, height: int, width: int) -> Iterator[T]:
        """One that nobody else has until the block ends."""
        size = (height, width)
        with self._lock:
            index = next((index for index, (held, _) in enumerate(self._held) if held == size), None)
            held = None if index is None else self._held.pop(index)[1]
            if held is None:
                # What is let go makes room for what comes.
                self._let_go(height * width)
        found = self._make(height, width) if held is None else held
        yield found
        with self._lock:
            self._let_go(height * width)
            if height * width <= LARGEST_PIXELS:
                self._held = [(size, found), *self._held[: COUNT - 1]]

    def _let_go(self, pixels: int) -> None:
        """Let go of what is too much beside so many pixels, the longest unused first."""
        before = len(self._held)
        while self._held and pixels + sum(height * width for (height, width), _ in self._held) > LARGEST_PIXELS:
            self._held.pop()
        if len(self._held) < before:
            give_freed_memory_back()
