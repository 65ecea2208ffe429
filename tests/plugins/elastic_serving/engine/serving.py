"""Engines over random models, and what their requests report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from fairlead_elastic_serving.engine.engine import Engine
from fairlead_elastic_serving.engine.loop import Loop
from fairlead_elastic_serving.engine.sequence import ServedSequence
from fairlead_language_model.sampling import SamplingParameters
from fairlead_language_model.serving import EngineClosed, Failure, Finish, Piece, Request
from fairlead_language_model.serving import Event as EngineEvent
from tests.patience import patient

WAIT_S = patient(60.0)


@dataclass
class Collected:
    """A sink that keeps everything and says when the last event came."""

    events: list[EngineEvent] = field(default_factory=list)
    done: Event = field(default_factory=Event)

    def __call__(self, event: EngineEvent) -> None:
        self.events.append(event)
        if isinstance(event, Finish | Failure):
            self.done.set()

    @property
    def pieces(self) -> list[Piece]:
        return [event for event in self.events if isinstance(event, Piece)]

    @property
    def tokens(self) -> list[int]:
        return [piece.token for piece in self.pieces]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Piece | Finish))

    @property
    def end(self) -> Finish:
        last = self.events[-1]
        assert isinstance(last, Finish), last
        return last

    def wait(self) -> Collected:
        assert self.done.wait(WAIT_S), "the request did not end"
        return self


class Held(Collected):
    """A sink that holds the engine up at a piece until it is let go: what a test does then comes before the next one,
    however late the test's own thread has its turn.
    """

    def __init__(self, piece: int) -> None:
        super().__init__()
        self._piece, self._reached, self._go = piece, Event(), Event()

    def __call__(self, event: EngineEvent) -> None:
        super().__call__(event)
        if isinstance(event, Piece) and len(self.pieces) == self._piece:
            self._reached.set()
            self._go.wait(WAIT_S)

    def reached(self) -> None:
        """Wait until the engine is held up."""
        assert self._reached.wait(WAIT_S), "the piece did not come"

    def let_go(self) -> None:
        """Let the engine go on."""
        self._go.set()


def resize_held(engine: Engine, held: Held, memory_bytes: int) -> None:
    """Resize an engine that is held up: it is asked before its next step."""
    held.reached()
    with ThreadPoolExecutor(1) as pool:
        resized = pool.submit(engine.resize, memory_bytes)
        while not (engine._jobs or resized.done()):
            time.sleep(0.001)
        held.let_go()
        resized.result(WAIT_S)


def request(prompt: list[int], tokens: int, **parameters: Any) -> Request:
    """A greedy request by default."""
    logprobs = parameters.pop("logprobs", None)
    return Request(tuple(prompt), SamplingParameters(**{"temperature": 0.0, **parameters}), tokens, logprobs)


def run(engine: Engine, *requests: Request) -> list[Collected]:
    """Send requests between two steps, so that however slow the machine is they come in together, and wait for all."""
    sinks = [Collected() for _ in requests]

    def send() -> None:
        for one, sink in zip(requests, sinks, strict=True):
            engine.submit(one, sink)

    engine.between_steps(send).result()
    return [sink.wait() for sink in sinks]


class Demand:
    """Greedy requests that each come anew when they end, until it is enough: however fast a machine answers them."""

    def __init__(self, engine: Engine, prompts: Sequence[list[int]], tokens: int) -> None:
        self._engine, self._tokens = engine, tokens
        self.asked: list[tuple[list[int], Collected]] = []
        self.enough = False
        for prompt in prompts:
            self._ask(prompt)

    def _ask(self, prompt: list[int]) -> None:
        sink = Collected()
        self.asked.append((prompt, sink))

        def hear(event: EngineEvent) -> None:
            # First asked anew, so that whoever waits for an end finds all that there will be.
            if isinstance(event, Finish) and not self.enough:
                with suppress(EngineClosed):
                    self._ask(prompt)
            sink(event)

        self._engine.submit(request(prompt, self._tokens, ignore_eos=True), hear)


def add(loop: Loop, name: str, model: Any, one: Request) -> tuple[ServedSequence, Collected]:
    """Give a request to a loop without a thread."""
    sink = Collected()
    sequence = ServedSequence(name, one, model.tokenizer, model.end_tokens, model.context, sink, 0.0)
    loop.add(sequence)
    return sequence, sink
