"""What a link between two instances is, whatever carries it.

A link has lanes, so that what is urgent never stands behind what is long: control, activations, exchange. Each lane
keeps its messages' order; there is no order among lanes. All links of an instance deliver to one `Inbox`, urgent lanes
first. A link that was lost says so once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import torch

from ..errors import ElasticServingError


class LinkLost(ElasticServingError):
    """The other side died, stalled, or closed the link."""

    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(f"link to {peer!r}: {reason}")
        self.peer = peer
        self.reason = reason


class Lane(IntEnum):
    """Lanes, the most urgent first."""

    CONTROL = 0
    ACTIVATIONS = 1
    EXCHANGE = 2


@dataclass(frozen=True, slots=True)
class Message:
    """What goes over a link.

    Attributes:
        kind: says who handles it.
        fields: what JSON can say.
        tensors: by name, any shape and type, on the host.
    """

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def tensor_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True, slots=True)
class Received:
    """A message that came over a link; ``message`` is None where the link was lost, for ``reason``."""

    peer: str
    lane: Lane
    message: Message | None
    reason: str = ""


class Link(Protocol):
    """One side of a link to ``peer``."""

    @property
    def peer(self) -> str:
        """Name of the instance at the other end."""
        ...

    @property
    def lost(self) -> str | None:
        """Why nothing goes over it any more; None while it stands."""
        ...

    def waiting(self, lane: Lane) -> int:
        """Return how many messages of a lane were not sent yet."""
        ...

    def send(self, lane: Lane, message: Message) -> None:
        """Queue a message; never waits. Raises LinkLost."""
        ...

    def close(self) -> None:
        """End it; the other side learns of it."""
        ...


class Inbox:
    """What all links of an instance delivered. Any thread may put, one takes.

    Attributes:
        listener: called after every message, for whoever waits for other things too.
    """

    def __init__(self) -> None:
        self.listener: Callable[[], None] | None = None
        self._lanes: dict[Lane, deque[Received]] = {lane: deque() for lane in Lane}
        self._urgent = tuple(self._lanes[lane] for lane in sorted(Lane))
        self._some = threading.Condition()

    def put(self, received: Received) -> None:
        """Append a message to its lane."""
        with self._some:
            self._lanes[received.lane].append(received)
            self._some.notify_all()
        if self.listener is not None:
            self.listener()

    def take(self, timeout_s: float = 0.0, most: Lane = Lane.EXCHANGE) -> Received | None:
        """Return the oldest message of the most urgent lane that has one, down to ``most``.

        None if there is none within ``timeout_s`` seconds.
        """
        if timeout_s > 0 and self._first(most) is None:
            with self._some:
                self._some.wait_for(lambda: self._first(most) is not None, timeout_s)
        # Only one takes, so that what is seen there stays until it is taken.
        queue = self._first(most)
        return None if queue is None else queue.popleft()

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def _first(self, most: Lane) -> deque[Received] | None:
        for queue in self._urgent[: most + 1]:
            if queue:
                return queue
        return None
