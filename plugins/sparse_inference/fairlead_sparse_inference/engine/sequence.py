"""The state of one request while it generates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_language_model.graph import PageTable
from fairlead_language_model.serving import Event, Request, SampledSequence, Sink
from fairlead_language_model.tokenizer import Tokenizer

from ..settings import MOST_GUESSES
from .speculation import Draft, DraftSource, GuessLength, NoDrafts, accept

NO_DRAFTS = NoDrafts()


class Sequence(SampledSequence):
    """A request with its pages and its guesses; `drafter` guesses its next tokens."""

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
        super().__init__(request, tokenizer, ends, context, sink, arrived_s)
        self.table = PageTable()
        self._guesses = GuessLength(drafts.most)
        self.drafter = drafts.begin(request.parameters, len(request.prompt), self.random.spawn(1)[0])

    @property
    def pending(self) -> list[int]:
        """Tokens whose keys and values are not computed yet."""
        return self.tokens[self.table.length :]

    def draft(self) -> Draft:
        """Guess the tokens after the last one; empty where guessing does not pay or nothing is left to generate."""
        room = self.limit - len(self.tokens) - 1
        constraint = self.request.constraint
        if constraint is not None and room > 0 and (forced := constraint.forced()[: min(room, MOST_GUESSES)]):
            return Draft(tuple(forced))
        most = min(self._guesses.take(), room, MOST_GUESSES)
        return self.drafter.draft(self.tokens, most) if most > 0 else Draft()

    def verify(self, logits: NDArray[np.float32], draft: Draft, active_neurons: int) -> tuple[int, list[Event]]:
        """Go through a draft with the logits [tokens + 1, vocabulary] before, between and after its tokens.

        Returns how many of the guesses stand, and what there is to report: the answer grows by them and one token more.
        """
        events: list[Event] = []
        for place, row in enumerate(logits):
            guess = draft.tokens[place] if place < len(draft.tokens) else None
            token = self._accept(row, guess, draft.drawn_from(place))
            events += self.append(token, row, active_neurons)
            if token != guess or self.finished:
                break
        accepted = place + (token == guess)
        self._guesses.learn(len(draft.tokens), accepted)
        return accepted, events

    def _accept(self, logits: NDArray[np.float32], guess: int | None, drawn_from: NDArray[np.float64] | None) -> int:
        parameters, allowed = self.request.parameters, self.restricted(logits)
        return accept(allowed, guess, drawn_from, parameters, self.random, self.generated, self.request.prompt)
