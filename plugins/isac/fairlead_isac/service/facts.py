"""What a cell tells the resource graph: links as schedule and queues have them, and how the instance stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ..kpi.link import Link
from ..settings import User

#: A fact is told again where it has changed by this share, and in any case after so long.
CHANGED, REPEAT_S = 0.05, 20.0
#: Attributes of a link that its queue measures; delay and bandwidth are the schedule's, the queue's wait among them.
OF_QUEUES = ("loss", "throughput_bits_per_s")


class Publisher(Protocol):
    """The part of a worker's context that takes facts."""

    @property
    def node(self) -> str: ...

    @property
    def instance(self) -> str: ...

    def publish_fact(self, vertex: str, attribute: str, value: float, uncertainty: float = 0.0) -> None: ...


class Facts:
    """Tells what has changed.

    Args:
        publisher: takes facts; None: nobody does.
        clock: monotonic seconds.
    """

    def __init__(self, publisher: Publisher | None, clock: Callable[[], float]) -> None:
        self._publisher, self._clock = publisher, clock
        self._told: dict[tuple[str, str], tuple[float, float]] = {}

    @property
    def sender(self) -> str:
        """Who tells."""
        return self._publisher.instance if self._publisher is not None else "isac"

    def of_link(self, user: User, link: Link, traffic: Mapping[str, float]) -> None:
        """A user's link, where one leads to it.

        Args:
            user: of the workload.
            link: what the schedule leaves of it.
            traffic: what passed the user's queue, by attribute; empty: it has none.
        """
        if self._publisher is None or user.peer is None:
            return
        key = link_key(self._publisher.node, user.peer)
        self._tell(key, "bandwidth_bits_per_s", link.free_bits_per_s)
        self._tell(key, "latency_s", link.latency_s)
        for name in OF_QUEUES:
            if name in traffic:
                self._tell(key, name, traffic[name])

    def of_radio(self, cell: str, values: Mapping[str, float]) -> None:
        """The radio that the cell runs, by attribute; it ends with the instance."""
        if self._publisher is not None:
            for name, value in values.items():
                self._tell(f"{self._publisher.node}/radio-{cell}", name, value)

    def of_instance(self, values: Mapping[str, float]) -> None:
        """How the instance stands, by attribute."""
        if self._publisher is not None:
            for name, value in values.items():
                self._tell(self._publisher.instance, name, value)

    def _tell(self, vertex: str, attribute: str, value: float) -> None:
        assert self._publisher is not None
        known, at = self._told.get((vertex, attribute), (None, 0.0))
        moved = known is None or abs(value - known) > CHANGED * max(abs(known), abs(value))
        if moved or self._clock() - at > REPEAT_S:
            self._told[(vertex, attribute)] = (value, self._clock())
            self._publisher.publish_fact(vertex, attribute, value)


def link_key(node: str, peer: str) -> str:
    """The key of a node's link in the resource graph; the gateway is the control plane."""
    return f"{node}>link>{'control-plane' if peer == 'gateway' else peer}"
