"""Asking one of several replicas, and a second one where the first is slow (Dean and Barroso, "The tail at scale")."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

H = TypeVar("H")
T = TypeVar("T")

#: Answers that are remembered; fewer than LEAST say nothing.
KEPT, LEAST = 256, 32
#: Never sooner than this: two replicas that are both fast should not both work.
SOONEST_S = 0.002


class ShardLost(ConnectionError):
    """No replica answered in time: says what each said."""


class Patience:
    """How long to wait before a second replica is asked: the 95th percentile of answers, at most `most_s`."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._seen: deque[float] = deque(maxlen=KEPT)

    def saw(self, seconds: float) -> None:
        """Remember an answer."""
        self._seen.append(seconds)

    def seconds(self) -> float:
        """The patience now."""
        if len(self._seen) < LEAST:
            return self._most_s
        return min(self._most_s, max(SOONEST_S, sorted(self._seen)[int(0.95 * len(self._seen))]))


class Hedged(Generic[H, T]):
    """One question to the replicas of one shard.

    Args:
        replicas: in the order in which they are asked.
        ask: puts the question to one; raises OSError where it does not answer.
        hedge_s: the next is asked after this long without an answer, or at once when one fails.
        timeout_s: for all together.
    """

    def __init__(
        self, replicas: Sequence[H], ask: Callable[[H], Awaitable[T]], *, hedge_s: float, timeout_s: float
    ) -> None:
        self._waiting = list(replicas)
        self._ask, self._hedge_s, self._timeout_s = ask, hedge_s, timeout_s
        self._tasks: set[asyncio.Task[T]] = set()
        self._said: list[str] = []
        #: Replicas that were asked.
        self.asked = 0

    async def answer(self) -> T:
        """The first answer.

        Raises:
            ShardLost: there is none.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._first()
        except TimeoutError:
            raise ShardLost("; ".join([*self._said, f"no answer within {self._timeout_s:g} s"])) from None
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _first(self) -> T:
        self._next()
        while self._tasks:
            hedge_s = self._hedge_s if self._waiting else None
            done, _ = await asyncio.wait(self._tasks, timeout=hedge_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._tasks.discard(task)
                if not (error := task.exception()):
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                self._said.append(str(error) or type(error).__name__)
            if not done or not self._tasks:
                self._next()
        raise ShardLost("; ".join(self._said) or "no replica is ready")

    def _next(self) -> None:
        if self._waiting:
            self.asked += 1
            self._tasks.add(asyncio.ensure_future(self._ask(self._waiting.pop(0))))
