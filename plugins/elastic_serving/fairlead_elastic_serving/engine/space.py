"""Where requests have room for their keys and values: what a scheduler asks, and one instance's own answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..arena.allocation import I32
from ..arena.page_arena import Moves
from ..scheduling.requests import SwapIn, SwapOut


class KVSpace(Protocol):
    """Room for keys and values, in pages. Requests are known by their names.

    Only one thread calls. What a request of some tokens takes is an upper bound: a space that compresses, or whose
    requests share pages, holds more of them.
    """

    @property
    def capacity(self) -> int:
        """Pages for keys and values, held and free."""
        ...

    @property
    def lasting(self) -> int:
        """Those of them that need not be given back (to weights, or to other instances): a request must fit there."""
        ...

    @property
    def free(self) -> int:
        """Pages that requests may take now, those included that a cache would give up for them."""
        ...

    @property
    def used(self) -> int:
        """Pages that requests hold."""
        ...

    @property
    def most_tokens(self) -> int:
        """Tokens that a request can have, whatever is free."""
        ...

    def needed(self, tokens: int) -> int:
        """Return the pages that a request of so many tokens takes at most."""
        ...

    def open(self, name: str, known: Sequence[int], room: int) -> int | None:
        """Start a request, with room for its tokens.

        Args:
            name: of the request.
            known: its tokens; may be empty where their ids are not known.
            room: tokens for which there has to be room, at least those known.

        Returns:
            how many of its first tokens are stored already, fewer than are known; None, changing nothing, if there is
            no room.
        """
        ...

    def reserve(self, name: str, tokens: int) -> bool:
        """Give a request room for so many tokens in all; false, changing nothing, if there is none."""
        ...

    def stored(self, name: str, known: Sequence[int]) -> None:
        """Take note that all of these first tokens of a request are stored, so that others may share them."""
        ...

    def relieve(self, pages: int, names: Sequence[str]) -> bool:
        """Make some room in another way than by preempting, for example by compressing.

        Args:
            pages: that are missing.
            names: requests that may be changed, the oldest first.

        Returns:
            whether there is more room than before.
        """
        ...

    def suspend(self, name: str, stored: int) -> SwapOut | None:
        """Let a request wait in host memory; None, changing nothing, where there is no room or no such memory."""
        ...

    def resume(self, name: str, room: int) -> SwapIn | None:
        """Bring a suspended request back, with room for so many tokens; None, changing nothing, if there is none."""
        ...

    def release(self, name: str, known: Sequence[int]) -> None:
        """Forget a request, running or suspended; what stands for its first, known tokens may be kept for others."""
        ...

    def rows(self, name: str) -> I32:
        """Return the rows of this instance's page tables that a request has: int32 [layers, kv_heads]."""
        ...

    def moved(self, moves: Moves) -> None:
        """Follow pages that the arena moved to restore a layer."""
        ...

    def check(self) -> None:
        """Raise IntegrityError or ElasticServingError unless everything is held as it must be."""
        ...
