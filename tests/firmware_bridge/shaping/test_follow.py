from __future__ import annotations

from pathlib import Path

import pytest

from fairlead_bridge.shaping.difference import diff
from fairlead_bridge.shaping.errors import PlanError
from fairlead_bridge.shaping.follow import RateFollower, plan_of_rates
from fairlead_bridge.shaping.match import Match
from fairlead_bridge.shaping.objects import HtbClass
from tests.firmware_bridge.wires import a_wire, eventually, flood, tc

MATCHES = {"phone": (Match(destination="192.0.2.2"),), "2nd": (Match(destination="192.0.2.3"),)}


def test_a_decision_changes_only_the_classes_whose_rates_it_changes() -> None:
    before = plan_of_rates("left", MATCHES, {"phone": 8e6, "2nd": 4e6})
    steps = diff(before, plan_of_rates("left", MATCHES, {"phone": 6e6, "2nd": 4e6}))
    assert [type(step.after) for step in steps] == [HtbClass]
    assert plan_of_rates("left", MATCHES, {"phone": 0.0}) == plan_of_rates("left", MATCHES, {"2nd": -1.0})


@pytest.mark.parametrize(
    ("link", "rates", "words"),
    [
        ("left", {"phone": 11e9}, r"egress\.classes\[0\]\.rate_bits_per_s: 11000000000"),
        ("left", {"phone": 6e9, "2nd": 6e9}, "rates that sum up to"),
        ("a/b", {}, "link: 'a/b'"),
    ],
)
def test_rates_that_no_link_has_are_refused(link: str, rates: dict[str, float], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        plan_of_rates(link, MATCHES, rates)


def test_traffic_follows_the_latest_rates(tmp_path: Path) -> None:
    with a_wire() as wire:
        with wire.left.entered():
            follower = RateFollower("left", MATCHES, directory=str(tmp_path))
        for rate in (20e6, 6e6):
            follower.follow({"phone": rate, "2nd": 1e6})
            eventually(lambda rate=rate: follower.following.rates_bits_per_s.get("phone") == rate)
        received = flood(wire, 0.3)
        assert received.within(6e6, round(6e6 / 8 * 0.01)) and received.bits_per_s > 0.4 * 6e6
        follower.follow({"phone": 6.1e6, "2nd": 1e6})
        assert follower.following.applied == 2, "a change of 2 % is none"
        follower.close()
        with wire.left.entered():
            assert "htb" not in tc("qdisc", "show")


def test_a_link_that_is_not_there_is_told_once_and_tried_again(tmp_path: Path) -> None:
    told: list[str] = []
    with a_wire() as wire, wire.left.entered():
        follower = RateFollower("nowhere", MATCHES, directory=str(tmp_path), warn=told.append)
        for rate in (1e6, 2e6):
            follower.follow({"phone": rate})
            eventually(lambda rate=rate: follower.following.failed == rate / 1e6)
        follower.close()
    assert told == ["there is no link nowhere; accepted: a link of this network namespace"]
    assert follower.following.applied == 0
