"""One request while it generates: its tokens, and how the next one is drawn and shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..sampling import TokenLogprob, make_generator, sample, token_logprobs
from ..stop_matcher import StopMatcher
from ..tokenizer import Tokenizer
from .events import Event, Finish, FinishReason, Piece, Sink
from .request import Request


class SampledSequence:
    """Tokens, text decoder, stop matcher, form of the answer and random generator of one request.

    `aborted` may be set from any thread; everything else belongs to the generation thread. `limit` is the number of
    tokens, of the prompt and the answer, at which the answer ends; `cached_tokens` are those of the prompt whose keys
    and values were known when it was admitted last; `arrived_s` is on the engine's clock.
    """

    def __init__(
        self,
        request: Request,
        tokenizer: Tokenizer,
        ends: frozenset[int],
        context: int,
        sink: Sink,
        arrived_s: float,
    ) -> None:
        self.request, self.sink, self.arrived_s = request, sink, arrived_s
        self.tokens = list(request.prompt)
        self.limit = min(len(request.prompt) + request.max_tokens, context)
        self.cached_tokens = 0
        self.aborted = False
        self.finished = False
        self.random = make_generator(request.parameters.seed)
        self._ends = frozenset[int]() if request.parameters.ignore_eos else ends
        self._text = tokenizer.stream()
        self._stops = StopMatcher(request.parameters.stop)

    @property
    def generated(self) -> list[int]:
        """Tokens of the answer so far."""
        return self.tokens[len(self.request.prompt) :]

    def advance(self, logits: NDArray[np.float32]) -> list[Event]:
        """Draw the next token from logits [vocabulary] and append it; return what there is to report.

        Raises:
            ValueError: the logits are not numbers, or a bias is outside of the vocabulary.
        """
        return self.append(self.choose(logits), logits)

    def choose(self, logits: NDArray[np.float32]) -> int:
        """Draw the next token from logits [vocabulary], within the form that the answer must have."""
        parameters = self.request.parameters
        return sample(self.restricted(logits), parameters, self.random, self.generated, self.request.prompt)

    def restricted(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits [vocabulary] in which only tokens that the answer's form allows here are possible."""
        constraint = self.request.constraint
        return logits if constraint is None else constraint.restrict(logits)

    def append(self, token: int, logits: NDArray[np.float32], active_neurons: int | None = None) -> list[Event]:
        """Take a token that was drawn from logits [vocabulary]; return what there is to report."""
        constraint = self.request.constraint
        self.tokens.append(token)
        if token in self._ends:
            return [self.finish("stop")]
        if constraint is not None:
            constraint.take(token)
        text = self._stops.feed(self._text.feed(token))
        events: list[Event] = [Piece(text, token, self._logprob(logits, token), active_neurons)]
        if self._stops.stopped or (constraint is not None and constraint.complete):
            events.append(self.finish("stop"))
        elif len(self.tokens) >= self.limit:
            events.append(self.finish("length"))
        return events

    def finish(self, reason: FinishReason) -> Finish:
        """End the answer; return the last event, with the text that was held back."""
        self.finished = True
        rest = self._stops.feed(self._text.flush()) + self._stops.flush()
        prompt = len(self.request.prompt)
        cached = min(self.cached_tokens, prompt)
        return Finish(reason, prompt, len(self.generated), rest, self._stops.matched, cached)

    def _logprob(self, logits: NDArray[np.float32], token: int) -> TokenLogprob | None:
        top = self.request.logprobs
        return None if top is None else token_logprobs(logits, token, top)
