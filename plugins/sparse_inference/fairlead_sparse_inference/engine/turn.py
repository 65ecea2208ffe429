"""What a sequence computes in its turn, and which turns the kernels take together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import MOST_SEQUENCES, Decoder
from fairlead_kernels.work import Work

from .sequence import Sequence
from .speculation import Draft

#: Prompt tokens computed before the next sequence has its turn: bounds how long one prompt holds up the others.
PREFILL_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Turn:
    """The tokens that a sequence computes now: a piece of its prompt, or of its answer with guesses after it.

    Tokens of a prompt are computed without predictors, those of an answer with them where the model has any, however
    they are divided into turns: so what is cached, computed again or computed together changes no bit.

    Attributes:
        chunk: the tokens, at least one; the draft's come last.
        prompt: whether they are a piece of the prompt.
        answering: whether the sequence has a token of an answer already.
        decoding: whether the last token of the answer is all that was left to compute.
    """

    sequence: Sequence
    chunk: list[int]
    draft: Draft
    prompt: bool
    answering: bool
    decoding: bool

    @classmethod
    def of(cls, sequence: Sequence) -> Turn:
        """Take what is pending, and let the sequence guess where it decodes."""
        pending, answering = sequence.pending, bool(sequence.generated)
        rest = len(sequence.request.prompt) - sequence.table.length
        if rest > 0:
            return cls(sequence, pending[: min(PREFILL_CHUNK, rest)], Draft(), True, answering, False)
        decoding = len(pending) == 1
        draft = sequence.draft() if decoding else Draft()
        return cls(sequence, [*pending[:MOST_SEQUENCES], *draft.tokens], draft, False, answering, decoding)

    @property
    def start(self) -> int:
        """Position of the first token."""
        return self.sequence.table.length

    @property
    def rows(self) -> int:
        """How many of the last tokens' logits are of use: of the last one, and of those before and in the draft."""
        return len(self.draft.tokens) + 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a turn gave: logits [rows, vocabulary] of its last tokens, mean active neurons a token."""

    logits: NDArray[np.float32]
    active_neurons: int


def grouped(turns: Iterable[Turn]) -> Iterator[list[Turn]]:
    """Return the turns in the groups that are computed together: those of answers, as many as the kernels take."""
    group: list[Turn] = []
    for turn in turns:
        if turn.prompt:
            yield [turn]
            continue
        if sum(len(one.chunk) for one in group) + len(turn.chunk) > MOST_SEQUENCES:
            yield group
            group = []
        group.append(turn)
    if group:
        yield group


def compute(decoder: Decoder, turns: list[Turn]) -> tuple[list[Outcome], Work]:
    """Run the turns of one group; the result does not depend on which are in it."""
    if len(turns) == 1 and (turns[0].prompt or len(turns[0].chunk) == 1):
        return _alone(decoder, turns[0])
    tables = [turn.sequence.table.array() for turn in turns]
    lengths = [len(turn.chunk) for turn in turns]
    result = decoder.step_many(
        np.concatenate([np.asarray(turn.chunk, np.int32) for turn in turns]),
        np.concatenate([np.arange(turn.start, turn.start + len(turn.chunk), dtype=np.int32) for turn in turns]),
        [table for table, length in zip(tables, lengths, strict=True) for _ in range(length)],
    )
    active, outcomes, end = result.active.sum(axis=1), list[Outcome](), 0
    for turn, length in zip(turns, lengths, strict=True):
        start, end = end, end + length
        outcomes.append(Outcome(result.logits[end - turn.rows : end], int(active[start:end].mean())))
    return outcomes, result.work


def _alone(decoder: Decoder, turn: Turn) -> tuple[list[Outcome], Work]:
    table = turn.sequence.table.array()
    if turn.prompt:
        result = decoder.prefill(np.asarray(turn.chunk, np.int32), turn.start, table)
    else:
        result = decoder.step(turn.chunk[0], turn.start, table)
    return [Outcome(np.atleast_2d(result.logits), int(result.active.sum()) // len(turn.chunk))], result.work
