"""Wakes a state machine when it asked to be woken."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from fairlead_agent.daemon.clocks import boottime

log = structlog.get_logger()

#: A machine is looked at this often at the least, whatever it asked for.
LONGEST_SLEEP_S = 5.0


class Ticker:
    """Calls ``tick`` at the time (CLOCK_BOOTTIME) that its last call returned; ``wake`` calls it at once."""

    def __init__(self, tick: Callable[[], float | None]) -> None:
        self._tick = tick
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start keeping time."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="ticker")

    def wake(self) -> None:
        """The machine's next wake-up may have changed."""
        self._woken.set()

    async def stop(self) -> None:
        """Stop keeping time."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                due = self._tick()
            except Exception:
                # One bad step must not stop the clock of all workloads.
                log.exception("ticker.step_failed")
                due = boottime() + 1.0
            sleep_s = LONGEST_SLEEP_S if due is None else min(max(due - boottime(), 0.005), LONGEST_SLEEP_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(sleep_s):
                    await self._woken.wait()
