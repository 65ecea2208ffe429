"""Sends requests when they are due, whatever came of those before, and notes when their tokens come.

Requests go to /v1/completions as token ids, so that a prompt is as long as the trace says, and ask for exactly as many
tokens (`ignore_eos`, an extension that vLLM has as well). With `logprobs` each token is an event of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpcore

from .traces import Arrival

#: Ids below this are often control tokens.
_FIRST_TOKEN = 8
_TIMEOUTS = {"connect": 10.0, "write": 30.0, "pool": None}


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go.

    Attributes:
        url: of an OpenAI-compatible server, without /v1.
        token: for its Authorization header; empty: none.
        model: the model's id.
        vocabulary: token ids of prompts are below it.
        silence_s: longest wait for an answer's next byte.
    """

    url: str
    model: str
    token: str = ""
    vocabulary: int = 1000
    silence_s: float = 300.0

    def __post_init__(self) -> None:
        if self.vocabulary <= _FIRST_TOKEN:
            raise ValueError(f"vocabulary {self.vocabulary}: accepted: {_FIRST_TOKEN + 1} and above")


@dataclass(slots=True)
class Outcome:
    """What a client saw of one request; times are seconds since the first request of the trace was due.

    Attributes:
        due_s, prompt, answer: what the trace says.
        sent_s: when it was sent.
        first_s, last_s: when the first and the last token came; None: none came.
        tokens: that came.
        error: why the answer is not whole; empty: it is.
        node: who served it, where the server says so.
    """

    due_s: float
    prompt: int
    answer: int
    sent_s: float = 0.0
    first_s: float | None = None
    last_s: float | None = None
    tokens: int = 0
    error: str = ""
    node: str = ""

    @property
    def ttft_s(self) -> float | None:
        """From when it was due to the first token."""
        return None if self.first_s is None else self.first_s - self.due_s

    @property
    def tpot_s(self) -> float | None:
        """Mean time of a token after the first; None where there is none."""
        if self.first_s is None or self.last_s is None or self.tokens < 2:
            return None
        return (self.last_s - self.first_s) / (self.tokens - 1)


async def replay(
    server: Server, arrivals: Sequence[Arrival], seed: int, ended: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """Send every request when it is due, and wait for all answers.

    Args:
        server: where to.
        arrivals: when, and how long.
        seed: of the prompts' tokens.
        ended: hears of every outcome as it comes.

    Returns:
        outcomes, in the order of arrivals.
    """
    async with httpcore.AsyncConnectionPool(max_connections=None, max_keepalive_connections=64) as pool:
        sender = _Sender(pool, server, time.monotonic(), ended)
        tasks = [
            asyncio.create_task(sender.send(arrival, prompt_of(server, arrival, f"{seed} {index}")))
            for index, arrival in enumerate(arrivals)
        ]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()


def prompt_of(server: Server, arrival: Arrival, seed: str) -> list[int]:
    """Return token ids of a request's prompt."""
    drawn = random.Random(seed)
    return [drawn.randrange(_FIRST_TOKEN, server.vocabulary) for _ in range(arrival.prompt)]


class _Sender:
    """Sends single requests over one pool of connections."""

    def __init__(
        self, pool: httpcore.AsyncConnectionPool, server: Server, start_s: float, ended: Callable[[Outcome], None]
    ) -> None:
        self._pool, self._server, self._start_s, self._ended = pool, server, start_s, ended

    async def send(self, arrival: Arrival, prompt: list[int]) -> Outcome:
        outcome = Outcome(arrival.at_s, arrival.prompt, arrival.answer)
        await asyncio.sleep(max(0.0, arrival.at_s - self._now()))
        outcome.sent_s = self._now()
        try:
            await self._exchange(outcome, prompt)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, ValueError) as error:
            outcome.error = f"{type(error).__name__}: {error}".rstrip(": ")
        if not outcome.error and outcome.tokens != outcome.answer:
            outcome.error = f"{outcome.tokens} of {outcome.answer} tokens came"
        self._ended(outcome)
        return outcome

    async def _exchange(self, outcome: Outcome, prompt: list[int]) -> None:
        request = self._request(prompt, outcome.answer)
        async with self._pool.stream("POST", f"{self._server.url.rstrip('/')}/v1/completions", **request) as response:
            headers = {name.lower(): value.decode() for name, value in response.headers}
            outcome.node = headers.get(b"fairlead-node", "")
            if response.status != 200:
                outcome.error = f"HTTP {response.status}: {_message(await response.aread())}"
                return
            async for event in _events(response):
                if "error" in event:
                    outcome.error = str(event["error"].get("message", event["error"]))
                else:
                    told = [choice.get("logprobs") or {} for choice in event.get("choices", ())]
                    self._count(outcome, sum(len(logprobs.get("tokens", ())) for logprobs in told))

    def _count(self, outcome: Outcome, tokens: int) -> None:
        if not tokens:
            return
        outcome.tokens += tokens
        outcome.last_s = self._now()
        outcome.first_s = outcome.last_s if outcome.first_s is None else outcome.first_s

    def _request(self, prompt: list[int], answer: int) -> dict[str, Any]:
        server = self._server
        fields = {"model": server.model, "prompt": prompt, "max_tokens": answer, "temperature": 0}
        body = json.dumps({**fields, "ignore_eos": True, "logprobs": 0, "stream": True}).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        if server.token:
            headers.append(("authorization", f"Bearer {server.token}"))
        timeouts = {**_TIMEOUTS, "read": server.silence_s}
        return {"content": body, "headers": headers, "extensions": {"timeout": timeouts}}

    def _now(self) -> float:
        return time.monotonic() - self._start_s


async def _events(response: httpcore.Response) -> AsyncIterator[dict[str, Any]]:
    """The server-sent events of an answer, up to [DONE]."""
    rest = b""
    async for chunk in response.aiter_stream():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            data = line.strip().removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
            if data and data != b"[DONE]":
                yield json.loads(data)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:200]
