"""The state of one request while it generates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fairlead_language_model.graph import PageTable
from fairlead_language_model.sampling import TokenLogprob, make_generator, token_logprobs
from fairlead_language_model.stop_matcher import StopMatcher
from fairlead_language_model.tokenizer import Tokenizer

from ..settings import MOST_GUESSES
from .events import Event, Finish, FinishReason, Piece
from .request import Request
from .speculation import Draft, DraftSource, GuessLength, NoDrafts, accept

Sink = Callable[[Event], None]
NO_DRAFTS = NoDrafts()


class Sequence:
    """Tokens, pages, text decoder, stop matcher and random generator of one request.

    `aborted` may be set from any thread; everything else belongs to the generation thread. `cached_tokens` are those
    whose keys and values were known when it was admitted last; `drafter` guesses its next tokens.
    """

    def __init__(
        self,
        request: Request,
        tokenizer: Tokenizer,
        ends: frozenset[int],
        context: int,
        sink: Sink,
        arrived_s: float,
        drafts: DraftSource = NO_DRAFTS,
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
        self._guesses = GuessLength(drafts.most)
        self.drafter = drafts.begin(request.parameters, len(request.prompt), self._random.spawn(1)[0])

    @property
    def pending(self) -> list[int]:
        """Tokens whose keys and values are not computed yet."""
        return self.tokens[self.table.length :]

    @property
    def generated(self) -> list[int]:
        """Tokens of the answer so far."""
        return self.tokens[len(self.request.prompt) :]

    def draft(self) -> Draft:
        """Guess the tokens after the last one; empty where guessing does not pay or nothing is left to generate."""
        room = self.limit - len(self.tokens) - 1
        constraint = self.request.constraint
        if constraint is not None and room > 0 and (forced := constraint.forced()[: min(room, MOST_GUESSES)]):
            return Draft(tuple(forced))
        most = min(self._guesses.take(), room, MOST_GUESSES)
        return self.drafter.draft(self.tokens, most) if most > 0 else Draft()

    def advance(self, logits: NDArray[np.float32], active_neurons: int) -> list[Event]:
        """Draw the next token from logits [vocabulary]; return what there is to report."""
        return self.verify(logits[None], Draft(), active_neurons)[1]

    def verify(self, logits: NDArray[np.float32], draft: Draft, active_neurons: int) -> tuple[int, list[Event]]:
        """Go through a draft with the logits [tokens + 1, vocabulary] before, between and after its tokens.

        Returns how many of the guesses stand, and what there is to report: the answer grows by them and one token more.
        """
        events: list[Event] = []
        for place, row in enumerate(logits):
            guess = draft.tokens[place] if place < len(draft.tokens) else None
            token = self._choose(row, guess, draft.drawn_from(place))
            events += self._append(token, row, active_neurons)
            if token != guess or self.finished:
                break
        accepted = place + (token == guess)
        self._guesses.learn(len(draft.tokens), accepted)
        return accepted, events

    def _choose(self, logits: NDArray[np.float32], guess: int | None, drawn_from: NDArray[np.float64] | None) -> int:
        constraint, parameters = self.request.constraint, self.request.parameters
        allowed = logits if constraint is None else constraint.restrict(logits)
        return accept(allowed, guess, drawn_from, parameters, self._random, self.generated, self.request.prompt)

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
        prompt = len(self.request.prompt)
        cached = min(self.cached_tokens, prompt)
        return Finish(reason, prompt, len(self.generated), rest, self._stops.matched, cached)

    def _logprob(self, logits: NDArray[np.float32], token: int) -> TokenLogprob | None:
        top = self.request.logprobs
        return None if top is None else token_logprobs(logits, token, top)
