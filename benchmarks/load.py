"""Clients that keep asking a workload through the gateway, and remember every answer."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

#: Between two requests of one client.
PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Answer:
    """One answered request; times are Unix seconds."""

    sent_at: float
    done_at: float
    status: int
    node: str = ""
    epoch: int = 0
    said: str = ""
    """Why there was no success."""

    @property
    def success(self) -> bool:
        """Whether the client got what it asked for."""
        return self.status == 200


class Load:
    """``clients`` threads that send completions one after the other. A context manager."""

    def __init__(self, url: str, headers: dict[str, str], workload: str, clients: int = 2) -> None:
        self.answers: list[Answer] = []
        self._url, self._headers = url, headers
        self._body = {"model": workload, "prompt": "It was", "max_tokens": 4, "temperature": 0}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def first_after(self, at: float) -> Answer | None:
        """The success that came first of those whose request was sent after ``at``."""
        found = [answer for answer in self.answers if answer.success and answer.sent_at > at]
        return min(found, key=lambda answer: answer.done_at, default=None)

    def failures(self) -> list[Answer]:
        """All that were no success."""
        return [answer for answer in self.answers if not answer.success]

    def _ask_on(self) -> None:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=60.0) as client:
            while not self._stop.wait(PAUSE_S):
                self.answers.append(self._ask(client))

    def _ask(self, client: httpx.Client) -> Answer:
        sent_at = time.time()
        try:
            answer = client.post("/v1/completions", json=self._body)
        except httpx.HTTPError as error:
            return Answer(sent_at, time.time(), 0, said=f"{type(error).__name__}: {error}")
        node, epoch = answer.headers.get("fairlead-node", ""), int(answer.headers.get("fairlead-epoch", 0))
        said = "" if answer.status_code == 200 else answer.text[:300]
        return Answer(sent_at, time.time(), answer.status_code, node, epoch, said)
