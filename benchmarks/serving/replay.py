"""Replays requests on an engine in this process and notes when each token came. Standard library only.

Requests enter when they are due, whatever came of those before (open loop), or whenever one of so many clients is free
(closed loop). They enter by the engine's own Python interface, so that no system is measured by its HTTP stack. Every
token of an answer is timed with the monotonic clock, which all processes of a machine share.

The parent speaks JSON lines: ``{"asked": [[name, due_s, prompt, answer], ...], "start": monotonic_s}`` for the open and
``{"asked": ..., "clients": n}`` for the closed loop; the answer is ``{"served": [...], "gauges": [...], "told": ...}``.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TextIO

GAUGE_S = 0.1
#: Longest wait for an engine's next token; arrivals and gauges are looked at between waits.
_WAIT_S = 0.02
#: After the last request is due.
_GIVE_UP_S = 120.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: seconds after the start at which it is due, tokens of the prompt and of the answer."""

    name: str
    due_s: float
    prompt: int
    answer: int

    def tokens(self, seed: int, vocabulary: int) -> list[int]:
        """The prompt: the same for every system."""
        drawn = random.Random(f"{seed} {self.name}")
        return [drawn.randrange(vocabulary) for _ in range(self.prompt)]


@dataclass(slots=True)
class Served:
    """What came of a request; times are seconds after the start.

    Attributes:
        name, due_s, prompt, answer: what was asked.
        sent_s: when it entered the engine.
        at_s: when each token came.
        digest: of the answer's tokens.
        error: why it failed; empty: it did not.
    """

    name: str
    due_s: float
    prompt: int
    answer: int
    sent_s: float = 0.0
    at_s: list[float] = field(default_factory=list)
    digest: int = 0
    error: str = ""

    @property
    def whole(self) -> bool:
        """Whether all tokens came."""
        return not self.error and len(self.at_s) == self.answer

    @property
    def ttft_s(self) -> float:
        """From when it was due to the first token; only where one came."""
        return self.at_s[0] - self.due_s

    @property
    def tpot_s(self) -> float:
        """Mean time of a token after the first; 0 for an answer of one."""
        return (self.at_s[-1] - self.at_s[0]) / (len(self.at_s) - 1) if len(self.at_s) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class News:
    """Tokens that came for a request at a time of the monotonic clock, whether they end it, and an error if so."""

    name: str
    at: float
    tokens: Sequence[int]
    done: bool = False
    error: str = ""


class Replayed(Protocol):
    """An engine as the replay drives it."""

    def submit(self, name: str, prompt: list[int], count: int) -> None:
        """Begin a request for exactly ``count`` greedy tokens."""
        ...

    def poll(self, timeout_s: float) -> list[News]:
        """What came, after at most about so long (or a step)."""
        ...

    def gauge(self) -> Mapping[str, float]:
        """What is plotted over time: ``capacity``, ``held`` (bytes of keys and values), ``waiting``, ..."""
        ...

    def told(self) -> Mapping[str, Any]:
        """Facts at the end of a replay: preemptions, steps, ..."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Replay:
    """One replay: what is under way, and what came of what is done."""

    def __init__(self, engine: Replayed, seed: int, vocabulary: int, start: float) -> None:
        self._engine, self._seed, self._vocabulary, self._start = engine, seed, vocabulary, start
        self._open: dict[str, Served] = {}
        self.served: list[Served] = []
        self.gauges: list[dict[str, float]] = []
        self._gauged = 0.0

    def open_loop(self, asked: Sequence[Asked]) -> None:
        """Submit each request when it is due and wait for all."""
        queue = sorted(asked, key=lambda item: item.due_s)
        prompts = {item.name: item.tokens(self._seed, self._vocabulary) for item in queue}
        place = 0
        while place < len(queue) or self._open:
            while place < len(queue) and queue[place].due_s <= self._now():
                self._submit(queue[place], queue[place].due_s, prompts[queue[place].name])
                place += 1
            left = queue[place].due_s - self._now() if place < len(queue) else _WAIT_S
            self._turn(min(_WAIT_S, max(0.0, left)))
            if place == len(queue) and self._now() > queue[-1].due_s + _GIVE_UP_S:
                self._give_up()

    def closed_loop(self, asked: Sequence[Asked], clients: int) -> None:
        """Keep so many requests under way until all are done."""
        queue = [(item, item.tokens(self._seed, self._vocabulary)) for item in asked]
        self._start = time.monotonic()
        while queue or self._open:
            while queue and len(self._open) < clients:
                item, prompt = queue.pop(0)
                self._submit(item, self._now(), prompt)
            self._turn(_WAIT_S)

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _submit(self, item: Asked, due_s: float, prompt: list[int]) -> None:
        served = Served(item.name, due_s, item.prompt, item.answer, self._now())
        self._open[item.name] = served
        try:
            self._engine.submit(item.name, prompt, item.answer)
        except Exception as error:  # whatever an engine raises is the request's failure
            self._end(served, f"{type(error).__name__}: {error}")

    def _turn(self, timeout_s: float) -> None:
        for news in self._engine.poll(timeout_s):
            served = self._open.get(news.name)
            if served is None:
                continue
            served.at_s += [news.at - self._start] * len(news.tokens)
            for token in news.tokens:
                served.digest = zlib.crc32(int(token).to_bytes(4, "little"), served.digest)
            if news.done or news.error:
                self._end(served, news.error)
        if time.monotonic() - self._gauged >= GAUGE_S:
            self._gauged = time.monotonic()
            self.gauges.append({"at_s": self._now(), **self._engine.gauge()})

    def _end(self, served: Served, error: str) -> None:
        if not error and len(served.at_s) != served.answer:
            error = f"{len(served.at_s)} of {served.answer} tokens"
        served.error = error
        self.served.append(self._open.pop(served.name))

    def _give_up(self) -> None:
        for served in list(self._open.values()):
            self._end(served, f"no end after {_GIVE_UP_S:g} s")


def pin(core: int | None) -> None:
    """Keep this process on one core, or leave it free."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def claim_output() -> TextIO:
    """The standard output for answers alone; what libraries print from here on goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def answer_parent(out: TextIO, engine: Replayed, ready: Mapping[str, Any], seed: int, vocabulary: int) -> None:
    """Say that the engine is ready, and replay what is asked on standard input until it ends."""
    print(json.dumps(dict(ready)), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        asked = [Asked(*item) for item in request["asked"]]
        replay = Replay(engine, seed, vocabulary, request.get("start") or time.monotonic())
        if "clients" in request:
            replay.closed_loop(asked, request["clients"])
        else:
            replay.open_loop(asked)
        served = [asdict(item) for item in replay.served]
        answer = {"served": served, "gauges": replay.gauges, "told": dict(engine.told())}
        print(json.dumps(answer), file=out, flush=True)
    engine.close()
