"""An answer counts as stale exactly when its epoch was not current while its request was under way."""

from __future__ import annotations

from typing import Any

from benchmarks.lease_history import stale, tenures
from benchmarks.load import Answer
from benchmarks.recovery import milestones

KEY = "local/tiny-chat/0"


def event(time: float, kind: str, node: str = "", epoch: int = 0, key: str = KEY) -> dict[str, Any]:
    return {"time": time, "type": kind, "subject": key, "data": {"node": node, "epoch": epoch}}


LOG = [
    event(10, "lease.granted", "edge", 1),
    event(12, "instance.ready", "edge", 1),
    event(20, "lease.granted", "gpu", 2),
    event(30, "lease.released", "gpu", 2),
    event(31, "lease.granted", "edge", 3),
    event(11, "lease.granted", "phone", 1, "local/tiny-chat/1"),
]


def answer(sent_at: float, done_at: float, node: str, epoch: int, status: int = 200) -> Answer:
    return Answer(sent_at, done_at, status, node, epoch)


def test_tenures_end_with_the_next_grant_or_the_release() -> None:
    found = [(tenure.node, tenure.epoch, tenure.since, tenure.until) for tenure in tenures(LOG) if tenure.key == KEY]
    assert found == [("edge", 1, 10, 20), ("gpu", 2, 20, 30), ("edge", 3, 31, float("inf"))]


def test_answers_of_current_holders_are_fine() -> None:
    good = [
        answer(13, 14, "edge", 1),
        answer(19, 21, "edge", 1),  # current when it was asked
        answer(22, 23, "gpu", 2),
        answer(15, 16, "phone", 1),  # the other replica
        answer(40, 41, "edge", 3),
    ]
    assert stale(good, tenures(LOG)) == []


def test_answers_of_fenced_holders_are_found() -> None:
    bad = [
        answer(21, 22, "edge", 1),  # superseded before it was asked
        answer(30.5, 30.8, "gpu", 2),  # released
        answer(5, 6, "edge", 1),  # before the grant
        answer(40, 41, "gpu", 3),  # never granted
    ]
    refused = answer(21, 22, "edge", 1, status=503)
    assert stale([*bad, refused], tenures(LOG)) == bad


def test_milestones_are_the_first_events_after_the_kill() -> None:
    assert milestones(LOG, 15) == {"lease.granted": 5}
    assert milestones(LOG, 9) == {"lease.granted": 1, "instance.ready": 3}
