"""Keys and values that an instance holds, for itself and for others: pieces, each a run of layers of one request.

A piece has a name that its driver gave it. The driver says where which tokens of a request are; an instance only keeps
pieces, attends to them, and gives them back when it is told to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..arena.allocation import I32
from ..arena.page_tables import HIGH, PageTables
from ..errors import ElasticServingError


@dataclass(slots=True)
class Piece:
    """Rows of the tables, and how many tokens there is room for.

    Attributes:
        driver: whose request it is.
        layers: of the model.
        rows: int32 [layers, kv_heads].
        room: tokens.
        charged: whether it counts against its driver's quota; else it waits to be moved away or to end.
    """

    driver: str
    layers: range
    rows: I32
    room: int
    charged: bool


class RowStore:
    """All pieces of one instance.

    Args:
        tables: over its arena.
        kv_heads: of a layer.
    """

    def __init__(self, tables: PageTables, kv_heads: int) -> None:
        self.tables = tables
        self.kv_heads = kv_heads
        self._pieces: dict[str, Piece] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._pieces

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all pieces."""
        return tuple(self._pieces)

    def piece(self, name: str) -> Piece:
        """Return a piece; raises ElasticServingError if it is not here."""
        if name not in self._pieces:
            raise ElasticServingError(f"piece {name!r} is not here")
        return self._pieces[name]

    def adopt(self, name: str, driver: str, layers: range, rows: I32, tokens: int) -> None:
        """Take rows over that were somebody else's, with the room for ``tokens`` tokens that they have at least."""
        self._refuse_known(name)
        piece = self._pieces[name] = Piece(driver, layers, rows, tokens, charged=True)
        self._resize(piece, tokens)

    def ensure(self, name: str, driver: str, layers: range, tokens: int) -> I32:
        """Return the rows of a piece, int32 [layers, kv_heads], with room for ``tokens``; it is made if it is new.

        Raises:
            OutOfPages: nothing was changed.
        """
        piece = self._pieces.get(name)
        if piece is None:
            number = len(layers) * self.kv_heads
            if self.tables.free_rows < number:
                self.tables.grow(number)
            rows = self.tables.open(number).reshape(len(layers), self.kv_heads)
            piece = Piece(driver, layers, rows, 0, charged=True)
            try:
                self._resize(piece, self._whole(tokens))
            except ElasticServingError:
                self.tables.close(rows.reshape(-1))
                raise
            self._pieces[name] = piece
        elif tokens > piece.room:
            self._resize(piece, self._whole(tokens))
        return piece.rows

    def trim(self, name: str, tokens: int) -> None:
        """Keep the first tokens of a piece only; without any it is gone. Harmless where there is no such piece."""
        piece = self._pieces.get(name)
        if piece is None:
            return
        if tokens <= 0:
            del self._pieces[name]
            self.tables.close(piece.rows.reshape(-1))
        elif tokens < piece.room:
            self._resize(piece, tokens)

    def trim_all(self, name: str, tokens: int) -> None:
        """The same for a piece that was cut since, in all of its parts."""
        for part in [part for part in self._pieces if part == name or part.startswith(f"{name}/")]:
            self.trim(part, tokens)

    def release(self, name: str) -> Piece:
        """Give a piece with its rows to the caller."""
        piece = self.piece(name)
        del self._pieces[name]
        return piece

    def forget(self, drivers: Collection[str]) -> None:
        """Give everything back that some drivers have here."""
        for name in [name for name, piece in self._pieces.items() if piece.driver in drivers]:
            self.trim(name, 0)

    def split(self, boundaries: Iterable[int]) -> None:
        """Cut pieces at layers: `part_name` says what the parts are called."""
        cuts = sorted(set(boundaries))
        for name, piece in list(self._pieces.items()):
            layers = piece.layers
            for part in cut(layers, cuts):
                rows = piece.rows[part.start - layers.start : part.stop - layers.start]
                self._pieces[part_name(name, layers, part)] = Piece(piece.driver, part, rows, piece.room, piece.charged)

    def charge(self, driver: str, names: Collection[str]) -> None:
        """Count exactly these pieces of a driver against its quota."""
        for name, piece in self._pieces.items():
            if piece.driver == driver:
                piece.charged = name in names

    def uncharge(self) -> None:
        """Count no piece against any quota, until its driver says which."""
        for piece in self._pieces.values():
            piece.charged = False

    def pages(self, driver: str | None = None, *, charged: bool) -> int:
        """Return the pages of pieces that are charged, or that are not; of one driver or of all."""
        return sum(
            self._pages(piece)
            for piece in self._pieces.values()
            if piece.charged is charged and driver in (None, piece.driver)
        )

    def _pages(self, piece: Piece) -> int:
        return piece.rows.size * -(-piece.room // self.tables.page_tokens[HIGH])

    def _whole(self, tokens: int) -> int:
        """As many tokens as their pages hold: a piece that grows token by token is touched once a page."""
        page = int(self.tables.page_tokens[HIGH])
        return -(-tokens // page) * page

    def _resize(self, piece: Piece, tokens: int) -> None:
        counts = np.zeros((piece.rows.size, 2), np.int32)
        counts[:, HIGH] = tokens
        self.tables.resize(piece.rows.reshape(-1), counts)
        piece.room = tokens

    def _refuse_known(self, name: str) -> None:
        if name in self._pieces:
            raise ElasticServingError(f"piece {name!r} is here already")


def cut(layers: range, boundaries: Iterable[int]) -> list[range]:
    """Cut a run of layers at boundaries within it."""
    inside = [boundary for boundary in sorted(set(boundaries)) if layers.start < boundary < layers.stop]
    edges = [layers.start, *inside, layers.stop]
    return [range(first, end) for first, end in pairwise(edges)]


def part_name(name: str, layers: range, part: range) -> str:
    """Return what a part of a piece is called: the first keeps the name."""
    return name if part.start == layers.start else f"{name}/{part.start}"
