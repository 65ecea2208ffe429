"""The state of one request while it generates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fairlead_language_model.graph import PageTable
from fairlead_language_model.sampling import TokenLogprob, make_generator, sample, token_logprobs
from fairlead_language_model.stop_matcher import StopMatcher
from fairlead_language_model.tokenizer import Tokenizer

from .events import Event, Finish, FinishReason, Piece
from .request import Request

Sink = Callable[[Event], None]


class Sequence:
    """Tokens, pages, text decoder, stop matcher and random generator of one request.

    `aborted` may be set from any thread; everything else belongs to the generation thread. `cached_tokens` are those
    whose keys and values were known when it was admitted last.
    """

    def __init__(
        self, request: Request, tokenizer: Tokenizer, ends: frozenset[int], context: int, sink: Sink, arrived_s: float
    ) -> None:
        self.request, self.sink, self.arrived_s = request, sink, arrived_s
        self.tokens = list(request.prompt)
        self.table = PageTable()
        self.limit = min(len(request.prompt) + request.max_tokens, context)
        self.cached_tokens = 0
        self.aborted = False
        self.finished = False
        self._ends = ends
        self._text = tokenizer.stream()
        self._stops = StopMatcher(request.parameters.stop)
        self._random = make_generator(request.parameters.seed)

    @property
    def pending(self) -> list[int]:
        """Tokens whose keys and values are not computed yet."""
        return self.tokens[self.table.length :]

    @property
    def generated(self) -> list[int]:
        """Tokens of the answer so far."""
        return self.tokens[len(self.request.prompt) :]

    def advance(self, logits: NDArray[np.float32], active_neurons: int) -> list[Event]:
        """Draw the next token from logits [vocabulary]; return what there is to report."""
        allowed, prompt = self._allowed(logits), self.request.prompt
        return self._append(
            sample(allowed, self.request.parameters, self._random, self.generated, prompt), logits, active_neurons
        )

    def _allowed(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        constraint = self.request.constraint
        return logits if constraint is None else constraint.restrict(logits)

    def _append(self, token: int, logits: NDArray[np.float32], active_neurons: int) -> list[Event]:
        constraint = self.request.constraint
        self.tokens.append(token)
        if token in self._ends:
            return [self.finish("stop")]
        if constraint is not None:
            constraint.take(token)
        text = self._stops.feed(self._text.feed(token))
        events: list[Event] = [Piece(text, token, active_neurons, self._logprob(logits, token))]
        if self._stops.stopped or (constraint is not None and constraint.complete):
            events.append(self.finish("stop"))
        elif len(self.tokens) >= self.limit:
            events.append(self.finish("length"))
        return events

    def finish(self, reason: FinishReason) -> Finish:
        """End the answer; return the last event, with the text that was held back."""
        self.finished = True
        rest = self._stops.feed(self._text.flush()) + self._stops.flush()
        return Finish(reason, len(self.request.prompt), len(self.generated), rest, self._stops.matched)

    def _logprob(self, logits: NDArray[np.float32], token: int) -> TokenLogprob | None:
        top = self.request.logprobs
        return None if top is None else token_logprobs(logits, token, top)
