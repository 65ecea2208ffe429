"""What guesses at the next tokens gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead_language_model.sampling import SamplingParameters


@dataclass(frozen=True, eq=False, slots=True)
class Draft:
    """Guessed tokens.

    `probabilities`, float64 [tokens, vocabulary], are what the tokens were drawn from; None where they were not drawn:
    found in the text, or the most likely ones of a draft model.
    """

    tokens: tuple[int, ...] = ()
    probabilities: NDArray[np.float64] | None = None

    def drawn_from(self, place: int) -> NDArray[np.float64] | None:
        """Return the probabilities [vocabulary] that a place's token was drawn from, if it was drawn."""
        known = self.probabilities is not None and place < len(self.tokens)
        return self.probabilities[place] if known else None


class Drafter(Protocol):
    """Guesses for one sequence."""

    def draft(self, tokens: Sequence[int], most: int) -> Draft:
        """Guess up to `most` tokens that follow prompt and answer so far; may be empty."""
        ...

    def close(self) -> None:
        """Give back what it holds; the sequence has ended."""
        ...


class DraftSource(Protocol):
    """Makes a drafter for each sequence; `memory_bytes` is what they hold together at most."""

    most: int
    memory_bytes: int

    def begin(self, parameters: SamplingParameters, prompt_tokens: int, random: np.random.Generator) -> Drafter:
        """Return the drafter of a new sequence."""
        ...


class NoDrafts:
    """Guesses nothing."""

    most = 0
    memory_bytes = 0

    def begin(self, parameters: SamplingParameters, prompt_tokens: int, random: np.random.Generator) -> Drafter:
        """Return a drafter that never guesses."""
        return self

    def draft(self, tokens: Sequence[int], most: int) -> Draft:
        """Return an empty draft."""
        return Draft()

    def close(self) -> None:
        """Hold nothing, give nothing back."""
