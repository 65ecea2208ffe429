"""The answer to one request: one or several choices, whole or as a stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from ..openai import (
    SSE_DONE,
    ApiError,
    ChatChunk,
    ChatCompletion,
    Completion,
    Usage,
    sse_data,
    sse_error,
)
from .engine import ServingEngine
from .events import Event, Finish, Piece
from .generation import Generation
from .reply import Reply
from .request import Request


@dataclass(slots=True)
class _Choice:
    """One choice while it is generated."""

    reply: Reply
    pieces: list[Piece] = field(default_factory=list[Piece])
    finish: Finish | None = None


class Answer:
    """Runs a request's choices; the first begins alone, so that the others find its prompt computed."""

    def __init__(self, engine: ServingEngine, wanted: Sequence[Request], make_reply: Callable[[], Reply]) -> None:
        """Submit the first choice; raises ApiError as `Generation` does."""
        self._engine, self._wanted = engine, wanted
        self._choices = [_Choice(make_reply()) for _ in wanted]
        self._generations = [Generation(engine, wanted[0])]

    async def whole(self) -> Completion | ChatCompletion:
        """Return the response that is not streamed; raises ApiError where a choice fails."""
        async for index, event in self._events():
            if isinstance(event, Piece):
                self._choices[index].pieces.append(event)
        done = [(choice, choice.finish) for choice in self._choices if choice.finish is not None]
        whole = [choice.reply.whole(choice.pieces, finish) for choice, finish in done]
        choices = [one.choices[0].model_copy(update={"index": index}) for index, one in enumerate(whole)]
        return whole[0].model_copy(update={"choices": choices, "usage": self._usage()})

    async def stream(self, *, usage: bool) -> AsyncIterator[bytes]:
        """Yield server-sent events; an error ends them."""
        try:
            for index, choice in enumerate(self._choices):
                for chunk in choice.reply.opening():
                    yield _sent(chunk, index)
            async for index, event in self._events():
                chunk = self._chunk(index, event)
                if chunk is not None:
                    yield _sent(chunk, index)
            if usage:
                last = self._choices[0]
                assert last.finish is not None
                yield sse_data(last.reply.usage(last.finish).model_copy(update={"usage": self._usage()}))
            yield SSE_DONE
        except ApiError as error:
            yield sse_error(error)
        finally:
            # Also reached when the client goes away: the server then closes this generator.
            self.abort()

    def abort(self) -> None:
        """Stop generating; harmless when all has ended."""
        for generation in self._generations:
            generation.abort()

    def _chunk(self, index: int, event: Event) -> Completion | ChatChunk | None:
        reply = self._choices[index].reply
        if isinstance(event, Piece):
            return reply.piece(event)
        return reply.closing(event) if isinstance(event, Finish) else None

    def _usage(self) -> Usage:
        """Return the prompt's tokens once, and those of all choices."""
        finishes = [choice.finish for choice in self._choices if choice.finish is not None]
        completion = sum(finish.completion_tokens for finish in finishes)
        return Usage.of(finishes[0].prompt_tokens, completion, finishes[0].cached_tokens)

    async def _events(self) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events of all choices as they come, with the choice's number."""
        merged: asyncio.Queue[tuple[int, Event | ApiError]] = asyncio.Queue()
        tasks = [asyncio.create_task(_pump(0, self._generations[0], merged))]
        try:
            while any(choice.finish is None for choice in self._choices):
                index, event = await merged.get()
                if isinstance(event, ApiError):
                    raise event
                for number in range(len(tasks), len(self._wanted)):
                    self._generations.append(Generation(self._engine, self._wanted[number]))
                    tasks.append(asyncio.create_task(_pump(number, self._generations[-1], merged)))
                if isinstance(event, Finish):
                    self._choices[index].finish = event
                yield index, event
        finally:
            self.abort()
            for task in tasks:
                task.cancel()


async def _pump(index: int, generation: Generation, merged: asyncio.Queue[tuple[int, Event | ApiError]]) -> None:
    try:
        async with contextlib.aclosing(generation.events()) as events:
            async for event in events:
                merged.put_nowait((index, event))
    except ApiError as error:
        merged.put_nowait((index, error))


def _sent(chunk: Completion | ChatChunk, index: int) -> bytes:
    for choice in chunk.choices:
        choice.index = index
    return sse_data(chunk)
