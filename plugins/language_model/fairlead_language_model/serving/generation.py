"""A request to the engine as an asynchronous stream of its events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from ..openai import ApiError
from .engine import ServingEngine
from .errors import EngineClosed, PromptTooLong, QueueFull
from .events import Event, Failure, Piece
from .request import Request


class Generation:
    """Bridges the generation thread and the event loop; ends early when it is aborted."""

    def __init__(self, engine: ServingEngine, request: Request) -> None:
        """Submit the request.

        Raises:
            ApiError: 400 for a prompt beyond the context, 429 for a full queue, 503 while draining.
        """
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        # Unbounded, but the context bounds how many events there can be.
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        try:
            self._sequence = engine.submit(request, self._sink)
        except PromptTooLong as error:
            raise ApiError(400, str(error), param="prompt", code="context_length_exceeded") from error
        except QueueFull as error:
            raise ApiError(429, str(error), type="rate_limit_error", code="queue_full") from error
        except EngineClosed as error:
            raise ApiError(503, str(error), type="server_error", code="draining") from error

    def _sink(self, event: Event) -> None:
        # The loop is gone when the server stops first; nobody is left to read the event then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def events(self) -> AsyncIterator[Event]:
        """Yield events up to Finish; a Failure raises ApiError 500. Leaving early aborts the generation."""
        try:
            while True:
                event = await self._events.get()
                if isinstance(event, Failure):
                    raise ApiError(500, event.message, type="server_error", code="generation_failed")
                yield event
                if not isinstance(event, Piece):
                    return
        finally:
            self.abort()

    def abort(self) -> None:
        """Stop generating; harmless when it has ended."""
        if not self._sequence.finished:
            self._engine.abort(self._sequence)
