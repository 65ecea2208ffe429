"""Tier objects for searching threads, and the change from one region to another while they search."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fairlead_kernels.vector_lists import ListStream
from fairlead_kernels.vector_tiers import Tier

from ..tiers.region import Region, TierError, TierLost


class TierPool:
    """Lends tier objects of a region, one a thread; those that have failed are not lent again.

    Attributes:
        region: where they read.
    """

    def __init__(self, region: Region) -> None:
        self.region = region
        self._idle: list[Tier] = []
        self._stream: ListStream | None = None
        self._streaming: list[Tier] = []
        self._searches: dict[int, int] = {}
        self._generation = 0
        self._changed = threading.Condition()

    @property
    def requests(self) -> int:
        """What the tier objects that are not lent were asked for: reads, of rows side by side one."""
        with self._changed:
            return sum(tier.counters[1] for tier in (*self._idle, *self._streaming))

    @property
    def searched(self) -> bool:
        """Whether anyone searches now."""
        return self._searches.get(self._generation, 0) > 0

    @contextmanager
    def lent(self, count: int) -> Iterator[list[Tier]]:
        """Lend so many tier objects; raises TierError where the region cannot be opened."""
        with self._changed:
            generation, region = self._generation, self.region
            tiers = [self._idle.pop() for _ in range(min(count, len(self._idle)))]
            self._searches[generation] = self._searches.get(generation, 0) + 1
        try:
            tiers += [_opened(region) for _ in range(count - len(tiers))]
            yield tiers
            with self._changed:
                if generation == self._generation:
                    self._idle += tiers
        finally:
            with self._changed:
                self._searches[generation] -= 1
                self._changed.notify_all()

    @contextmanager
    def streaming(
        self, threads: int, make: Callable[[Region, Sequence[Tier]], ListStream | None]
    ) -> Iterator[ListStream | None]:
        """Lend the one stream of the region, which is made where there is none; one that has failed is let go."""
        with self._changed:
            generation = self._generation
            if self._stream is None:
                self._streaming = [_opened(self.region) for _ in range(threads)]
                self._stream = make(self.region, self._streaming)
            stream = self._stream
            self._searches[generation] = self._searches.get(generation, 0) + 1
        try:
            yield stream
        except TierError:
            with self._changed:
                if stream is self._stream:
                    self._stream, self._streaming = None, []
            raise
        finally:
            with self._changed:
                self._searches[generation] -= 1
                self._changed.notify_all()

    def switch(self, region: Region) -> None:
        """Lend of another region from now on; returns when nobody reads the one before, which is closed then."""
        with self._changed:
            left, before = self._generation, self.region
            self.region, self._idle, self._generation = region, [], left + 1
            self._stream, self._streaming = None, []
            while self._searches.get(left, 0):
                self._changed.wait()
            self._searches.pop(left, None)
        before.close()


def _opened(region: Region) -> Tier:
    """A new tier object; raises TierLost where there is less than was promised, as of a file that was cut."""
    tier = region.open_native()
    if tier.size < region.size:
        raise TierLost(f"{region.url}: has {tier.size} bytes left of {region.size}", region.url)
    return tier
