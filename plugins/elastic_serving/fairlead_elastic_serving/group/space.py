"""Room for one driver's requests on all stages of its group: what it may use there, and where what is stored stands.

A request has a part for each segment of layers: the piece that the segment's stage writes, and older pieces, there or
elsewhere, of tokens that were stored under an earlier plan. Tokens are counted here and nobody is asked: the stages
have said beforehand how many pages this driver may use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from ..arena.allocation import I32
from ..errors import ElasticServingError
from ..planning.drop_plan import Group, Stage
from ..scheduling.requests import SwapIn, SwapOut
from .quotas import Allowance
from .row_store import cut, part_name

Trim = Callable[[str, str, int], None]
"""Tells an instance to keep only the first tokens of a piece."""


@dataclass(slots=True)
class Old:
    """Tokens in a piece that is written no more."""

    instance: str
    piece: str
    tokens: int


@dataclass(slots=True)
class Part:
    """A request in one segment. `room` tokens are reserved in ``piece``; ``older`` ones come before them."""

    piece: str
    room: int = 0
    older: list[Old] = field(default_factory=list)

    @property
    def base(self) -> int:
        """Tokens that stand in older pieces."""
        return sum(old.tokens for old in self.older)


@dataclass(frozen=True, slots=True)
class Move:
    """Tokens [first, end) of an older piece that go to the segment's own stage.

    Attributes:
        name: of the request.
        segment: its place.
        source: the instance that holds them.
        piece: in which.
        target: the stage's instance.
        gathered: the piece that they are put behind.
        first: token of the piece, from which on to its end.
        end: the piece's tokens.
        pages: that were reserved for it at the target.
    """

    name: str
    segment: int
    source: str
    piece: str
    target: str
    gathered: str
    first: int
    end: int
    pages: int


class GroupSpace:
    """See `engine.space.KVSpace`.

    Args:
        me: this driver.
        layers: of the model.
        kv_heads: of a layer.
        page_tokens: tokens in a page.
        lasting: pages that this instance has without dropping: what a request must fit into.
        width: pages of a table row.
        trim: sends orders to stages, behind what was sent to them before.
    """

    def __init__(
        self, me: str, layers: int, kv_heads: int, page_tokens: int, lasting: int, width: int, trim: Trim
    ) -> None:
        self.me, self.lasting, self.page_tokens = me, lasting, page_tokens
        self.segments: Group = (Stage(me, 0, layers),)
        self.allowances: dict[str, Allowance] = {me: Allowance()}
        self._layers, self._kv_heads, self._width, self._trim = layers, kv_heads, width, trim
        self._requests: dict[str, list[Part]] = {}
        self._serials = count()
        self._refused: dict[str, int] = {}

    @property
    def capacity(self) -> int:
        """Pages of all stages that this driver may use."""
        return max(self.lasting, self.used, sum(allowance.pages for allowance in self.allowances.values()))

    @property
    def used(self) -> int:
        """Pages that its requests use there."""
        return sum(allowance.used for allowance in self.allowances.values())

    @property
    def free(self) -> int:
        """Pages that its requests may take still, on all stages together."""
        return sum(max(0, allowance.free) for allowance in self.allowances.values())

    @property
    def most_tokens(self) -> int:
        """Tokens that a request can have: what fits into this instance when it is alone."""
        return min(self._width, self.lasting // (self._layers * self._kv_heads)) * self.page_tokens

    @property
    def names(self) -> tuple[str, ...]:
        """Requests that hold something."""
        return tuple(self._requests)

    def needed(self, tokens: int) -> int:
        """Return the pages that a request of so many tokens takes, on all stages together."""
        return self._layers * self._kv_heads * self._pages(tokens)

    def needed_at(self, tokens: int) -> dict[str, int]:
        """Return the pages that a request of so many tokens takes on each instance."""
        found = dict.fromkeys(self.allowances, 0)
        for segment in self.segments:
            found[segment.instance] += self.pages_of(segment, tokens)
        return found

    def open(self, name: str, known: Sequence[int], room: int) -> int | None:
        """Start a request, with room for its tokens; nothing is shared in a group. None if there is no room."""
        wanted = self.needed_at(room)
        if not self._take(wanted):
            return None
        serial = next(self._serials)
        self._requests[name] = [Part(f"{self.me}:{serial}:{segment.first}", room) for segment in self.segments]
        return 0

    def reserve(self, name: str, tokens: int) -> bool:
        """Give a request room for so many tokens in all; false, changing nothing, if there is none."""
        parts = self._requests[name]
        rooms = [max(part.room, tokens - part.base) for part in parts]
        if all(self._pages(part.room) == self._pages(room) for part, room in zip(parts, rooms, strict=True)):
            # Most tokens find room in the last page, and need nobody's leave.
            for part, room in zip(parts, rooms, strict=True):
                part.room = room
            return True
        wanted = dict.fromkeys(self.allowances, 0)
        for segment, part, room in zip(self.segments, parts, rooms, strict=True):
            wanted[segment.instance] += self.pages_of(segment, room) - self.pages_of(segment, part.room)
        if not self._take(wanted):
            return False
        for part, room in zip(parts, rooms, strict=True):
            part.room = room
        return True

    def stored(self, name: str, known: Sequence[int]) -> None:
        """Nothing is shared in a group."""

    def relieve(self, pages: int, names: Sequence[str]) -> bool:
        """There is no other way to make room than to preempt."""
        return False

    def suspend(self, name: str, stored: int) -> SwapOut | None:
        """Nothing is swapped out in a group: its pages are on several instances."""
        return None

    def resume(self, name: str, room: int) -> SwapIn | None:
        """Nothing was suspended; raises ElasticServingError."""
        raise ElasticServingError(f"request {name!r} is not suspended")

    def release(self, name: str, known: Sequence[int]) -> None:
        """Forget a request, and tell all who hold a piece of it."""
        for segment, part in zip(self.segments, self._requests.pop(name), strict=True):
            self._give(segment, self.pages_of(segment, part.room))
            self._trim(segment.instance, part.piece, 0)
            for old in part.older:
                if old.instance == segment.instance:
                    self._give(segment, self.pages_of(segment, old.tokens))
                self._trim(old.instance, old.piece, 0)

    def rows(self, name: str) -> I32:
        """Rows are known where they are; none here: int32 [0, kv_heads]."""
        return np.zeros((0, self._kv_heads), np.int32)

    def check(self) -> None:
        """Raise ElasticServingError unless what is used is what requests and moves have."""
        for instance, allowance in self.allowances.items():
            if not allowance.used >= 0:
                raise ElasticServingError(f"{allowance.used} pages are used on {instance!r}")

    def parts(self, name: str) -> list[Part]:
        """Return a request's parts, one for each segment."""
        return self._requests[name]

    def take_over(self, stored: Mapping[str, int]) -> dict[str, str]:
        """Take requests over whose rows were this instance's alone, with so many tokens stored each.

        Returns:
            the name of each request's piece of all layers; `enter` must follow.
        """
        named = {}
        for name, tokens in stored.items():
            piece = named[name] = f"{self.me}:{next(self._serials)}:0"
            self._requests[name] = [Part(piece, tokens)]
        return named

    def enter(self, group: Group, boundaries: Iterable[int], stored: Mapping[str, int], epoch: int) -> None:
        """Change over to a plan; nothing is in flight. What every driver may use is not known yet.

        Args:
            group: its stages.
            boundaries: at which all pieces of all instances were cut.
            stored: tokens of each request; those that are not named keep nothing.
            epoch: of the plan.
        """
        before = self.segments
        edges = sorted({*boundaries, *(stage.first for stage in (*group, *before))})
        self.segments = tuple(
            Stage(stage.instance, part.start, part.stop)
            for stage in group
            for part in (cut(stage.layers, edges) if len(stage.layers) else [])
        )
        self.allowances = {stage.instance: Allowance() for stage in group}
        for name, parts in self._requests.items():
            self._requests[name] = self._entered(before, parts, stored[name], epoch)
        for parts in self._requests.values():
            for segment, part in zip(self.segments, parts, strict=True):
                allowance = self.allowances[segment.instance]
                allowance.used += self.pages_of(segment, part.room)
                allowance.used += sum(
                    self.pages_of(segment, old.tokens) for old in part.older if old.instance == segment.instance
                )
        for allowance in self.allowances.values():
            allowance.pages = allowance.used

    def charged(self, instance: str) -> list[str]:
        """Return the pieces at an instance that count against this driver's quota there."""
        found = []
        for parts in self._requests.values():
            for segment, part in zip(self.segments, parts, strict=True):
                if segment.instance == instance:
                    found.append(part.piece)
                    found += [old.piece for old in part.older if old.instance == instance]
        return found

    def holders(self, name: str) -> set[str]:
        """Return the instances that hold something of a request."""
        found = set()
        for segment, part in zip(self.segments, self._requests[name], strict=True):
            found |= {segment.instance, *(old.instance for old in part.older)}
        return found

    def has(self, piece: str) -> bool:
        """Return whether a request has moved tokens in a piece."""
        return any(old.piece == piece for parts in self._requests.values() for part in parts for old in part.older)

    def afar(self) -> list[tuple[str, int, Old]]:
        """Return what stands elsewhere than where it is used: request, place of the segment, and the piece."""
        return [
            (name, place, old)
            for name, parts in self._requests.items()
            for place, (segment, part) in enumerate(zip(self.segments, parts, strict=True))
            for old in part.older
            if old.instance != segment.instance
        ]

    def plain(self) -> bool:
        """Whether each request stands in as many pieces as there are segments, all of them on this instance."""
        alone = all(segment.instance == self.me for segment in self.segments)
        return alone and not any(part.older for parts in self._requests.values() for part in parts)

    def begin_move(self, name: str, place: int, old: Old, tokens: int) -> Move | None:
        """Reserve room for the last tokens of an older piece at the segment's stage; None if there is none."""
        segment = self.segments[place]
        part = self._requests[name][place]
        gathered = next((item for item in part.older if item.instance == segment.instance), None)
        have = gathered.tokens if gathered else 0
        first = max(0, old.tokens - tokens)
        pages = self.pages_of(segment, have + old.tokens - first) - self.pages_of(segment, have)
        if not self._take({segment.instance: pages}):
            return None
        target = gathered.piece if gathered else f"{part.piece}+{segment.first}"
        return Move(name, place, old.instance, old.piece, segment.instance, target, first, old.tokens, pages)

    def end_move(self, move: Move, *, arrived: bool) -> bool:
        """Take note that a move's tokens stand at their target, or never will.

        Returns:
            whether its request still has the piece; if not, the target is told to forget what arrived.
        """
        parts = self._requests.get(move.name, [])
        part = parts[move.segment] if move.segment < len(parts) else None
        old = next((item for item in part.older if item.piece == move.piece), None) if part else None
        if part is None or old is None or not arrived or old.tokens != move.end:
            self.allowances[move.target].used -= move.pages
            if arrived:
                self._trim(move.target, move.gathered, 0)
            return False
        old.tokens = move.first
        if not old.tokens:
            part.older.remove(old)
        into = next((item for item in part.older if item.piece == move.gathered), None)
        if into is None:
            part.older.append(Old(move.target, move.gathered, move.end - move.first))
        else:
            into.tokens += move.end - move.first
        return True

    def refused(self) -> dict[str, int]:
        """Return, and forget, the pages that requests were refused on each instance since the last call."""
        found, self._refused = self._refused, {}
        return found

    def _entered(self, before: Group, parts: list[Part], stored: int, epoch: int) -> list[Part]:
        """A request's parts under the new segments, which are cuts of the old ones."""
        found = []
        for segment in self.segments:
            place = next(p for p, old in enumerate(before) if old.first <= segment.first < old.end)
            was, part = before[place], parts[place]

            def called(piece: str, was: Stage = was, segment: Stage = segment) -> str:
                return part_name(piece, was.layers, segment.layers)

            older = [Old(old.instance, called(old.piece), old.tokens) for old in part.older]
            written, piece = stored - part.base, called(part.piece)
            if was.instance == segment.instance:
                found.append(Part(piece, max(part.room, written), older))
                continue
            if written > 0:
                older.append(Old(was.instance, piece, written))
            elif part.room:
                self._trim(was.instance, piece, 0)
            found.append(Part(f"{piece}@{epoch}", 0, older))
        return found

    def pages_of(self, segment: Stage, tokens: int) -> int:
        """Return the pages that so many tokens take in a segment."""
        return len(segment.layers) * self._kv_heads * self._pages(tokens)

    def _pages(self, tokens: int) -> int:
        return -(-max(0, tokens) // self.page_tokens)

    def _take(self, wanted: Mapping[str, int]) -> bool:
        short = {name: pages for name, pages in wanted.items() if pages > max(0, self.allowances[name].free)}
        if short:
            for name, pages in short.items():
                self._refused[name] = max(self._refused.get(name, 0), pages)
            return False
        for name, pages in wanted.items():
            self.allowances[name].used += pages
        return True

    def _give(self, segment: Stage, pages: int) -> None:
        self.allowances[segment.instance].used -= pages
