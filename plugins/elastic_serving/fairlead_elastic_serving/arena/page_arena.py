"""One pool of pages for an instance's weights and for its keys and values.

The pages of a layer's parameters lie together. When the layer is dropped they become pages for keys and values at
once: the numbers stand in a second free list, and neither a kernel nor a table can tell (KunServe, "local memory";
there by remapping virtual memory). Such borrowed pages are handed out last, those of the layer that was dropped first
before the others, and what stands in them moves out first, so that restoring a layer finds most of its pages free.

Numbers only: whoever owns the memory copies what the returned moves say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ElasticServingError, IntegrityError, OutOfPages
from .allocation import I32, Ring

OWN = -1
"""The layer of a page that belongs to no layer."""
RETIRED = -2
"""The layer of a page that is out of use, as the budget does not cover it."""


@dataclass(frozen=True, slots=True)
class Moves:
    """Pages whose bytes must be copied before anything else is written: int32 [moves] each."""

    source: I32
    target: I32

    def __len__(self) -> int:
        return len(self.source)


class PageArena:
    """Who holds which page. A page that several hold is read by all of them and must be written by none.

    Args:
        pages: all pages of the instance.
        layer_pages: how many of them each layer's parameters take; they lie at the end, layer after layer.

    Raises:
        ValueError: the layers take more pages than there are.
    """

    def __init__(self, pages: int, layer_pages: Sequence[int] = ()) -> None:
        sizes = np.asarray(layer_pages, np.int64).reshape(-1)
        if pages < 1 or (sizes < 0).any() or sizes.sum() > pages:
            raise ValueError(f"pages {pages}, layers {list(layer_pages)}: accepted: at least 1, and all layers' pages")
        own = pages - int(sizes.sum())
        self._layer = np.full(pages, OWN, np.int32)
        self._layer[own:] = np.repeat(np.arange(len(sizes)), sizes)
        self._holders = np.zeros(pages, np.int32)
        self._own = Ring(own, np.arange(own))
        self._borrowed = Ring(pages - own)
        self._dropped: list[int] = []
        self._layers = len(sizes)
        self._sizes = sizes
        self._own_capacity = own

    @property
    def pages(self) -> int:
        """All pages, those of weights included."""
        return len(self._layer)

    @property
    def dropped(self) -> tuple[int, ...]:
        """Layers whose pages serve keys and values, the one dropped first before the others."""
        return tuple(self._dropped)

    @property
    def is_borrowed(self) -> NDArray[np.bool_]:
        """Which pages belong to a layer, dropped or not, whoever holds them: bool [pages]."""
        return self._layer >= 0

    @property
    def retired(self) -> int:
        """Pages that are out of use."""
        return int((self._layer == RETIRED).sum())

    @property
    def free(self) -> int:
        """Pages that keys and values may take."""
        return self._own.count + self._borrowed.count

    @property
    def free_borrowed(self) -> int:
        """How many of them belong to dropped layers."""
        return self._borrowed.count

    @property
    def free_own(self) -> int:
        """How many of them belong to no layer."""
        return self._own.count

    @property
    def capacity(self) -> int:
        """Pages for keys and values, held and free."""
        return self._own_capacity + int(self._sizes[self._dropped].sum())

    @property
    def own_capacity(self) -> int:
        """Pages for keys and values where no layer is dropped."""
        return self._own_capacity

    @property
    def used(self) -> int:
        """Pages that somebody holds, each counted once."""
        return self.capacity - self.free

    def layer_range(self, layer: int) -> range:
        """Return the pages of a layer's parameters."""
        pages = np.flatnonzero(self._layer == self._known(layer))
        return range(int(pages[0]), int(pages[-1]) + 1) if len(pages) else range(0)

    @property
    def every_holder(self) -> I32:
        """How many hold each page, int32 [pages]: the arena's own count, not to be written."""
        return self._holders

    def holders(self, pages: NDArray[np.integer]) -> I32:
        """Return how many hold each page."""
        return self._holders[pages]

    def take(self, number: int) -> I32:
        """Hand out pages, one holder each, own ones first; raises OutOfPages, changing nothing, if they are too few."""
        if number > self.free:
            raise OutOfPages(number, self.free)
        from_own = min(number, self._own.count)
        pages = np.concatenate([self._own.take(from_own), self._borrowed.take(number - from_own)])
        self._holders[pages] = 1
        return pages

    def retain(self, pages: NDArray[np.integer]) -> None:
        """Add a holder to each page, once per mention; raises IntegrityError, changing nothing, for a free one."""
        self._refuse(pages[self._holders[pages] == 0], "shared though nobody holds them")
        np.add.at(self._holders, pages, 1)

    def release(self, pages: NDArray[np.integer]) -> None:
        """Take a holder away, once per mention; raises IntegrityError, changing nothing, where there is none left."""
        if not len(pages):
            return
        mentioned, times = np.unique(pages, return_counts=True)
        self._refuse(mentioned[(mentioned < 0) | (mentioned >= self.pages)], "released and not there")
        left = self._holders[mentioned] - times.astype(np.int32)
        self._refuse(mentioned[left < 0], "released more often than they are held")
        self._holders[mentioned] = left
        self._give(mentioned[left == 0])

    def own_copies(self, pages: NDArray[np.integer]) -> Moves:
        """Copy on write: give a page of its own for each of some pages that others hold too.

        Args:
            pages: each at most once, each held by the caller.

        Returns:
            the shared ones, with the caller's new pages; the caller's hold on the old ones is gone.

        Raises:
            OutOfPages: too few are free; nothing was changed.
        """
        shared = np.asarray(pages, np.int32)[self._holders[pages] > 1]
        copies = self.take(len(shared))
        self.release(shared)
        return Moves(shared, copies)

    def retire(self, number: int) -> I32:
        """Take free own pages out of use, as the budget shrinks; their bytes are nobody's.

        Raises:
            OutOfPages: too few own pages are free; nothing was changed.
        """
        pages = self._own.take(number)
        self._layer[pages] = RETIRED
        self._own_capacity -= number
        return pages

    def revive(self, number: int) -> None:
        """Take retired pages into use again; raises ElasticServingError, changing nothing, if there are too few."""
        retired = np.flatnonzero(self._layer == RETIRED)
        if number > len(retired):
            raise ElasticServingError(f"{number} pages: accepted: up to {len(retired)}, as many as are retired")
        self._layer[retired[:number]] = OWN
        self._own_capacity += number
        self._own.give(retired[:number])

    def drop(self, layers: Iterable[int]) -> None:
        """Turn layers' pages into pages for keys and values, at once.

        Raises ElasticServingError, changing nothing, for a layer that is dropped already or does not exist.
        """
        chosen = list(layers)
        again = sorted({layer for layer in chosen if self._known(layer) in self._dropped or chosen.count(layer) > 1})
        if again:
            raise ElasticServingError(f"layers {again} are dropped already")
        for layer in chosen:
            self._dropped.append(layer)
            self._borrowed.give(np.flatnonzero(self._layer == layer))

    def restore(self, layer: int) -> Moves:
        """Take a dropped layer's pages back for its parameters.

        Returns:
            what stands in them and where it goes; its holders hold the targets from now on.

        Raises:
            ElasticServingError: the layer is not dropped.
            OutOfPages: the other free pages do not hold what stands in them; nothing was changed.
        """
        if self._known(layer) not in self._dropped:
            raise ElasticServingError(f"layer {layer} is not dropped; dropped are {self._dropped}")
        mine = np.flatnonzero(self._layer == layer)
        used = mine[self._holders[mine] > 0]
        others = self.free - (len(mine) - len(used))
        if len(used) > others:
            raise OutOfPages(len(used), others)
        self._dropped.remove(layer)
        self._borrowed.remove(mine)
        return self._move(used.astype(np.int32))

    def evacuate(self, limit: int) -> Moves:
        """Move up to ``limit`` borrowed pages into free own ones, those of the layer dropped last first."""
        order = [np.flatnonzero((self._layer == layer) & (self._holders > 0)) for layer in reversed(self._dropped)]
        used = np.concatenate([*order, np.zeros(0, np.int64)])[: max(0, min(limit, self._own.count))]
        moves = self._move(used.astype(np.int32))
        self._give(used)
        return moves

    def check(self, uses: NDArray[np.integer]) -> None:
        """Raise IntegrityError unless the holders are those of ``uses`` and every other page is free, or weights.

        Args:
            uses: how often each page is held, by whoever holds pages: int [pages].
        """
        self._refuse(np.flatnonzero(self._holders != uses), "not held as often as counted")
        serving = (self._layer == OWN) | np.isin(self._layer, self._dropped)
        self._refuse(np.flatnonzero(~serving & (self._holders > 0)), "weights or retired, and held for keys and values")
        for name, ring, right in (
            ("own", self._own, self._layer == OWN),
            ("borrowed", self._borrowed, (self._layer >= 0) & serving),
        ):
            free = ring.peek(ring.count)
            wanted = np.flatnonzero(right & (self._holders == 0))
            if len(free) != len(wanted) or not np.array_equal(np.sort(free), wanted):
                wrong = np.setxor1d(free, wanted)
                raise IntegrityError(f"free {name} pages: {wrong[:8].tolist()} are lost, or stand there twice")

    def _move(self, source: I32) -> Moves:
        target = self.take(len(source))
        self._holders[target] = self._holders[source]
        self._holders[source] = 0
        return Moves(source, target)

    def _give(self, pages: NDArray[np.integer]) -> None:
        own = self._layer[pages] == OWN
        self._own.give(pages[own])
        self._borrowed.give(pages[~own])

    def _known(self, layer: int) -> int:
        if not 0 <= layer < self._layers:
            raise ElasticServingError(f"layer {layer}: accepted: 0 to {self._layers - 1}")
        return layer

    def _refuse(self, pages: NDArray[np.integer], what: str) -> None:
        if len(pages):
            raise IntegrityError(f"pages {np.unique(pages)[:8].tolist()} are {what}")
