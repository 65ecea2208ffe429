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
    """The tokens that a sequence computes now: the last of its answer and guesses after it, or a piece of its prompt.

    Attributes:
        chunk: the tokens, at least one; the draft's come last.
        answering: whether the sequence has a token of an answer already.
        decoding: whether only the last token is left to compute, so that others may be computed together with it.
    """

    sequence: Sequence
    chunk: list[int]
    draft: Draft
    answering: bool
    decoding: bool

    @classmethod
    def of(cls, sequence: Sequence) -> Turn:
        """Take what is pending, and let the sequence guess where it decodes."""
        pending, answering = sequence.pending, bool(sequence.generated)
        decoding = answering and len(pending) == 1
        draft = sequence.draft() if decoding else Draft()
        return cls(sequence, [*pending[:PREFILL_CHUNK], *draft.tokens], draft, answering, decoding)

    @property
    def start(self) -> int:
        """Position of the first token."""
        return self.sequence.table.length


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a turn gave: logits [tokens, vocabulary] (the last token's of a prompt), mean active neurons."""

    logits: NDArray[np.float32]
    active_neurons: int


def grouped(turns: Iterable[Turn]) -> Iterator[list[Turn]]:
    """Return the turns in the groups that are computed together: those that decode, as many as the kernels take."""
    group: list[Turn] = []
    for turn in turns:
        if not turn.decoding or len(turn.chunk) > MOST_SEQUENCES:
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
    first = turns[0]
    if len(turns) == 1 and (len(first.chunk) == 1 or not first.decoding or len(first.chunk) > MOST_SEQUENCES):
        return _alone(decoder, first)
    tables = [turn.sequence.table.array() for turn in turns]
    lengths = [len(turn.chunk) for turn in turns]
    result = decoder.step_many(
        np.concatenate([np.asarray(turn.chunk, np.int32) for turn in turns]),
        np.concatenate([np.arange(turn.start, turn.start + len(turn.chunk), dtype=np.int32) for turn in turns]),
        [table for table, length in zip(tables, lengths, strict=True) for _ in range(length)],
    )
    ends = np.cumsum(lengths).tolist()
    parts = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    active = result.active.sum(axis=1)
    return [Outcome(result.logits[part], int(active[part].mean())) for part in parts], result.work


def _alone(decoder: Decoder, turn: Turn) -> tuple[list[Outcome], Work]:
    table = turn.sequence.table.array()
    if len(turn.chunk) == 1:
        result = decoder.step(turn.chunk[0], turn.start, table)
    else:
        prompt = np.asarray(turn.chunk, np.int32)
        result = decoder.prefill(prompt, turn.start, table, all_logits=bool(turn.draft.tokens))
    return [Outcome(np.atleast_2d(result.logits), int(result.active.sum()) // len(turn.chunk))], result.work
