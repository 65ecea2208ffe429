"""The outbox: bounded, in order, nothing lost before it is acknowledged."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead_agent.bus.backoff import Backoff
from fairlead_agent.bus.outbox import Outbox
from fairlead_agent.bus.transport import OutboxFull


def test_entries_leave_in_order_and_only_when_acknowledged() -> None:
    box = Outbox()
    for letter in "abc":
        box.put(letter, b"", 1, False)
    taken = [box.take(), box.take()]
    assert [entry.topic for entry in taken if entry] == ["a", "b"]
    assert len(box) == 3
    box.done(taken[0])
    box.rewind()
    assert [box.take().topic for _ in range(2)] == ["b", "c"]
    assert box.take() is None


def test_waiting_state_of_one_topic_is_replaced_by_the_latest() -> None:
    box = Outbox(max_messages=2)
    for state in (b"1", b"2", b"3"):
        box.put("status", state, 1, True)
    box.put("news", b"x", 1, False)
    assert [(box.take().payload) for _ in range(2)] == [b"3", b"x"]


def test_state_under_way_is_kept_until_newer_state_waits_at_a_rewind() -> None:
    box = Outbox()
    box.put("status", b"old", 1, True)
    assert box.take().payload == b"old"
    box.put("status", b"new", 1, True)
    assert len(box) == 2
    box.rewind()
    assert len(box) == 1
    assert box.take().payload == b"new"


def test_bounds_are_messages_and_bytes() -> None:
    box = Outbox(max_messages=2, max_bytes=10)
    box.put("a", b"12345678", 1, False)
    with pytest.raises(OutboxFull, match="at most 2"):
        box.put("b", b"123", 1, False)
    box.put("b", b"12", 1, False)
    with pytest.raises(OutboxFull):
        box.put("c", b"", 1, False)
    box.done(box.take())
    box.put("c", b"12345678", 1, False)
    assert box.payload_bytes == 10


def states_of(live: dict[bytes, str]) -> list[bytes]:
    return [payload for payload, kind in live.items() if kind == "state"]


def supersede(live: dict[bytes, str], kept: set[bytes]) -> None:
    """Forget states that newer ones took the place of."""
    for payload in set(states_of(live)) - kept:
        del live[payload]


@example(["state", "state", "take", "done"], 0)
@example(["state", "take", "state", "rewind", "take", "done"], 0)
@given(st.lists(st.sampled_from(["put", "state", "take", "done", "rewind"]), max_size=80), st.integers(0, 99))
def test_every_message_is_held_acknowledged_or_superseded(steps: list[str], seed: int) -> None:
    box, draw = Outbox(), random.Random(seed)
    live: dict[bytes, str] = {}
    under_way = []
    for number, step in enumerate(steps):
        payload = str(number).encode()
        if step == "put":
            box.put("news", payload, 1, False)
            live[payload] = "news"
        elif step == "state":
            box.put("state", payload, 1, True)
            supersede(live, kept={entry.payload for entry in under_way})
            live[payload] = "state"
        elif step == "take" and (entry := box.take()) is not None:
            under_way.append(entry)
        elif step == "done" and under_way:
            entry = under_way.pop(draw.randrange(len(under_way)))
            box.done(entry)
            if entry.retain:  # whoever has the newer state needs no older one
                supersede(live, kept={state for state in states_of(live) if int(state) > int(entry.payload)})
            live.pop(entry.payload, None)
        elif step == "rewind":
            box.rewind()
            under_way.clear()
            supersede(live, kept=set(states_of(live)[-1:]))
    box.rewind()
    left = [entry.payload for entry in iter(box.take, None)]
    assert left == sorted(left, key=int)
    assert {payload for payload in left if live[payload] == "news"} == {p for p, kind in live.items() if kind == "news"}
    assert [payload for payload in left if live[payload] == "state"] == states_of(live)[-1:]
    assert box.payload_bytes == sum(map(len, left))


@given(st.integers(0, 10_000), st.integers())
def test_pauses_stay_within_their_bounds(attempt: int, seed: int) -> None:
    backoff = Backoff(0.25, 30.0)
    delay_s = backoff.delay_s(attempt, random.Random(seed))
    assert 0.125 <= delay_s <= 30.0
    assert delay_s == backoff.delay_s(attempt, random.Random(seed))
