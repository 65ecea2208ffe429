"""Which of a workload's cells an instance is, and who names the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from fairlead_agent.plugin import Peer

from ..settings import Settings


class Host(Protocol):
    """The part of a worker's context that names instances."""

    @property
    def epoch(self) -> int:
        """Of this instance's lease; 0: none yet."""
        ...

    def peers(self) -> AsyncIterator[tuple[Peer, ...]]:
        """The instances of the workload: once at first, then at every change."""
        ...


@dataclass(frozen=True, slots=True)
class Seat:
    """Which of a workload's cells this instance is.

    Attributes:
        replica: of this instance.
        name_of: the cell of a replica.
        host: names the others.
        settings_of: the workload's settings at a replica's site; None: requests stay with the cell that is asked.
    """

    replica: int
    name_of: Callable[[int], str]
    host: Host
    settings_of: Callable[[int], Settings] | None = None
