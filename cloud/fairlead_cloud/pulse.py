"""Wakes everyone who waits for a change."""

from __future__ import annotations

import asyncio


class Pulse:
    """``fire`` wakes all who are in ``wait`` at that moment."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def fire(self) -> None:
        """Something changed."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the next change; False where none came within ``timeout_s`` seconds."""
        waited_for = self._next
        try:
            async with asyncio.timeout(timeout_s):
                await waited_for.wait()
        except TimeoutError:
            return False
        return True
