"""What goes into the scheduler and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..arena.allocation import I32
from ..planning.cost_model import Chunk


@dataclass(frozen=True, slots=True)
class Request:
    """Asked for by a client.

    Attributes:
        name: unique among those that are not done.
        prompt: tokens of the prompt, 1 and above.
        most_tokens: that are generated, 1 and above.
    """

    name: str
    prompt: int
    most_tokens: int

    def __post_init__(self) -> None:
        if self.prompt < 1 or self.most_tokens < 1:
            raise ValueError(f"{self}: accepted: prompt and most_tokens 1 and above")


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A chunk that the next step computes.

    Attributes:
        name: of the request.
        chunk: tokens that are computed, after those whose keys and values are there.
        rows: of the page tables, one for each layer and KV head.
        samples: whether the chunk's last token gives a new one.
    """

    name: str
    chunk: Chunk
    rows: I32
    samples: bool


@dataclass(frozen=True, slots=True)
class SwapOut:
    """Copy pages to slots of host memory, before the step writes anything. int32 [pages] each."""

    name: str
    pages: I32
    slots: I32


@dataclass(frozen=True, slots=True)
class SwapIn:
    """Copy slots of host memory to pages, after all swaps out."""

    name: str
    slots: I32
    pages: I32


@dataclass(frozen=True, slots=True)
class Step:
    """One step: first the swaps out, then the swaps in, then the chunks."""

    scheduled: tuple[Scheduled, ...]
    swaps_out: tuple[SwapOut, ...] = ()
    swaps_in: tuple[SwapIn, ...] = ()
    recomputed: tuple[str, ...] = ()
    """Requests whose keys and values were given up: they are computed again later."""

    @property
    def tokens(self) -> int:
        """Tokens that the step computes."""
        return sum(item.chunk.tokens for item in self.scheduled)


@dataclass(slots=True)
class Running:
    """What the scheduler knows of a request. `stored` tokens of `known` ones have keys and values."""

    request: Request
    arrival: int
    known: int
    stored: int = 0
    rows: I32 = field(default_factory=lambda: np.zeros(0, np.int32))
    slots: I32 | None = None
    """Slots of host memory while it is swapped out."""
    preemptions: int = 0

    @property
    def generated(self) -> int:
        """Tokens that were generated."""
        return self.known - self.request.prompt

    @property
    def missing(self) -> int:
        """Tokens that must be computed before the next one can be drawn."""
        return self.known - self.stored
