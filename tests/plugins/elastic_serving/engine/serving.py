"""Engines over random models, and what their requests report."""

from __future__ import annotations

from collections.abc import Sequence
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
