"""Copies of one region on several nodes: reads go to the first that answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.vector_tiers import Tier, serving

from .region import Region, RegionUrlError, TierError, TierLost, as_bytes


class ReplicatedRegion(Region):
    """Reads from the first replica; from the next where it dies or does not answer within its own timeout.

    Give replicas short timeouts (``?timeout=0.05``): a stalled one costs each tier object that long, once. A replica
    that missed a write is never read again.

    Args:
        replicas: of the same size and bytes, the preferred first; they belong to this object.
    """

    def __init__(self, replicas: Sequence[Region]) -> None:
        if not replicas or len({each.size for each in replicas}) != 1:
            sizes = {each.url: each.size for each in replicas}
            raise RegionUrlError(f"replicas: one or more of one size, got {sizes}")
        super().__init__("|".join(each.url for each in replicas), replicas[0].kind, replicas[0].size)
        self._replicas = list(replicas)
        self._lock = threading.Lock()

    @property
    def whole(self) -> tuple[str, ...]:
        """URLs of the replicas that have seen every write."""
        return tuple(each.url for each in self._replicas)

    def open_native(self) -> Tier:
        """Return a tier object that goes on to the next replica by itself."""
        tiers, error = [], None
        for each in list(self._replicas):
            try:
                tiers.append(each.open_native())
            except TierError as failed:
                error = failed
        if not tiers:
            raise TierLost(f"{self.url}: no replica answers: {error}", self.url) from error
        return serving().replicated_tier(self.url, tiers)

    def write(self, offset: int, data: NDArray[np.uint8] | bytes | memoryview) -> None:
        """Write to all replicas; those that fail are left out from then on.

        Raises:
            TierLost: none is left.
        """
        flat = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else as_bytes(data)
        with self._lock:
            error = None
            for each in list(self._replicas):
                try:
                    each.write(offset, flat)
                except TierError as failed:
                    error = failed
                    self._replicas.remove(each)
            self._own = threading.local() if error is not None else self._own
            if not self._replicas:
                raise TierLost(f"{self.url}: no replica is left: {error}", self.url) from error

    def close(self) -> None:
        """Give all back."""
        super().close()
        for each in self._replicas:
            each.close()
