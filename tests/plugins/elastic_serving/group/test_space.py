"""A driver's books: what it says it uses on each stage is what its requests have there, in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.group.mover import Mover, Pace
from fairlead_elastic_serving.group.space import GroupSpace, Move
from fairlead_elastic_serving.planning.drop_plan import Group, Stage

LAYERS, HEADS, PAGE_TOKENS = 4, 2, 4
SOLO: Group = (Stage("a", 0, LAYERS),)
PAIR: Group = (Stage("a", 0, 2), Stage("b", 2, LAYERS))


class Driver:
    """A driver and the stages that it writes to, as far as its books go: tokens of each piece."""

    def __init__(self) -> None:
        self.pieces: dict[tuple[str, str], int] = {}
        self.ordered: list[Move] = []
        self.stored: dict[str, int] = {}
        self.epoch = 0
        self.space = GroupSpace("a", LAYERS, HEADS, PAGE_TOKENS, 400, 50, self.trim)
        self.enter(SOLO)

    def trim(self, instance: str, piece: str, tokens: int) -> None:
        if tokens <= 0:
            self.pieces.pop((instance, piece), None)
        elif (instance, piece) in self.pieces:
            self.pieces[instance, piece] = tokens

    def enter(self, group: Group, boundaries: frozenset[int] = frozenset({0, 2})) -> None:
        while self.ordered:
            self.land(arrived=False)
        self.epoch += 1
        self.space.enter(group, boundaries, self.stored, self.epoch)
        for allowance in self.space.allowances.values():
            allowance.pages = allowance.used + 60
        self.mover = Mover(self.space, lambda name: 1000, self.order, self.trim, Pace(1e9, 1e-3, 1e-6, 100, 1))

    def order(self, move: Move) -> bool:
        self.ordered.append(move)
        return True

    def land(self, *, arrived: bool) -> None:
        move = self.ordered.pop(0)
        if not arrived:
            self.mover.refused(move.piece)
            return
        key = (move.target, move.gathered)
        self.pieces[key] = self.pieces.get(key, 0) + move.end - move.first
        self.mover.arrived(move.piece, move.first, 0, move.target, move.gathered)
        self.mover.settle(0)

    def compute(self, name: str, tokens: int) -> bool:
        if not self.space.reserve(name, self.stored[name] + tokens):
            return False
        self.stored[name] += tokens
        for segment, part in zip(self.space.segments, self.space.parts(name), strict=True):
            self.pieces[segment.instance, part.piece] = self.stored[name] - part.base
        return True

    def check(self) -> None:
        used = dict.fromkeys(self.space.allowances, 0)
        named = set()
        for name in self.space.names:
            for segment, part in zip(self.space.segments, self.space.parts(name), strict=True):
                assert part.base + part.room >= self.stored[name]
                used[segment.instance] += self.space.pages_of(segment, part.room)
                named.add((segment.instance, part.piece))
                for old in part.older:
                    named.add((old.instance, old.piece))
                    assert self.pieces[old.instance, old.piece] >= old.tokens
                    if old.instance == segment.instance:
                        used[segment.instance] += self.space.pages_of(segment, old.tokens)
        for move in self.ordered:
            used[move.target] += move.pages
        assert {name: allowance.used for name, allowance in self.space.allowances.items()} == used
        assert set(self.pieces) <= named, "a piece that nobody knows of stays behind"
        self.space.check()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_books_are_right_and_nothing_is_left(data: st.DataObject) -> None:
    driver, number, group = Driver(), 0, SOLO
    for _ in range(data.draw(st.integers(0, 40))):
        event = data.draw(st.sampled_from(["open", "compute", "compute", "end", "move", "land", "lose", "plan"]))
        names = sorted(driver.space.names)
        if event == "open" and driver.space.open(f"r{number}", (), data.draw(st.integers(1, 9))) is not None:
            driver.stored[f"r{number}"], number = 0, number + 1
        elif event == "compute" and names:
            driver.compute(data.draw(st.sampled_from(names)), data.draw(st.integers(1, 9)))
        elif event == "end" and names and not driver.ordered:
            name = data.draw(st.sampled_from(names))
            driver.space.release(name, ())
            del driver.stored[name]
        elif event == "move":
            driver.mover.step(0.0, lambda instance: False)
        elif event in ("land", "lose") and driver.ordered:
            driver.land(arrived=event == "land")
        elif event == "plan":
            group = PAIR if group is SOLO else SOLO
            driver.enter(group)
        driver.check()
    while driver.ordered:
        driver.land(arrived=True)
    for name in driver.space.names:
        driver.space.release(name, ())
    assert not driver.pieces and driver.space.used == 0


def _moving(tokens: int) -> Driver:
    driver = Driver()
    assert driver.space.open("r", (), tokens) == 0
    driver.stored["r"] = 0
    driver.compute("r", tokens)
    driver.enter(PAIR)
    return driver


def test_parts_go_one_at_a_time_and_never_where_activations_wait() -> None:
    driver = _moving(20)
    assert [old.tokens for _, _, old in driver.space.afar()] == [20]
    assert not driver.mover.step(0.0, lambda instance: instance == "b") and not driver.ordered
    assert driver.mover.step(0.0, lambda instance: False) and not driver.mover.step(0.0, lambda instance: False)
    [first] = driver.ordered
    assert (first.source, first.target, first.end) == ("a", "b", 20) and first.first > 0, "the last tokens go first"
    while driver.mover.pending():
        driver.land(arrived=True)
        driver.mover.step(0.0, lambda instance: False)
    assert not driver.space.afar() and driver.space.parts("r")[1].base == 20


def test_a_part_that_never_arrives_is_tried_again() -> None:
    driver = _moving(20)
    driver.mover.step(0.0, lambda instance: False)
    assert not driver.mover.step(5.0, lambda instance: False)
    assert driver.mover.step(11.0, lambda instance: False)
    assert driver.ordered[0] == driver.ordered[1]


def test_a_request_that_ends_while_it_moves_leaves_nothing() -> None:
    driver = _moving(20)
    driver.mover.step(0.0, lambda instance: False)
    driver.space.release("r", ())
    assert driver.space.used == driver.ordered[0].pages, "what is under way is still to arrive"
    driver.land(arrived=True)
    assert driver.space.used == 0 and not driver.pieces


def test_a_part_that_arrives_after_it_was_given_up_is_nothing_that_stays() -> None:
    driver = _moving(20)
    driver.mover.step(0.0, lambda instance: False)
    driver.mover.step(11.0, lambda instance: False)
    late = driver.ordered[0]
    driver.land(arrived=True)
    driver.mover.step(12.0, lambda instance: False)
    assert driver.ordered[-1].first < late.first and driver.space.parts("r")[1].base == 20
    before = driver.space.parts("r")[1].older[0].tokens
    driver.land(arrived=True)
    assert driver.space.parts("r")[1].older[0].tokens == before, "another part than the one that is under way"
    driver.land(arrived=True)
    driver.space.release("r", ())
    driver.ordered.append(late)
    driver.land(arrived=True)
    assert driver.space.used == 0 and not driver.pieces


def test_what_does_not_fit_is_refused_and_asked_for() -> None:
    driver = Driver()
    driver.enter(PAIR)
    driver.space.allowances["b"].pages = 4
    assert driver.space.open("r", (), 5) is None and driver.space.used == 0
    assert driver.space.refused() == {"b": 8} and driver.space.refused() == {}
    assert driver.space.open("r", (), 4) == 0 and driver.space.reserve("r", 4) and not driver.space.reserve("r", 5)
    with pytest.raises(Exception, match="not suspended"):
        driver.space.resume("r", 4)
