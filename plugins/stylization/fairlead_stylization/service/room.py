"""Room for requests: small pictures are worked on side by side, large ones one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """As many at once as there are places, and as have room together; whoever came first goes first.

    Args:
        places: how many at most.
        size: of the room; what is larger goes alone. None: no bound.
    """

    def __init__(self, places: int, size: int | None = None) -> None:
        self._places, self._free, self._size = places, size, size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Wait for a place with that much room, and leave it when the block ends."""
        size = 0 if self._size is None else min(size, self._size)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._call()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                # Who goes away while waiting may have stood before somebody that there is room for.
                self._call()
            else:
                self._leave(size)
            raise
        try:
            yield
        finally:
            self._leave(size)

    def _call(self) -> None:
        # A turn is cancelled before whoever waits for it hears of it.
        self._waiting = deque(one for one in self._waiting if not one[1].cancelled())
        while self._waiting and self._places and (self._free is None or self._waiting[0][0] <= self._free):
            size, turn = self._waiting.popleft()
            self._places -= 1
            if self._free is not None:
                self._free -= size
            turn.set_result(None)

    def _leave(self, size: int) -> None:
        self._places += 1
        if self._free is not None:
            self._free += size
        self._call()
