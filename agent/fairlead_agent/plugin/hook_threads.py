"""Threads for hooks: a few for each plugin, a deadline for each call.

A thread cannot be ended from outside. One that hangs keeps its place, so a plugin can never hold more than its share,
and it is a daemon thread, so it cannot keep the agent from exiting either.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from fairlead_agent.plugin.errors import PluginFailed

T = TypeVar("T")

THREADS = 2
DEADLINE_S = 2.0


class HookThreads:
    """Runs the hooks of one plugin."""

    def __init__(self, plugin: str, threads: int = THREADS) -> None:
        self._plugin = plugin
        self._free = threading.BoundedSemaphore(threads)
        self._late: dict[int, tuple[str, float]] = {}

    async def run(self, what: str, function: Callable[[], T], deadline_s: float = DEADLINE_S) -> T:
        """Call ``function`` in a thread and await its result.

        Raises:
            PluginFailed: it did not end in time, or earlier calls hold all of the plugin's threads.
            Exception: what it raised.
        """
        ended = time.monotonic() + deadline_s
        future = asyncio.wrap_future(await self._start(what, function, ended))
        done, _ = await asyncio.wait([future], timeout=ended - time.monotonic())
        if not done:
            future.add_done_callback(_forget)
            raise self._hung(what, deadline_s)
        return future.result()

    def run_blocking(self, what: str, function: Callable[[], T], deadline_s: float = DEADLINE_S) -> T:
        """As :meth:`run`, for callers without an event loop."""
        if not self._free.acquire(timeout=deadline_s):
            raise self._full(what)
        try:
            return self._spawn(what, function).result(deadline_s)
        except TimeoutError:
            raise self._hung(what, deadline_s) from None

    def hung(self) -> list[str]:
        """The calls that still run, each with its age, e.g. ``estimate for 12 s``."""
        now = time.monotonic()
        return [f"{what} for {now - since:.0f} s" for what, since in sorted(self._late.values())]

    async def _start(self, what: str, function: Callable[[], T], ended: float) -> Future[T]:
        while not self._free.acquire(blocking=False):
            if time.monotonic() >= ended:
                raise self._full(what)
            await asyncio.sleep(0.02)
        return self._spawn(what, function)

    def _spawn(self, what: str, function: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        name = f"{self._plugin}.{what}"
        threading.Thread(target=self._work, args=(what, function, future), name=name, daemon=True).start()
        return future

    def _work(self, what: str, function: Callable[[], T], future: Future[T]) -> None:
        me = threading.get_ident()
        self._late[me] = (what, time.monotonic())
        try:
            future.set_result(function())
        except BaseException as error:
            # SystemExit and KeyboardInterrupt of a plugin end its call, not the agent.
            future.set_exception(error if isinstance(error, Exception) else PluginFailed(f"{what}: {error!r}"))
        finally:
            del self._late[me]
            self._free.release()

    def _hung(self, what: str, deadline_s: float) -> PluginFailed:
        return PluginFailed(f"{what} did not end within {deadline_s:g} s")

    def _full(self, what: str) -> PluginFailed:
        return PluginFailed(
            f"{what}: the plugin's threads are all taken by calls that have not ended: {', '.join(self.hung())}"
        )


def _forget(future: asyncio.Future[T]) -> None:
    if not future.cancelled():
        future.exception()
