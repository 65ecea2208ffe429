"""Requests among cells: the one that senses them best, all that see them, and finding them again by any cell."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.requests.request import read_request
from fairlead_isac.service.sight import views
from fairlead_isac.service.sites import settings_at
from fairlead_isac.settings import read_settings
from tests.plugins.isac.service.instances import CONFIG, Instance, introduce, until

HTTP = httpx.Client(timeout=120)
NEEDS = {"refresh_s": 0.2, "horizontal_m": 20}
#: 40 m in front of the mast in the west, 204 m from the one in the middle; as seen from x = y = 0.
WEST = {"range_m": 204.0, "angle_degrees": -78.7, "speed_m_per_s": 10, "rcs_m2": 0.02}


@pytest.fixture
def make() -> Iterator[Callable[..., list[Instance]]]:
    made: list[Instance] = []

    def start(count: int, **changes: Any) -> list[Instance]:
        made.extend(Instance(replica, samples_per_s=1e7, **changes) for replica in range(count))
        introduce(*made)
        until(lambda: all(len(each.cell.partners.reached()) == count - 1 for each in made), "peers")
        return made

    yield start
    for each in made:
        each.close()


def post(instance: Instance, status: int = 201, **body: Any) -> dict[str, Any]:
    answer = HTTP.post(instance.url + "/sensing/requests", json={"needs": NEEDS, **body})
    assert answer.status_code == status, answer.text
    return answer.json()


def requests(instance: Instance) -> list[dict[str, Any]]:
    return HTTP.get(instance.url + "/sensing/requests?cells=here").json()["requests"]


def test_who_takes_least_air_time_comes_first() -> None:
    written = read_settings(CONFIG)
    seeing, blind = views(
        read_request({"needs": NEEDS, "area": WEST}), range(3), lambda replica: settings_at(written, replica)
    )
    assert seeing[0].cell == "west" and seeing[0].area.range_m == pytest.approx(40, abs=1)
    shares = [view.air_share for view in seeing]
    assert shares == sorted(shares) and len(seeing) + len(blind) == 3
    with pytest.raises(IsacError, match="target = 'bus': no such target; accepted: car"):
        views(read_request({"needs": NEEDS, "target": "bus"}), range(3), lambda replica: settings_at(written, replica))


def test_the_cell_that_sees_it_best_senses_it_and_any_cell_answers_for_it(
    make: Callable[..., list[Instance]],
) -> None:
    west, middle = make(2)
    found = post(middle, area=WEST)
    assert found["id"] == "r1@west" and found["chosen"].startswith("west takes ") and "of middle's" in found["chosen"]
    assert requests(middle) == [] and [each["id"] for each in requests(west)] == ["r1@west"]
    until(lambda: requests(west)[0]["estimates"] > 1, "estimates")
    assert HTTP.get(middle.url + "/sensing/requests/r1@west").json()["state"] == "admitted"
    everywhere = HTTP.get(middle.url + "/sensing/requests").json()
    assert [each["id"] for each in everywhere["requests"]] == ["r1@west"] and everywhere["silent"] == {}
    log = HTTP.get(middle.url + "/decisions?layer=requests").json()["decisions"]
    assert log[0]["decided"]["cell"] == "west" and log[0]["reason"] == found["chosen"]
    with HTTP.stream("GET", middle.url + "/sensing/requests/r1@west/estimates") as stream:
        line = next(line for line in stream.iter_lines() if line.startswith("data: "))
    assert json.loads(line.removeprefix("data: "))["request"] == "r1@west"
    assert HTTP.delete(middle.url + "/sensing/requests/r1@west").json()["state"] == "cancelled"
    assert requests(west)[0]["state"] == "cancelled"
    here = post(middle, target="car", cells="here")
    assert here["id"] == "r1@middle" and here["chosen"] == ""


def test_all_that_see_it_sense_it_together_and_end_together(make: Callable[..., list[Instance]]) -> None:
    west, middle = make(2)
    found = post(west, target="car", cells="all")
    assert found["id"] == "r1@west" and found["with"] == {"middle": "r1@middle"}
    entry = west.cell.book.get("r1@west")
    last = lambda: next((each.fused for each in reversed(entry.estimates) if each.fused is not None), None)
    assert until(last, "a fused estimate").cells == ("middle", "west")
    HTTP.delete(middle.url + "/sensing/requests/r1@west")
    until(lambda: requests(middle)[0]["state"] == "cancelled", "the end of the other's")


def test_a_cell_that_cannot_is_passed_over_and_named(make: Callable[..., list[Instance]]) -> None:
    west, middle = make(2)
    west.cell.loop.front.gone = "gone for the test"  # type: ignore[attr-defined]
    west.cell.loop.lose("gone for the test")
    found = post(middle, area=WEST)
    assert found["id"] == "r1@middle" and found["passed"] == {"west": "it answers 503"}
    west.close()
    again = post(middle, area=WEST)
    assert again["id"] == "r2@middle" and again["passed"]["west"].startswith("it does not answer")


def test_what_no_cell_can_is_refused_with_reasons(make: Callable[..., list[Instance]]) -> None:
    _, middle = make(2)
    behind = post(middle, 400, area={"range_m": 50, "angle_degrees": 180})
    assert behind["error"]["message"].startswith("no cell can sense it: ") and "west: " in behind["error"]["message"]
    fine = post(middle, 409, needs={"range_resolution_m": 0.01}, target="car")
    assert not fine["met"] and "range resolution" in fine["reasons"][0] and "west" in fine["passed"]
    gone = HTTP.get(middle.url + "/sensing/requests/r1@east")
    assert gone.status_code == 404 and "one of cell 'east', which is not there now" in gone.text
