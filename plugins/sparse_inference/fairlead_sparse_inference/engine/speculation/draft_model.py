"""Guesses by a smaller model of the same vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import Decoder
from fairlead_language_model.errors import OutOfPages
from fairlead_language_model.graph import KVPages, PageTable
from fairlead_language_model.sampling import SamplingParameters, distribution

from ..errors import ModelUnsupported
from ..model import SparseModel
from .accept import draw
from .draft import Draft, Drafter

_PAGE_TOKENS = 16
_CHUNK = 128


class DraftModel:
    """A small model with pages of keys and values for every sequence that may be active."""

    def __init__(self, model: SparseModel, most: int, *, sequences: int, context: int) -> None:
        self.model, self.most, self.context = model, most, min(context, model.config.max_position_embeddings)
        # Guesses are not written beyond the context.
        self.pages = KVPages(model.config, sequences * -(-self.context // _PAGE_TOKENS), _PAGE_TOKENS)
        self.memory_bytes = self.pages.count * self.pages.page_bytes
        self._decoder: Decoder = model.decoder(self.pages)

    @staticmethod
    def check(draft: SparseModel, target: SparseModel) -> None:
        """Raise ModelUnsupported unless both models mean the same by each token."""
        sizes = draft.config.vocab_size, target.config.vocab_size
        if sizes[0] != sizes[1] or draft.tokenizer.core.get_vocab() != target.tokenizer.core.get_vocab():
            raise ModelUnsupported(
                f"draft_model: its vocabulary of {sizes[0]} tokens is not the model's of {sizes[1]}; accepted: a model "
                "with the same tokenizer"
            )

    def begin(self, parameters: SamplingParameters, prompt_tokens: int, random: np.random.Generator) -> Drafter:
        """Return the drafter of a new sequence."""
        return ModelDrafter(self, parameters, prompt_tokens, random)

    def logits(self, tokens: Sequence[int], table: PageTable) -> NDArray[np.float32]:
        """Run tokens at the end of a table; return the last one's logits [vocabulary]. Raises OutOfPages."""
        self.pages.reserve(table, table.length + len(tokens))
        for start in range(0, len(tokens), _CHUNK):
            chunk, table_array = tokens[start : start + _CHUNK], table.array()
            if len(chunk) == 1:
                result = self._decoder.step(chunk[0], table.length, table_array)
            else:
                result = self._decoder.prefill(np.asarray(chunk, np.int32), table.length, table_array)
            table.length += len(chunk)
        return result.logits


class ModelDrafter:
    """One sequence's place in the draft model."""

    def __init__(
        self, source: DraftModel, parameters: SamplingParameters, prompt_tokens: int, random: np.random.Generator
    ) -> None:
        self._source, self._parameters, self._prompt, self._random = source, parameters, prompt_tokens, random
        self._table = PageTable()
        self._computed: list[int] = []
        self._certain = 0

    def draft(self, tokens: Sequence[int], most: int) -> Draft:
        """Let the draft model go on from `tokens`; greedy requests get its most likely tokens."""
        most = min(most, self._source.context - len(tokens))
        if most <= 0:
            return Draft()
        self._rewind(tokens)
        try:
            return self._go_on(tokens, most)
        except OutOfPages:
            # Preempted sequences hold on to theirs; the answer does not depend on guesses.
            return Draft()

    def _go_on(self, tokens: Sequence[int], most: int) -> Draft:
        guessed: list[int] = []
        drawn_from: list[NDArray[np.float64]] = []
        pending, prompt = list(tokens[self._table.length :]), tokens[: self._prompt]
        while len(guessed) < most:
            logits = self._source.logits(pending, self._table)
            self._computed += pending
            chances = distribution(logits, self._parameters, [*tokens[self._prompt :], *guessed], prompt)
            guessed.append(int(chances.argmax()) if self._parameters.greedy else draw(chances, self._random))
            drawn_from.append(chances)
            pending = guessed[-1:]
        return Draft(tuple(guessed), None if self._parameters.greedy else np.stack(drawn_from))

    def _rewind(self, tokens: Sequence[int]) -> None:
        """Forget the guesses that were rejected; at least the last token is left to compute."""
        agreeing, end = min(self._certain, len(self._computed)), min(len(tokens) - 1, len(self._computed))
        while agreeing < end and self._computed[agreeing] == tokens[agreeing]:
            agreeing += 1
        # Prompt and answer only grow: what they held at the last call need not be compared again.
        self._certain = len(tokens) - 1
        agreeing = min(agreeing, end)
        del self._computed[agreeing:]
        self._source.pages.truncate(self._table, agreeing)

    def close(self) -> None:
        """Give the pages back."""
        self._computed.clear()
        self._source.pages.release(self._table)
