"""Whether a client is still there: who moves a slider leaves often, and searches are long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TypeVar

from starlette.requests import Request

Answer = TypeVar("Answer")
#: How often it is looked whether a client has left.
_WATCH_S = 0.2


async def left(request: Request) -> None:
    """Return when the client has left; its request's body has to be read before."""
    while not await request.is_disconnected():
        await asyncio.sleep(_WATCH_S)


async def unless_left(request: Request, work: Coroutine[None, None, Answer]) -> Answer | None:
    """What work comes to; None where the client left before, and then the work is cancelled."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await working
