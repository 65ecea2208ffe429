"""Who calls for an agreement, who takes part, and what becomes of an agreement. No network, no clock."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fairlead_isac.collaboration.exchange import HOLD_S, Exchange, Offer, own_part
from fairlead_isac.collaboration.letters import MOST_PERIOD, Letter, read_letter
from fairlead_isac.collaboration.network import CellLinks, SharedTarget, SharedTask, SharedUser, Sight
from fairlead_isac.errors import IsacError

USERS = (SharedUser("ann"), SharedUser("bob"))


def offer(cell: str, ann: float, bob: float, *promised: str) -> Offer:
    """What a cell can do: rates in Mbit/s, and requests that take a tenth of its time each."""
    targets = tuple(SharedTarget(name, 1.0, 0.2) for name in promised)
    sights = {name: Sight(10.0, 1e5, 1e6) for name in promised}
    links = CellLinks(cell, {"ann": 1e6 * ann, "bob": 1e6 * bob}, sights, 1e9)
    return Offer(SharedTask(USERS, targets, 1e10), links)


class Street:
    """Two cells, whose letters arrive at once unless one is cut off."""

    def __init__(self) -> None:
        self.cells = {name: Exchange(name, patience=8) for name in ("a", "b")}
        self.offers: dict[str, Offer | None] = {"a": offer("a", 100, 10, "r1"), "b": offer("b", 10, 100)}
        self.cut: set[str] = set()
        self.now = 0.0

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            for name, cell in self.cells.items():
                cell.tick(self.now, self.offers[name], [other for other in self.cells if other != name])
            for _ in range(10):
                self._carry()

    def _carry(self) -> None:
        for name, cell in self.cells.items():
            for other in self.cells:
                letter = cell.letter(other, self.now, 0, 1) if other != name else None
                if letter is not None and not {name, other} & self.cut:
                    self.cells[other].hear(self.now, read_letter(letter.model_dump_json().encode()))


def test_cells_agree_and_each_sees_its_own_part() -> None:
    street = Street()
    street.run(2.0)
    first, second = (street.cells[name].agreed for name in ("a", "b"))
    assert first is not None and second is not None and first.agreement == second.agreement
    assert first.agreement.serving == {"ann": "a", "bob": "b"} and first.cells == ("a", "b")
    assert first.agreement.time_share["a"]["a.r1"] == pytest.approx(0.1, rel=0.02)
    links = replace(street.offers["a"].links, sights={"r1": Sight(10.0, 1, 1), "r2": Sight(5.0, 1, 1)})  # type: ignore[union-attr]
    mine = own_part(first.agreement, links)
    assert mine.time_share["a"]["r1"] == pytest.approx(0.1, rel=0.02)
    assert mine.time_share["a"]["r2"] == pytest.approx(0.2), "promised after the agreement"
    crowded = own_part(first.agreement, replace(links, most_sensing=0.15))
    assert crowded.time_share["a"]["r1"] + crowded.time_share["a"]["r2"] == pytest.approx(0.15)
    assert "of its time is left" in crowded.unmet["r1"]


def test_a_new_promise_is_agreed_upon_at_once() -> None:
    street = Street()
    street.run(2.0)
    before = street.cells["a"].period
    street.offers["b"] = offer("b", 10, 100, "r7")
    street.run(1.0)
    assert street.cells["a"].period > before
    agreed = street.cells["b"].agreed
    assert agreed is not None and agreed.agreement.sensing["b.r7"] == ("b",)


def test_who_is_cut_off_or_takes_no_part_is_left_out_and_comes_back() -> None:
    street = Street()
    street.run(2.0)
    street.cut.add("b")
    street.run(2.5)
    assert all(cell.agreed is None for cell in street.cells.values()), "each is alone"
    street.cut.clear()
    street.run(2.0)
    assert all(cell.agreed is not None for cell in street.cells.values())
    street.offers["a"] = None
    street.run(2.5)
    assert street.cells["b"].agreed is None
    street.offers["a"] = offer("a", 100, 10)
    street.run(2.0)
    found = street.cells["b"].agreed
    assert found is not None and found.cells == ("a", "b")


def test_messages_of_another_period_are_dropped_and_old_agreements_end() -> None:
    street = Street()
    street.run(2.0)
    cell = street.cells["a"]
    text = json.dumps({"kind": "report", "term": 0, "cell": "b", "rate_bits_per_s": {}, "information": {}})
    cell.hear(street.now, Letter(cell="b", replica=0, epoch=1, opener="a", period=0, texts=(text,)))
    assert cell.dropped == 1
    for _ in range(round(HOLD_S / 1.5) + 2):
        street.now += 1.5
        street.cells["b"].hear(street.now, Letter(cell="a", replica=0, epoch=1, period=0))
        street.cells["b"].tick(street.now, street.offers["b"], ["a"])
    assert street.cells["b"].agreed is None


def test_more_promises_than_can_be_told_and_a_period_without_sense_do_no_harm() -> None:
    street = Street()
    street.offers["a"] = offer("a", 100, 10, *(f"r{number}" for number in range(70)))
    street.run(1.0)
    senseless = Letter(cell="b", replica=0, epoch=1, opener="b", period=MOST_PERIOD)
    street.cells["a"].hear(street.now, senseless)
    before = street.cells["a"].period
    street.run(3.0)
    agreed = street.cells["b"].agreed
    assert agreed is not None and agreed.period > before
    found = street.offers["a"]
    assert found is not None
    shares = own_part(agreed.agreement, found.links).time_share["a"]
    assert {"r0", "r69"} <= shares.keys()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"period": -1}, "period"),
        ({"targets": {"r1": 0}}, "targets.r1"),
        ({"call": {"cells": [], "users": [], "targets": [], "compute_cycles_per_s": 1}}, "call.cells"),
        ({"texts": ['{"kind": "settled", "term": 0, "leader": "a", "agreement": {}}']}, "Agreement"),
    ],
)
def test_what_is_wrong_in_a_letter_is_named(change: dict[str, object], said: str) -> None:
    letter = {"cell": "a", "replica": 0, "epoch": 1, "period": 0, **change}
    with pytest.raises(IsacError, match=said):
        read_letter(json.dumps(letter).encode())


@pytest.mark.parametrize("field", ["time_share", "sensing", "rate_bits_per_s", "serving", "unmet"])
def test_an_agreement_whose_parts_are_of_another_kind_is_refused(field: str) -> None:
    street = Street()
    street.run(2.0)
    agent = street.cells["a"]._agent
    assert agent is not None
    agent._tell()
    letter = street.cells["a"].letter("b", street.now, 0, 1)
    assert letter is not None
    settled = json.loads(letter.texts[-1])
    settled["agreement"][field] = {"a": {"b": [1]}}
    with pytest.raises(IsacError, match=field):
        read_letter(letter.model_copy(update={"texts": (json.dumps(settled),)}).model_dump_json().encode())
