"""Streamed completions through the gateway."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fairlead_agent.cli.api_client import Answer, ApiClient
from fairlead_agent.cli.errors import CliError


@dataclass(slots=True)
class Completion:
    """A completion that is being written. ``node`` says who writes it, where the gateway told."""

    answer: Answer
    node: str = ""
    finish: str = ""

    def pieces(self) -> Iterator[str]:
        """The text, piece by piece.

        Raises:
            CliError: the stream says that it broke off, or ends without saying that it is done.
        """
        for line in self.answer.lines():
            if line == "data: [DONE]":
                return
            if line.startswith("data: "):
                yield from self._texts(json.loads(line[6:]))
        raise CliError("the answer broke off")

    def _texts(self, event: dict[str, Any]) -> Iterator[str]:
        if "error" in event:
            raise CliError(event["error"]["message"])
        for choice in event.get("choices", ()):
            delta: dict[str, Any] = choice.get("delta") or {}
            self.finish = choice.get("finish_reason") or self.finish
            text = delta.get("content") or choice.get("text") or ""
            if text:
                yield text


@contextmanager
def completion(client: ApiClient, path: str, body: dict[str, Any]) -> Generator[Completion]:
    """Ask for a completion.

    Raises:
        CliError: the gateway refuses it, or cannot be reached.
    """
    with client.open("POST", path, {**body, "stream": True}) as answer:
        yield Completion(answer, answer.header("fairlead-node"))
