"""Attention of a stage whose sequences have keys and values in several pieces, here and elsewhere.

New tokens' keys and values go to the piece that the stage writes. What was stored before a plan stands in other pieces:
those that have moved here are attended to here, those that have not where they are (remote attention: the queries go
there, and what comes back is merged by the logarithms of the sums). All tokens of such a piece are older than those of
the chunk, so that no mask is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ..arena.page_tables import HIGH
from ..kernels.merging import merge
from ..model.attention import NativePagedStep, PagedAttention
from ..model.batch import Batch
from ..model.layers import StepAttention
from .row_store import RowStore


@dataclass(frozen=True, slots=True)
class Older:
    """Tokens of a sequence that stand in another piece than the one that is written.

    Attributes:
        sequence: its place in the batch.
        instance: which holds the piece.
        piece: its name.
        tokens: of its first slots, that are seen.
    """

    sequence: int
    instance: str
    piece: str
    tokens: int


@dataclass(frozen=True, slots=True)
class GroupBatch(Batch):
    """A microbatch as a stage of a group sees it; `stored` counts the piece that is written."""

    older: tuple[Older, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """Queries over pieces of one instance: those of `older` in their order, one after the other.

    Attributes:
        layer: of the model.
        pieces: names and numbers of tokens.
        queries: [tokens, heads, head_dim].
        starts: int32 [pieces + 1], the first query of each.
        positions: int32 [tokens].
    """

    layer: int
    pieces: tuple[tuple[str, int], ...]
    queries: torch.Tensor
    starts: torch.Tensor
    positions: torch.Tensor


Partial = tuple[torch.Tensor, torch.Tensor]
"""Output [tokens, heads, head_dim] and the logarithm of the sum of exponentials, float32 [tokens, heads]."""


class Elsewhere(Protocol):
    """Attention that other instances compute."""

    def ask(self, instance: str, asked: Asked) -> Callable[[], Partial]:
        """Send queries; the result waits for the answer. Raises LinkLost, at either time."""
        ...

    def serve(self) -> None:
        """Answer what others ask, between two layers."""
        ...


class PieceAttention:
    """Attends to pieces that are here: for stages here, and for others that ask."""

    def __init__(self, paged: PagedAttention, store: RowStore) -> None:
        self.paged, self.store = paged, store

    def __call__(self, asked: Asked) -> Partial:
        """Return attention of queries over pieces; raises ElasticServingError for a piece that is not here."""
        paged, kernels = self.paged, self.paged.backend
        rows = np.stack([self._rows(name, asked.layer) for name, _ in asked.pieces])
        tokens = np.array([count for _, count in asked.pieces], np.int32)
        counts = np.zeros((rows.size, 2), np.int32)
        counts[:, HIGH] = np.repeat(tokens, rows.shape[1])
        width = max(1, int(paged.tiers.high.pages_for(int(tokens.max(initial=1)))))
        tables = paged.tables.tables[rows.reshape(-1), :width]
        places = np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
        put = kernels.put
        device = kernels.device
        return kernels.attend(
            asked.queries.to(device).contiguous(),
            paged.memory.pages_t,
            paged.tiers,
            put(np.ascontiguousarray(tables)),
            put(places),
            put(counts),
            paged.config.head_dim**-0.5,
            starts=asked.starts.to(device),
            window=paged.config.window(asked.layer),
            positions=asked.positions.to(device),
        )

    def _rows(self, name: str, layer: int) -> np.ndarray:
        piece = self.store.piece(name)
        return piece.rows[layer - piece.layers.start]


class GroupAttention:
    """What a stage of a group attends with.

    Args:
        me: this instance.
        pieces: those that are here.
        elsewhere: those that are not.
    """

    def __init__(self, me: str, pieces: PieceAttention, elsewhere: Elsewhere) -> None:
        self._me, self._pieces, self._elsewhere = me, pieces, elsewhere

    def begin(self, batch: Batch, layers: range) -> StepAttention:
        """Return the attention of one microbatch, whose rows are those of ``layers``."""
        older = isinstance(batch, GroupBatch) and batch.older
        if not older and self._pieces.paged.backend.name == "native":
            return _PlainStep(self._pieces.paged, self._elsewhere, batch, layers)
        return _GroupStep(self._me, self._pieces, self._elsewhere, batch, layers)


class _PlainStep(NativePagedStep):
    """Sequences whose tokens all stand in the pieces that are written: nobody is asked, only answered."""

    def __init__(self, paged: PagedAttention, elsewhere: Elsewhere, batch: Batch, layers: range) -> None:
        super().__init__(paged, batch, layers)
        self._elsewhere = elsewhere

    def attend_arrays(
        self, layer: int, queries: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self._elsewhere.serve()
        return super().attend_arrays(layer, queries, keys, values)


class _GroupStep:
    def __init__(self, me: str, pieces: PieceAttention, elsewhere: Elsewhere, batch: Batch, layers: range) -> None:
        self._me, self._pieces, self._elsewhere = me, pieces, elsewhere
        self._step = pieces.paged.begin(batch, layers)
        self._asks = _by_instance(batch) if isinstance(batch, GroupBatch) else []

    def __call__(self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        self._elsewhere.serve()
        asked = [(instance, tokens, ask(layer, queries)) for instance, tokens, ask in self._asks]
        answers = [
            (tokens, self._elsewhere.ask(instance, one)) for instance, tokens, one in asked if instance != self._me
        ]
        output, total = self._step.attend(layer, queries, keys, values)
        for instance, tokens, one in asked:
            if instance == self._me:
                output, total = _merged(output, total, tokens, self._pieces(one))
        for tokens, answer in answers:
            output, total = _merged(output, total, tokens, answer())
        return output


def _merged(output: torch.Tensor, total: torch.Tensor, tokens: torch.Tensor, part: Partial) -> Partial:
    """Merge attention of some tokens over other pieces into that of all tokens."""
    found = part[0].to(output), part[1].to(total)
    mine = (output[tokens], total[tokens])
    output[tokens], total[tokens] = merge([mine, found])
    return output, total


def _by_instance(batch: GroupBatch) -> list[tuple[str, torch.Tensor, Callable[[int, torch.Tensor], Asked]]]:
    """What is asked of whom: for each instance the tokens int64, and what asks for them. A sequence with several pieces
    at an instance asks several times, so that no token is mentioned twice in one question.
    """
    rounds: dict[tuple[str, int], list[Older]] = {}
    seen: dict[tuple[str, int], int] = {}
    for older in batch.older:
        turn = seen[older.instance, older.sequence] = seen.get((older.instance, older.sequence), -1) + 1
        rounds.setdefault((older.instance, turn), []).append(older)
    return [(instance, *_question(batch, some)) for (instance, _), some in rounds.items()]


def _question(batch: GroupBatch, some: Sequence[Older]) -> tuple[torch.Tensor, Callable[[int, torch.Tensor], Asked]]:
    spans = [np.arange(batch.starts[older.sequence], batch.starts[older.sequence + 1]) for older in some]
    tokens = torch.from_numpy(np.concatenate(spans).astype(np.int64))
    starts = torch.from_numpy(np.cumsum([0, *map(len, spans)]).astype(np.int32))
    positions = torch.from_numpy(np.ascontiguousarray(batch.positions[tokens.numpy()]))
    pieces = tuple((older.piece, older.tokens) for older in some)

    def ask(layer: int, queries: torch.Tensor) -> Asked:
        return Asked(layer, pieces, queries[tokens.to(queries.device)], starts, positions)

    return tokens, ask
