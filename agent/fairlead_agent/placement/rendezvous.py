"""Rendezvous hashing (highest random weight, Thaler and Ravishankar 1998): who is the steward of a workload."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from fairlead_agent.messages import NodeStatus


@lru_cache(maxsize=65536)
def weight(workload: str, node: str) -> int:
    """The pseudo-random weight of a pair: the same on every device, for ever."""
    return int.from_bytes(blake2b(f"{workload}\0{node}".encode(), digest_size=8).digest(), "big")


def highest(workload: str, nodes: Iterable[str]) -> str | None:
    """The node with the highest weight; removing any other node never changes the answer."""
    return max(nodes, key=lambda node: (weight(workload, node), node), default=None)


def steward_of(workload: str, statuses: Iterable[NodeStatus]) -> str | None:
    """The steward of a workload: of the online nodes with the highest rank above 0, the one with the highest weight."""
    willing = [status for status in statuses if status.online and status.steward_rank > 0]
    rank = max((status.steward_rank for status in willing), default=0)
    return highest(workload, (status.node for status in willing if status.steward_rank == rank))
