"""Page tables over an arena: a random life of sequences, checked after every step, and against what was written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from fairlead_elastic_serving.arena.page_arena import Moves, PageArena
from fairlead_elastic_serving.arena.page_tables import HIGH, LOW, PageTables, RowFull
from fairlead_elastic_serving.errors import ElasticServingError, OutOfPages

ROWS = 2
"""Of a sequence."""
PAGE_TOKENS = (3, 5)
WIDTH = 6


class Life(RuleBasedStateMachine):
    """Sequences come, grow, shrink, fork, write and go, while layers are dropped and restored.

    Every page carries a stamp, as bytes would; what each row wrote is remembered beside, page by page.
    """

    sequences = Bundle("sequences")

    @initialize(own=st.integers(4, 14), layers=st.lists(st.integers(1, 4), max_size=3))
    def begin(self, own: int, layers: list[int]) -> None:
        self.arena = PageArena(own + sum(layers), layers)
        self.layers = len(layers)
        self.tables = PageTables(self.arena, 10, WIDTH, PAGE_TOKENS)
        self.stamps = np.zeros(self.arena.pages, int)
        self.written: dict[int, list[list[int]]] = {}
        self.next = 1

    @rule(target=sequences)
    def open(self):
        if self.tables.free_rows < ROWS:
            with pytest.raises(ElasticServingError, match="table rows are asked for"):
                self.tables.open(ROWS)
            return ()
        rows = self.tables.open(ROWS)
        self.written |= {int(row): [[], []] for row in rows}
        return tuple(rows.tolist())

    @rule(rows=sequences, counts=st.lists(st.integers(0, 14), min_size=4, max_size=4))
    def resize(self, rows: tuple[int, ...], counts: list[int]) -> None:
        if not self._alive(rows):
            return
        wanted = np.array(counts, np.int32).reshape(ROWS, 2)
        before = self.tables.tables.copy()
        missing = self.tables.missing(np.array(rows), wanted)
        try:
            self.tables.resize(np.array(rows), wanted)
        except (OutOfPages, RowFull) as error:
            assert (self.tables.tables == before).all()
            assert isinstance(error, RowFull) or missing > self.arena.free
            return
        for row, needed in zip(rows, self.tables.pages_for(wanted), strict=True):
            for tier in (HIGH, LOW):
                stamps = self.written[row][tier]
                del stamps[needed[tier] :]
                for place in range(len(stamps), needed[tier]):
                    stamps.append(self._stamp(self._page(row, tier, place)))

    @rule(target=sequences, rows=sequences)
    def fork(self, rows: tuple[int, ...]):
        if not self._alive(rows) or self.tables.free_rows < ROWS:
            return ()
        target = self.tables.open(ROWS)
        self.tables.fork(np.array(rows), target)
        for row, new in zip(rows, target.tolist(), strict=True):
            self.written[new] = [list(stamps) for stamps in self.written[row]]
        return tuple(target.tolist())

    @rule(sequences=st.lists(sequences, min_size=1, max_size=3, unique=True), tier=st.sampled_from([HIGH, LOW]))
    def write(self, sequences: list[tuple[int, ...]], tier: int) -> None:
        rows = [row for rows in sequences if self._alive(rows) for row in rows if self.written[row][tier]]
        places = [(row * 7 + self.next) % len(self.written[row][tier]) for row in rows]
        copies = self.tables.copies(np.array(rows, int), tier, np.array(places, int))
        try:
            moves = self.tables.own(np.array(rows, int), tier, np.array(places, int))
        except OutOfPages:
            assert copies > self.arena.free
            return
        assert len(moves) == copies
        self._copy(moves)
        for row, place in zip(rows, places, strict=True):
            self.written[row][tier][place] = self._stamp(self._page(row, tier, place))

    @rule(rows=consumes(sequences))
    def close(self, rows: tuple[int, ...]) -> None:
        if self._alive(rows):
            self.tables.close(np.array(rows))
            for row in rows:
                del self.written[row]

    @rule(layer=st.integers(0, 2))
    def drop(self, layer: int) -> None:
        if layer < self.layers and layer not in self.arena.dropped:
            self.arena.drop([layer])

    @rule(layer=st.integers(0, 2))
    def restore(self, layer: int) -> None:
        if layer in self.arena.dropped:
            try:
                moves = self.arena.restore(layer)
            except OutOfPages:
                return
            self._copy(moves)
            self.tables.apply(moves)
            # The parameters come back: whoever still pointed there would read them.
            self.stamps[list(self.arena.layer_range(layer))] = -1

    @rule(limit=st.integers(0, 5))
    def evacuate(self, limit: int) -> None:
        moves = self.arena.evacuate(limit)
        self._copy(moves)
        self.tables.apply(moves)

    @invariant()
    def nothing_is_lost_or_shared_by_mistake(self) -> None:
        self.tables.check()

    @invariant()
    def every_row_reads_what_it_wrote(self) -> None:
        for row, tiers in self.written.items():
            for tier, stamps in enumerate(tiers):
                found = [int(self.stamps[self._page(row, tier, place)]) for place in range(len(stamps))]
                assert found == stamps

    def _alive(self, rows: tuple[int, ...]) -> bool:
        return bool(rows) and all(row in self.written for row in rows)

    def _page(self, row: int, tier: int, place: int) -> int:
        return int(self.tables.tables[row, WIDTH - 1 - place if tier == LOW else place])

    def _stamp(self, page: int) -> int:
        self.next += 1
        self.stamps[page] = self.next
        return self.next

    def _copy(self, moves: Moves) -> None:
        self.stamps[moves.target] = self.stamps[moves.source]


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_rows_that_share_a_page_among_themselves_keep_one_of_it() -> None:
    arena = PageArena(6)
    tables = PageTables(arena, 3, 2, (2, 2))
    rows = tables.open(3)
    tables.resize(rows[:1], np.array([[1, 0]]))
    tables.fork(rows[[0, 0]], rows[1:])
    assert tables.copies(rows[:2], HIGH, np.zeros(2, int)) == 2, "the third keeps it"
    assert tables.copies(rows, HIGH, np.array([0, 0, 1])) == 2, "who has no page there copies none"
    moves = tables.own(rows, HIGH, np.zeros(3, int))
    assert len(moves) == 2 and arena.used == 3
    tables.check()


def test_tiers_must_not_meet() -> None:
    arena = PageArena(9)
    tables = PageTables(arena, 1, 3, (2, 2))
    rows = tables.open(1)
    tables.resize(rows, np.array([[4, 2]]))
    with pytest.raises(RowFull, match=r"table row 0: \[2, 2\] pages; accepted: 3 in all"):
        tables.resize(rows, np.array([[4, 3]]))
    assert tables.counts.tolist() == [[4, 2]]
    tables.check()


def test_closed_rows_are_refused() -> None:
    tables = PageTables(PageArena(2), 2, 1, (1, 1))
    with pytest.raises(ElasticServingError, match=r"table rows \[1\] belong to no sequence"):
        tables.resize(np.array([1]), np.array([[1, 0]]))


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="accepted: 1 and above"):
        PageTables(PageArena(2), 0, 1, (1, 1))


def test_one_more_token_is_counted_only_where_no_page_is_needed_for_it() -> None:
    tables = PageTables(PageArena(20), 4, WIDTH, PAGE_TOKENS)
    rows = tables.open(2)
    tables.resize(rows, np.array([[1, 0], [2, 4]], np.int32))
    assert tables.advance(rows) and tables.counts[rows].tolist() == [[2, 0], [3, 4]]
    # The second row's page is full now.
    assert not tables.advance(rows) and tables.counts[rows].tolist() == [[2, 0], [3, 4]]
    tables.resize(rows, np.array([[2, 0], [4, 4]], np.int32))
    target = tables.open(2)
    tables.fork(rows, target)
    assert not tables.advance(target)
    tables.close(rows)
    assert tables.advance(target)
    tables.check()


def test_many_sequences_are_counted_at_once_each_by_itself() -> None:
    arena = PageArena(20)
    tables = PageTables(arena, 6, 2, (3, 1))
    rows = tables.open(6).reshape(3, 2)
    tables.resize(rows.reshape(-1), np.array([[1, 0], [4, 0], [2, 0], [3, 0], [6, 0], [5, 0]], np.int32))
    # The second's last row has a full page, the third's first row both of its pages full.
    assert tables.advance_each(rows).tolist() == [True, False, False]
    assert tables.counts[rows.reshape(-1), HIGH].tolist() == [2, 5, 2, 3, 6, 5]
    tables.check()
