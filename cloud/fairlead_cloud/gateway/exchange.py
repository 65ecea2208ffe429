"""One request at one holder: in flight until it is closed, and cut when the holder loses its lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fairlead_cloud.gateway.answer import CUT_HEADER, EPOCH_HEADER, REFUSED_HEADER, Answer, Ask, InstanceFailed
from fairlead_cloud.gateway.target import Target

T = TypeVar("T")
Send = Callable[[Target, Ask], Awaitable[Answer]]

#: Answers of announced length up to this are read whole before anything is passed on.
BUFFER_BYTES = 8 << 20


class Exchange:
    """Asks ``target`` and hears its answer as long as it holds its lease.

    Args:
        target: whom to ask.
        holds: whether the target holds its lease now.
        done: called once, when the exchange is over.
    """

    def __init__(self, target: Target, holds: Callable[[Target], bool], done: Callable[[Exchange], None]) -> None:
        self.target = target
        self._holds, self._done = holds, done
        self._answer: Answer | None = None
        self._reading: asyncio.Timeout | None = None
        self._lost = False
        self._complete = False
        self._over = False

    @property
    def answer(self) -> Answer:
        """The head of the answer; there after :meth:`ask`."""
        assert self._answer is not None
        return self._answer

    async def ask(self, send: Send, ask: Ask) -> None:
        """Send the request and accept the head of its answer.

        Raises:
            InstanceFailed: none came, or it is not the answer of the holder of this epoch.
        """
        self._answer = await self._while_held(send(self.target, ask))
        said = self._answer.header(EPOCH_HEADER)
        refused = self._answer.header(REFUSED_HEADER)
        if said != str(self.target.epoch):
            raise InstanceFailed(f"answered {self._answer.status} for epoch {said}", untouched=_not_asked(self._answer))
        if refused is not None:
            raise InstanceFailed(f"refused with {self._answer.status}: {refused}", untouched=True)
        if (cut := self._answer.header(CUT_HEADER)) is not None:
            raise InstanceFailed(f"its answer is void: {cut}")

    async def first(self) -> tuple[bytes, bool]:
        """The first piece of a stream, or all of anything else up to a bound; and whether there may be more.

        Raises:
            InstanceFailed: the answer broke off, or the lease was lost.
        """
        read = bytearray()
        while (chunk := await self.next()) is not None:
            read += chunk
            if (read and self.answer.streams) or len(read) > BUFFER_BYTES:
                return bytes(read), True
        return bytes(read), False

    async def next(self) -> bytes | None:
        """The next piece; None at the end. InstanceFailed as above: what a fenced holder says is never heard."""
        if self._lost:
            raise self._lease_lost()
        chunk = await self._while_held(anext(self.answer.chunks, None))
        self._complete = chunk is None
        if not self._holds(self.target):
            self._lost = True
            raise self._lease_lost()
        return chunk

    def cut_if_lost(self) -> None:
        """Wake whoever waits for a holder that lost its lease."""
        if not self._lost and not self._holds(self.target):
            self._lost = True
            if self._reading is not None:
                self._reading.reschedule(asyncio.get_running_loop().time())

    async def close(self) -> None:
        """The exchange is over; a holder that still answers is told to stop."""
        if self._over:
            return
        self._over = True
        self._done(self)
        if self._answer is not None and self._complete:
            await self._answer.close()  # nothing is under way: the connection goes back to its pool
        elif self._answer is not None:
            await asyncio.shield(self._closed(self._answer))

    async def _closed(self, answer: Answer) -> None:
        await answer.chunks.aclose()
        await answer.close()

    async def _while_held(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(None) as self._reading:
                return await work
        except TimeoutError:
            if self._lost:
                raise self._lease_lost() from None
            raise
        finally:
            self._reading = None

    def _lease_lost(self) -> InstanceFailed:
        return InstanceFailed(f"lost its lease at epoch {self.target.epoch} while it answered")


def _not_asked(answer: Answer) -> bool:
    return answer.header(REFUSED_HEADER) is not None or answer.status == 409
