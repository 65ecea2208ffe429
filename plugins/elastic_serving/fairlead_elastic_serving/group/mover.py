"""A driver's exchange: which of its requests' keys and values move next to the stages that use them now.

One part is under way at a time on each way between two instances, and none starts where activations wait. What is
cheaper to attend to from afar until its request ends stays. What has moved is given back at its source when no
microbatch is in flight that was told to find it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..planning.exchange import Stored, chunk_tokens, worth_moving
from .space import GroupSpace, Move, Old

PATIENCE_S = 10.0
"""For a part."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a way between two instances bears.

    Attributes:
        bytes_per_s: measured, or simulated.
        latency_s: one way.
        stage_s: that a stage takes for a microbatch: as long may a part hold others up.
        token_bytes: of one token of one layer.
        query_bytes: of one token's query, and of its result.
    """

    bytes_per_s: float
    latency_s: float
    stage_s: float
    token_bytes: int
    query_bytes: int


class Mover:
    """One driver's moves under one plan.

    Args:
        space: where everything is.
        remaining: tokens that a request may still generate.
        order: tells a source to send tokens.
        trim: tells a source to give back what has moved.
        pace: of all ways.
        allowed: whether anything moves at all.
    """

    def __init__(
        self,
        space: GroupSpace,
        remaining: Callable[[str], int],
        order: Callable[[Move], bool],
        trim: Callable[[str, str, int], None],
        pace: Pace,
        *,
        allowed: bool = True,
    ) -> None:
        self._allowed = allowed
        self.moved_tokens = 0
        self._space, self._remaining, self._order, self._trim, self._pace = space, remaining, order, trim, pace
        self._moving: dict[str, tuple[float, Move]] = {}
        self._left: dict[tuple[str, int, str], tuple[int, str]] = {}

    @property
    def moving(self) -> int:
        """Parts that are under way."""
        return len(self._moving)

    def pending(self) -> bool:
        """Whether something that is worth moving stands elsewhere, or is under way."""
        return bool(self._moving) or any(self._worth(name, place, old) for name, place, old in self._space.afar())

    def step(self, now: float, busy: Callable[[str], bool]) -> bool:
        """Start what may start now; false if that is nothing. What is under way for too long is tried again."""
        for piece in [piece for piece, (began, _) in self._moving.items() if now - began > PATIENCE_S]:
            self.refused(piece)
        ways = {(move.source, move.target) for _, move in self._moving.values()}
        hit = {(move.name, move.segment) for _, move in self._moving.values()}
        started = False
        for name, place, old in self._space.afar():
            way = (old.instance, self._space.segments[place].instance)
            if way in ways or (name, place) in hit or busy(way[1]) or busy(way[0]):
                continue
            if self._worth(name, place, old) and self._start(now, name, place, old):
                ways.add(way)
                started = True
        return started

    def arrived(self, piece: str, first: int, submitted: int, target: str, gathered: str) -> None:
        """Take note that a part stands at its target; until ``submitted`` microbatches are answered, it stays at its
        source too.

        One that comes after it was given up is not counted: it is on its way again, or its request has ended, and then
        the target forgets it.

        Args:
            piece: of which it was a part.
            first: its first token.
            submitted: microbatches of this driver until now.
            target: the instance where it arrived.
            gathered: the piece that it was put behind there.
        """
        _, move = self._moving.get(piece, (0.0, None))
        if move is None or move.first != first:
            if not self._wanted(gathered):
                self._trim(target, gathered, 0)
            return
        del self._moving[piece]
        if self._space.end_move(move, arrived=True):
            self.moved_tokens += move.end - move.first
            self._left[move.source, submitted, piece] = (first, piece)

    def refused(self, piece: str) -> None:
        """Take note that a part was not sent, or found no room: it is tried again."""
        _, move = self._moving.pop(piece, (0.0, None))
        if move is not None:
            self._space.end_move(move, arrived=False)

    def settle(self, answered: int) -> None:
        """Give back at their sources what nobody looks for any more."""
        for key in [key for key in self._left if key[1] <= answered]:
            first, piece = self._left.pop(key)
            self._trim(key[0], piece, first)

    def _wanted(self, gathered: str) -> bool:
        """Whether a piece of moved tokens is a request's, or going to be."""
        coming = any(move.gathered == gathered for _, move in self._moving.values())
        return coming or self._space.has(gathered)

    def progress(self) -> Mapping[str, int]:
        """Return how many tokens of how many layers' runs stand elsewhere, by instance."""
        found: dict[str, int] = {}
        for _, _, old in self._space.afar():
            found[old.instance] = found.get(old.instance, 0) + old.tokens
        return found

    def _worth(self, name: str, place: int, old: Old) -> bool:
        if not self._allowed:
            return False
        layers, pace = len(self._space.segments[place].layers), self._pace
        return worth_moving(
            Stored(name, old.instance, old.tokens, self._remaining(name)),
            layers * pace.token_bytes,
            layers * pace.query_bytes,
            pace.bytes_per_s,
            layers * pace.latency_s,
        )

    def _start(self, now: float, name: str, place: int, old: Old) -> bool:
        layers, pace = len(self._space.segments[place].layers), self._pace
        tokens = chunk_tokens(pace.stage_s, pace.bytes_per_s, layers * pace.token_bytes)
        move = self._space.begin_move(name, place, old, tokens)
        if move is None:
            return False
        if not self._order(move):
            self._space.end_move(move, arrived=False)
            return False
        self._moving[move.piece] = (now, move)
        return True
