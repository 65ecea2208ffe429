"""A handler with a queue of its own, so that one that waits does not hold up the others."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Seen:
    """The last ``size`` keys, for de-duplication."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._keys: OrderedDict[Hashable, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Hashable) -> bool:
        """Remember ``key``. False when it was known."""
        if key in self._keys:
            self._keys.move_to_end(key)
            return False
        self._keys[key] = None
        if len(self._keys) > self._size:
            self._keys.popitem(last=False)
        return True


class Mailbox(Generic[T]):
    """Calls ``handler`` for one item after the other, in a task of its own.

    Args:
        name: what the log calls it.
        handler: the work.
        size: items that may wait; :meth:`put` waits when they are that many.
    """

    def __init__(self, name: str, handler: Callable[[T], Awaitable[object]], size: int = 10_000) -> None:
        self._name = name
        self._handler = handler
        self._queue: asyncio.Queue[T] = asyncio.Queue(size)
        self._task: asyncio.Task[None] | None = None

    async def put(self, item: T) -> None:
        """Add an item; waits while the mailbox is full."""
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name=f"mailbox {self._name}")
        await self._queue.put(item)

    def close(self) -> None:
        """Stop; what waits is dropped."""
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        while True:
            item = await self._queue.get()
            try:
                await self._handler(item)
            except Exception:
                log.exception("message handler failed", handler=self._name)
