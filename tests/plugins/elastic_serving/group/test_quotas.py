"""Quotas: what drivers may use fits into the stage at every moment, whatever is delayed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_elastic_serving.arena.page_arena import PageArena
from fairlead_elastic_serving.arena.page_tables import PageTables
from fairlead_elastic_serving.errors import ElasticServingError
from fairlead_elastic_serving.group.post import Post
from fairlead_elastic_serving.group.quotas import Allowance, Answer, Ledger, Offer, quotas
from fairlead_elastic_serving.group.row_store import RowStore
from fairlead_elastic_serving.group.space import GroupSpace
from fairlead_elastic_serving.group.stage_quotas import StageQuotas
from fairlead_elastic_serving.links.link import Inbox

AMOUNTS = st.integers(0, 40)


@given(st.dictionaries(st.sampled_from("abc"), st.tuples(AMOUNTS, AMOUNTS), min_size=1), st.integers(0, 100))
def test_shares_fit_keep_what_is_held_and_leave_nothing_over(drivers: dict, spare: int) -> None:
    held = {name: pair[0] for name, pair in drivers.items()}
    demand = {name: pair[1] for name, pair in drivers.items()}
    capacity = sum(held.values()) + spare
    found = quotas(capacity, held, demand)
    assert sum(found.values()) == capacity
    assert all(found[name] >= held[name] for name in held)
    if sum(demand.values()) <= spare:
        assert all(found[name] >= held[name] + demand[name] for name in held)
    with pytest.raises(ElasticServingError):
        quotas(sum(held.values()) - 1, held, demand)


@given(st.data())
def test_all_that_may_be_used_fits_under_any_delay(data: st.DataObject) -> None:
    capacity = data.draw(st.integers(10, 80))
    ledger = Ledger(capacity, dict.fromkeys("ab", 0))
    drivers = {name: Allowance() for name in "ab"}
    demand = dict.fromkeys("ab", 0)
    down: dict[str, list[Offer]] = {name: [] for name in "ab"}
    up: dict[str, list[Answer]] = {name: [] for name in "ab"}
    for _ in range(data.draw(st.integers(0, 40))):
        name = data.draw(st.sampled_from("ab"))
        event = data.draw(st.sampled_from(["offer", "hear", "answer", "take", "give", "ask", "shrink"]))
        if event == "offer":
            for driver, offer in ledger.offers().items():
                down[driver].append(offer)
        elif event == "hear" and down[name]:
            up[name].append(drivers[name].told(down[name].pop(0), demand[name]))
        elif event == "answer" and up[name]:
            ledger.answered(name, up[name].pop(0))
        elif event == "take":
            drivers[name].take(data.draw(st.integers(0, drivers[name].free)))
        elif event == "give":
            drivers[name].take(-data.draw(st.integers(0, drivers[name].used)))
        elif event == "ask":
            demand[name] = data.draw(AMOUNTS)
            up[name].append(Answer(0, 0, drivers[name].used, demand[name]))
        elif event == "shrink":
            ledger.resize(data.draw(st.integers(0, 100)))
        assert ledger.granted <= ledger.capacity
        assert sum(driver.pages for driver in drivers.values()) <= ledger.capacity
        assert all(drivers[driver].pages <= ledger.granted_to(driver) for driver in drivers)


def test_pages_move_to_the_driver_that_asks() -> None:
    ledger, drivers = Ledger(100, {"a": 0, "b": 0}), {"a": Allowance(), "b": Allowance()}
    demand = {"a": 0, "b": 0}

    def settle() -> None:
        for _ in range(3):
            for name, offer in ledger.offers().items():
                ledger.answered(name, drivers[name].told(offer, demand[name]))

    settle()
    assert [drivers[name].pages for name in "ab"] == [50, 50]
    drivers["a"].take(10)
    demand["b"] = 90
    ledger.answered("a", Answer(0, 0, 10, 0))
    ledger.answered("b", Answer(0, 0, 0, 90))
    settle()
    assert [drivers[name].pages for name in "ab"] == [10, 90]
    ledger.forget("b")
    settle()
    assert drivers["a"].pages == 100
    with pytest.raises(ElasticServingError):
        drivers["a"].take(91)


def test_a_stage_that_needs_pages_gets_them_back() -> None:
    ledger, driver = Ledger(100, {"a": 0}), Allowance()
    for name, offer in ledger.offers().items():
        ledger.answered(name, driver.told(offer, 0))
    assert not ledger.resize(60)
    for name, offer in ledger.offers(60).items():
        ledger.answered(name, driver.told(offer, 0))
    assert ledger.resize(60) and driver.pages == 60


def test_a_stage_with_fewer_pages_lowers_what_it_granted_first() -> None:
    inbox = Inbox()
    arena = PageArena(100)
    stage = StageQuotas(arena, RowStore(PageTables(arena, 4, 4, (4, 4)), 2), Post("a", inbox, dict))
    space = GroupSpace("a", 2, 2, 4, 100, 4, lambda instance, piece, tokens: None)
    stage.begin(["a"])
    stage.announce(space, {}, 1)

    def settle() -> None:
        while (received := inbox.take()) is not None:
            message = received.message
            if message.kind == "entered":
                stage.entered("a", message)
            elif message.kind == "offer":
                stage.offered("a", message, space, 0)
            else:
                stage.answered("a", message)

    settle()
    assert space.allowances["a"].pages == 100
    arena.retire(40)
    for _ in range(2):
        stage.offer(1)
        settle()
    assert space.allowances["a"].pages == 60
    stage.check()
