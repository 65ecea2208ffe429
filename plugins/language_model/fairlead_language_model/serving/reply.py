"""What both kinds of answer share: the shape of whole and streamed responses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from ..openai import ChatChunk, ChatCompletion, Completion, FinishReason, Usage
from .events import Finish, Piece


@dataclass(frozen=True, slots=True)
class Stamp:
    """Identifies one response; `created` is in Unix seconds."""

    id: str
    created: int
    model: str


class Reply(ABC):
    """Turns the engine's events into one kind of response."""

    @abstractmethod
    def opening(self) -> list[Completion | ChatChunk]:
        """Return the chunks that come before the first token."""

    @abstractmethod
    def piece(self, piece: Piece) -> Completion | ChatChunk | None:
        """Return the chunk for a token; None where there is nothing to show yet."""

    @abstractmethod
    def closing(self, finish: Finish) -> Completion | ChatChunk:
        """Return the chunk with the finish reason and the rest of the text."""

    @abstractmethod
    def usage(self, finish: Finish) -> Completion | ChatChunk:
        """Return the chunk that carries only the usage."""

    @abstractmethod
    def whole(self, pieces: Sequence[Piece], finish: Finish) -> Completion | ChatCompletion:
        """Return the response that is not streamed."""


def usage_of(finish: Finish) -> Usage:
    """Return the usage of a finished generation."""
    return Usage.of(finish.prompt_tokens, finish.completion_tokens, finish.cached_tokens)


def reason_of(finish: Finish) -> FinishReason:
    """Return the finish reason in OpenAI's words; who aborted a request does not read it."""
    return "length" if finish.reason == "length" else "stop"


def text_of(pieces: Sequence[Piece], finish: Finish) -> str:
    """Return the whole text of an answer."""
    return "".join(piece.text for piece in pieces) + finish.text
