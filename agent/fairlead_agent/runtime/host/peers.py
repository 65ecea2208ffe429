"""Who else serves the workload, as streams that any loop may read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

from fairlead_agent.plugin.context import Peer


class PeerBoard:
    """Keeps the newest list of peers and wakes the readers of its streams."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._peers: tuple[Peer, ...] = ()
        self._version = 0
        self._readers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def show(self, peers: tuple[Peer, ...]) -> None:
        """Replace the list; called from the control thread."""
        with self._changing:
            if peers == self._peers:
                return
            self._peers, self._version = peers, self._version + 1
            readers = list(self._readers.items())
        for changed, loop in readers:
            if not loop.is_closed():
                loop.call_soon_threadsafe(changed.set)

    async def stream(self) -> AsyncIterator[tuple[Peer, ...]]:
        """The list now, then at every change; a slow reader skips to the newest."""
        changed = asyncio.Event()
        with self._changing:
            self._readers[changed] = asyncio.get_running_loop()
            seen, peers = self._version, self._peers
        try:
            yield peers
            while True:
                await changed.wait()
                changed.clear()
                with self._changing:
                    fresh = self._version != seen
                    seen, peers = self._version, self._peers
                if fresh:
                    yield peers
        finally:
            with self._changing:
                self._readers.pop(changed, None)
