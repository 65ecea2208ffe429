"""What goes into the scheduler and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..arena.allocation import I32
from ..planning.cost_model import Chunk


@dataclass(frozen=True, slots=True)
class Request:
    """Asked for by a client.

    Attributes:
        name: unique among those that are not done.
        prompt: tokens of the prompt, 1 and above.
        most_tokens: that are generated, 1 and above.
        tokens: ids of the prompt's tokens and of those generated so far: whoever draws a token appends it here before
            it says that the step was computed. Where it is empty, nothing is shared between requests.
    """

    name: str
    prompt: int
    most_tokens: int
    tokens: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.prompt < 1 or self.most_tokens < 1:
            raise ValueError(f"{self}: accepted: prompt and most_tokens 1 and above")


@dataclass(frozen=True, slots=True, eq=False)
class Scheduled:
    """A chunk that the next step computes.

    Attributes:
        name: of the request.
        chunk: tokens that are computed, after those whose keys and values are there.
        rows: of the page tables: int32 [layers, kv_heads].
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


@dataclass(slots=True, eq=False)
class Running:
    """What the scheduler knows of a request. `stored` tokens of `known` ones have keys and values."""

    request: Request
    arrival: int
    known: int
    stored: int = 0
    flying: int = 0
    """Tokens that steps compute which are out."""
    room: int = 0
    """Tokens for which there was room when it came in."""
    suspended: bool = False
    """Whether it waits in host memory."""
    cached: int = 0
    """Tokens that were stored already when it came in first."""
    preemptions: int = 0

    @property
    def generated(self) -> int:
        """Tokens that were generated."""
        return self.known - self.request.prompt

    @property
    def missing(self) -> int:
        """Tokens that nobody computes yet and that are computed before the next one can be drawn."""
        return self.known - self.stored - self.flying

    @property
    def tokens(self) -> Sequence[int]:
        """Ids of the stored tokens, if they are known."""
        return self.request.tokens[: self.stored]
