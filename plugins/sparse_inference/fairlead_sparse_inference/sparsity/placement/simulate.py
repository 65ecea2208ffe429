"""What a cache would have done on the tokens of a profile: pinned clusters, and the least recently used of the rest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..profile.record import unpack


@dataclass(frozen=True, slots=True)
class Traffic:
    """Clusters a token, over all layers: wanted, and of those read from disk because neither region held them."""

    wanted: float
    read: float

    @property
    def hit_rate(self) -> float:
        """Share of wanted clusters that were in memory."""
        return 1 - self.read / self.wanted if self.wanted else 1.0


def cluster_trace(
    traces: Sequence[NDArray[np.uint8]], orders: Sequence[NDArray[np.int32]], cluster: int
) -> list[NDArray[np.bool_]]:
    """Return for each layer which clusters of the file each token wants, [tokens, clusters]."""
    found: list[NDArray[np.bool_]] = []
    for bits, order in zip(traces, orders, strict=True):
        clusters = -(-len(order) // cluster)
        fires = np.zeros((len(bits), clusters * cluster), np.bool_)
        fires[:, : len(order)] = unpack(bits, len(order))[:, order]
        found.append(fires.reshape(len(bits), clusters, cluster).any(axis=2))
    return found


def simulate(wanted: Sequence[NDArray[np.bool_]], pinned: Sequence[int], slots: int) -> Traffic:
    """Run the tokens once through a cache.

    Args:
        wanted: of `cluster_trace`.
        pinned: how many clusters of each layer, from the first on, are always in memory.
        slots: clusters that the least-recently-used region holds, shared by all layers.

    Only the second half is counted; the first one fills the cache.
    """
    cache: OrderedDict[tuple[int, int], None] = OrderedDict()
    tokens = len(wanted[0])
    lists = [[np.flatnonzero(row).tolist() for row in layer] for layer in wanted]
    asked = read = 0
    for token in range(tokens):
        counted = token >= tokens // 2
        for layer, rows in enumerate(lists):
            clusters = rows[token]
            asked += counted * len(clusters)
            read += counted * _step(cache, layer, clusters, pinned[layer], slots)
    measured = max(tokens - tokens // 2, 1)
    return Traffic(asked / measured, read / measured)


def _step(cache: OrderedDict[tuple[int, int], None], layer: int, clusters: list[int], pinned: int, slots: int) -> int:
    read = 0
    for cluster in clusters:
        if cluster < pinned:
            continue
        key = (layer, cluster)
        if key in cache:
            cache.move_to_end(key)
            continue
        read += 1
        if slots > 0:
            cache[key] = None
            if len(cache) > slots:
                cache.popitem(last=False)
    return read
