"""`fairlead isac` request, watch, cancel and control against a running cell."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient

from fairlead_agent.cli.errors import CliError
from fairlead_isac.commands.connection import Service, connect
from fairlead_isac.commands.group import isac
from fairlead_isac.service.application import Application
from tests.plugins.isac.service.cells import Bench

AREA = ("--range", "150", "--angle", "4")


class Local(Service):
    """The service of a cell in this process."""

    def __init__(self, bench: Bench) -> None:
        self._http = TestClient(Application(bench.cell).asgi(), raise_server_exceptions=False)

    def __exit__(self, *_: object) -> None:
        """It is used by several commands."""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench()
    local = Local(bench)
    monkeypatch.setattr("fairlead_isac.commands.connection.connect", lambda *_: local)
    yield bench


def run(*words: str) -> Result:
    return CliRunner().invoke(isac, list(words))


def test_a_request_says_what_is_met_and_how_it_is_served(bench: Bench) -> None:
    done = run("request", "--class", "2", *AREA)
    assert done.exit_code == 0, done.output
    assert "r1: admitted" in done.output and "looks each 0.2 s" in done.output
    refused = run("request", "--class", "7", "--range", "450")
    assert refused.exit_code == 1 and "r2 is refused" in refused.output
    assert "range resolution" in refused.output
    asked = json.loads(run("request", "--need", "horizontal_m=5", "--need", "refresh_s=2", *AREA, "--json").output)
    assert asked["looks"]["refresh_s"] == 2


def test_estimates_are_watched_and_a_request_is_cancelled(bench: Bench) -> None:
    run("request", "--class", "2", *AREA)
    bench.slots(2)
    bench.sense(3, step_s=0.2)
    # This test's client gives an answer when it has ended: it is cancelled before it is watched.
    assert "r1: cancelled (by who asked), 3 estimates" in run("cancel", "r1").output
    lines = run("watch", "r1", "--count", "2").output.splitlines()
    assert len(lines) == 2 and "150." in lines[0] and "dB" in lines[0]
    told = json.loads(run("watch", "r1", "--once", "--json").output)
    assert told["number"] == 1 and told["detections"][0]["range_m"] == pytest.approx(150, abs=1)
    assert "r1: cancelled" in run("watch", "r1").output


def test_the_cell_is_shown_at_a_glance(bench: Bench) -> None:
    run("request", "--class", "2", *AREA)
    bench.slots(3)
    shown = run("watch", "--once").output
    assert "radio there, orthogonal stage" in shown and "clients" in shown and "r1" in shown
    bench.cell.loop.lose("unplugged")
    assert "radio lost (unplugged)" in run("watch", "--once").output


def test_controls_are_set(bench: Bench) -> None:
    found = json.loads(run("control", "sensing_share_maximum=0.3", "weights.phone=2", "stage=converged").output)
    assert found["sensing_share_maximum"] == 0.3 and found["weights"]["phone"] == 2.0 and found["stage"] == "converged"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("request", "--class", "1"), "area or target: accepted: exactly one of them"),
        (("request", "--class", "1", "--target", "car"), "target = 'car': no such target; accepted: drone"),
        (("request", "--class", "8", *AREA), "8 is not in the range 1<=x<=7"),
        (("request", "--need", "5", *AREA), "'5': accepted: NAME=VALUE"),
        (("watch", "r7"), "sensing request 'r7' is not there"),
        (("cancel", "r7"), "sensing request 'r7' is not there"),
        (("control", "power=5"), "power = 5: unknown; accepted: sensing_share_minimum"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(bench: Bench, words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    assert done.exit_code != 0 and said in done.output


def test_nobody_who_answers_is_said_with_the_address() -> None:
    with connect(None, "http://127.0.0.1:9", None, None) as service, pytest.raises(CliError, match=r"127\.0\.0\.1:9"):
        service.call("GET", "/status")
