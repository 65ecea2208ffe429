"""Guesses from the text itself: what followed the last time that its last tokens stood there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead_language_model.sampling import SamplingParameters

from .draft import Draft, Drafter


class NgramSource:
    """Makes n-gram drafters; costs no memory to speak of."""

    memory_bytes = 0

    def __init__(self, most: int, longest: int = 4, shortest: int = 2) -> None:
        self.most, self._longest, self._shortest = most, longest, shortest

    def begin(self, parameters: SamplingParameters, prompt_tokens: int, random: np.random.Generator) -> Drafter:
        """Return the drafter of a new sequence."""
        return NgramDrafter(self._longest, self._shortest)


class NgramDrafter:
    """Looks the last tokens up among the earlier ones: the longest match, and of those the latest.

    Prompt lookup decoding (Saxena 2023): good where an answer repeats parts of its prompt, as summaries and edits do.
    """

    def __init__(self, longest: int, shortest: int) -> None:
        if not 1 <= shortest <= longest:
            raise ValueError(f"n-grams of {shortest} to {longest} tokens: accepted: 1 or more, in this order")
        self._lengths = range(longest, shortest - 1, -1)
        # Where the token after each n-gram stands; the last tokens of the text are not in it, as nothing follows them.
        self._after: dict[tuple[int, ...], int] = {}
        self._seen = 0

    def draft(self, tokens: Sequence[int], most: int) -> Draft:
        """Return the tokens that followed the longest known ending of `tokens`."""
        for end in range(max(1, self._seen), len(tokens)):
            for length in self._lengths:
                if length <= end:
                    self._after[tuple(tokens[end - length : end])] = end
        self._seen = len(tokens)
        for length in self._lengths:
            found = self._after.get(tuple(tokens[-length:])) if length <= len(tokens) else None
            if found is not None:
                return Draft(tuple(tokens[found : found + most]))
        return Draft()

    def close(self) -> None:
        """Hold nothing that must be given back."""
