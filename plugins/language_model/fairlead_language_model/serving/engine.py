"""What the routes need of an engine."""

from __future__ import annotations

from typing import Any, Protocol

from ..tokenizer import Tokenizer
from .events import Sink
from .request import Request


class Submitted(Protocol):
    """A request that an engine took."""

    @property
    def finished(self) -> bool:
        """Whether its last event was given out."""
        ...


class ServingEngine(Protocol):
    """Takes requests from any thread and tells their sinks what they generate, in order, from a thread of its own."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        ...

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer."""
        ...

    @property
    def vocabulary(self) -> int:
        """How many token ids the model has."""
        ...

    @property
    def load(self) -> tuple[int, int]:
        """Active and waiting requests."""
        ...

    @property
    def accepting(self) -> bool:
        """Whether new requests are taken."""
        ...

    def submit(self, request: Request, sink: Sink) -> Submitted:
        """Queue a request; its events go to the sink, the last one being Finish or Failure.

        Raises:
            PromptTooLong, QueueFull, EngineClosed: nothing was queued.
        """
        ...

    # What submit returned goes back as it came: an engine takes its own kind, which a Protocol cannot say.
    def abort(self, sequence: Any) -> None:
        """Stop what `submit` returned; harmless when it has ended."""
        ...
