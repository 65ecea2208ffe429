"""Replicas as cells that agree over HTTP: who serves whom, who is left out, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fairlead_isac.requests.request import read_request
from tests.patience import patient
from tests.plugins.isac.service.instances import Instance, introduce, until

#: One for all: a client takes a while to make.
HTTP = httpx.Client(timeout=120)
LETTER: dict[str, Any] = {"cell": "middle", "replica": 1, "epoch": 11, "opener": "middle", "period": 7}


@pytest.fixture
def make() -> Iterator[Callable[..., list[Instance]]]:
    made: list[Instance] = []

    def start(count: int, **changes: Any) -> list[Instance]:
        made.extend(Instance(replica, **changes) for replica in range(count))
        return made

    yield start
    for each in made:
        each.close()


def get(instance: Instance, path: str) -> Any:
    return HTTP.get(instance.url + path).json()


def cells(instance: Instance) -> dict[str, Any]:
    return get(instance, "/status")["cells"]


def agreed(instances: list[Instance]) -> bool:
    """Whether each has an agreement with all of the others."""
    names = {each.cell.settings.cell.name for each in instances}
    return all({*cells(each)["with"], cells(each)["cell"]} == names for each in instances)


def counted(instance: Instance, name: str) -> float:
    lines = HTTP.get(instance.url + "/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"fairlead_isac_{name}"))


def test_two_cells_share_their_users_and_each_keeps_what_it_promised(make: Callable[..., list[Instance]]) -> None:
    west, middle = both = make(2)
    until(lambda: "decides alone" in str(get(west, "/decisions?layer=cell&last=1")), "that it is alone")
    assert all(rate > 0 for rate in get(west, "/status")["rate_bits_per_s"].values()), "alone, it serves all"
    asked = middle.cell.ask(read_request({"needs": {"refresh_s": 0.2, "horizontal_m": 20}, "target": "car"}))
    assert asked.admission.met
    introduce(*both)
    until(lambda: agreed(both) and f"middle.{asked.id}" in str(middle.cell.partners.agreed), "an agreement")
    serving = cells(west)["serving"]
    assert serving["left"] == "west" and serving["centre"] == serving["right"] == "middle"
    rates = lambda each: {name for name, rate in get(each, "/status")["rate_bits_per_s"].items() if rate > 0}
    until(lambda: rates(west) == {"left"} and rates(middle) == {"centre", "right"}, "slots to follow")
    assert get(middle, "/status")["sensing_share"] >= 0.99 * asked.looks.air_share
    line = get(west, "/decisions?layer=cell&last=1")["decisions"][0]
    assert line["decided"]["cells"] == ["middle", "west"] and "agreed with middle" in line["reason"]
    seen = west.cell.ask(read_request({"needs": {"refresh_s": 0.2, "horizontal_m": 20}, "target": "car"}))
    assert seen.admission.met, seen.admission.reasons()
    last = lambda: next((each.fused for each in reversed(seen.estimates) if each.fused is not None), None)
    assert until(last, "an estimate with the other cell's").cells == ("middle", "west")
    assert counted(west, "partners") == 1 and counted(west, "left_out") == 0
    assert not west.warnings and not middle.warnings


def test_a_cell_that_dies_is_left_out_and_the_others_go_on(make: Callable[..., list[Instance]]) -> None:
    # Quick to lose patience: whoever is left out because the machine stood still takes part again.
    west, middle, east = three = make(3, silent_s=patient(0.8), patience=round(patient(12)))
    introduce(*three)
    each_serves = {"left": "west", "centre": "middle", "right": "east"}
    until(lambda: agreed(three) and cells(west)["serving"] == each_serves, "an agreement of three")
    # The first by name calls the others: it is the one whose death changes most.
    east.close()

    def two_agree() -> bool:
        said = cells(west)
        left_out = "silent for" in said["left_out"].get("east", "")
        return agreed([west, middle]) and left_out and said["serving"].get("right") == "middle"

    until(two_agree, "an agreement of two")
    said = lambda: get(west, "/decisions?layer=cell&last=1")["decisions"][0]
    until(lambda: "without east: silent" in said()["reason"] and "east" in said()["decided"]["left_out"], "it is named")
    until(lambda: counted(middle, 'left_out{cell="east"') == 1, "it is counted")
    introduce(west, middle)
    until(lambda: cells(west)["left_out"].get("east") == "it is not there any more", "its node's word")
    introduce(west)
    until(lambda: "decides alone" in get(west, "/decisions?layer=cells&last=1")["decisions"][0]["reason"], "alone")
    until(lambda: all(rate > 0 for rate in get(west, "/status")["rate_bits_per_s"].values()), "it serves all again")


def test_letters_that_make_no_sense_or_are_of_others_change_nothing(make: Callable[..., list[Instance]]) -> None:
    both = make(2)
    west = both[0]
    introduce(*both)
    until(lambda: agreed(both), "an agreement")
    post = lambda body: HTTP.post(west.url + "/cells/messages", content=json.dumps(body))
    for garbage, said in (
        ([1], "letter"),
        ({**LETTER, "colour": 1}, "colour = 1: unknown; accepted: cell, replica"),
        ({**LETTER, "epoch": -1}, "epoch"),
        ({**LETTER, "texts": ['{"kind": "order"}']}, "kind = 'order'"),
        ({**LETTER, "texts": ["[" * 60_000]}, "nested too deeply"),
        ({**LETTER, "texts": ["x" * 70_000]}, "texts.0"),
        ({**LETTER, "texts": ["x" * 600_000]}, "accepted: at most"),
    ):
        answer = post(garbage)
        assert answer.status_code == 400 and said in answer.json()["error"]["message"], answer.text
    assert counted(west, "letters_refused_total") == 6
    for foreign, name in (
        ({**LETTER, "cell": "north", "replica": 9}, "letters_unknown_total"),
        ({**LETTER, "epoch": 10}, "letters_of_another_epoch_total"),
    ):
        before = counted(west, name)
        answer = post(foreign)
        assert answer.status_code == 202 and answer.json()["outcome"] == "dropped" and answer.json()["reason"]
        assert counted(west, name) == before + 1
    text = '{"kind": "report", "term": 0, "cell": "middle", "rate_bits_per_s": {}, "information": {}}'
    assert post({**LETTER, "period": 0, "texts": [text]}).json()["outcome"] == "taken"
    until(lambda: counted(west, "messages_of_another_period_total") >= 1, "the message of another period")
    until(lambda: agreed(both), "the agreement that there was")
    assert not west.warnings


def test_a_cell_of_another_stage_says_so(make: Callable[..., list[Instance]]) -> None:
    (alone,) = make(1, stage="orthogonal")
    answer = HTTP.post(alone.url + "/cells/messages", json=LETTER)
    assert answer.status_code == 404 and "stage = 'orthogonal'" in answer.json()["error"]["message"]
    assert get(alone, "/status")["cells"] is None
