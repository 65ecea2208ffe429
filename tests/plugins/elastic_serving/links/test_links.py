"""Links: what is sent arrives as it was, in its lane's order, and a dead or silent peer is noticed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed import TCPStore

from fairlead_elastic_serving.errors import ElasticServingError
from fairlead_elastic_serving.links.door import Dial, Door, LinkSettings, dial
from fairlead_elastic_serving.links.frames import HEAD_BYTES, body_bytes, body_in, decode, encode, fits, head_of
from fairlead_elastic_serving.links.link import Inbox, Lane, LinkLost, Message, Received
from fairlead_elastic_serving.links.meeting import Meeting, Torchrun
from fairlead_elastic_serving.links.memory_link import memory_pair
from fairlead_elastic_serving.links.pace import TokenBucket
from fairlead_elastic_serving.links.torch_link import SLICE_BYTES, TorchLink
from tests.patience import patient

PEER = Path(__file__).with_name("link_peer.py")
WAIT_S = patient(60.0)
#: Silence that no machine makes, however long it stands still; and some after which each attempt takes a peer for dead:
#: the first that is long enough for this machine counts.
NEVER_S, SOON_S = WAIT_S, (0.4, 4.0, 20.0)
DTYPES = [torch.float32, torch.bfloat16, torch.int64, torch.int32, torch.uint8]


@given(
    st.dictionaries(st.text(max_size=9), st.integers(-(2**40), 2**40) | st.text(max_size=30), max_size=4),
    st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3)), max_size=4),
)
def test_a_message_comes_back_from_its_bytes(fields: dict, kinds: list) -> None:
    tensors = {f"t{n}": torch.randint(0, 100, shape).to(kind) for n, (kind, shape) in enumerate(kinds)}
    body = encode(Message("kind", fields, tensors))
    head = head_of(body)
    assert head.numel() == HEAD_BYTES and body_bytes(head) == body.numel()
    found = decode(body_in(head) if fits(body.numel()) else body)
    assert found.kind == "kind" and dict(found.fields) == fields and list(found.tensors) == list(tensors)
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype and torch.equal(found.tensors[name], tensor)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_column_of_any_length_travels(rows: int) -> None:
    column = torch.arange(rows * 4, dtype=torch.int32).reshape(rows, 4)[:, 1]
    assert torch.equal(decode(encode(Message("kind", {}, {"t": column}))).tensors["t"], column)


def test_bytes_that_are_no_message_are_refused() -> None:
    body = encode(Message("k", {}, {"t": torch.zeros(9)}))
    for broken in (body[:40], body[:3], torch.full((64,), 255, dtype=torch.uint8), body[:-40]):
        with pytest.raises(ElasticServingError, match="cannot be read"):
            decode(broken)
    with pytest.raises(ElasticServingError, match="accepted: up to"):
        body_bytes(torch.full((HEAD_BYTES,), 255, dtype=torch.uint8))
    with pytest.raises(ElasticServingError, match="complex64"):
        encode(Message("k", {}, {"t": torch.zeros(2, dtype=torch.complex64)}))


def test_what_is_urgent_is_taken_first_and_lanes_keep_their_order() -> None:
    inbox = Inbox()
    for number, lane in enumerate([Lane.EXCHANGE, Lane.ACTIVATIONS, Lane.CONTROL, Lane.ACTIVATIONS]):
        inbox.put(Received("a", lane, Message(str(number))))
    assert [inbox.take(most=Lane.ACTIVATIONS).message.kind for _ in range(3)] == ["2", "1", "3"]
    assert inbox.take(most=Lane.ACTIVATIONS) is None and inbox.take().message.kind == "0"


def test_links_in_one_process_stall_and_break_as_others_do() -> None:
    inboxes = {"a": Inbox(), "b": Inbox()}
    one, two = memory_pair("a", "b", inboxes)
    one.held = []
    one.send(Lane.CONTROL, Message("late"))
    assert inboxes["b"].take() is None and one.waiting(Lane.CONTROL) == 1
    one.resume()
    assert inboxes["b"].take().message.kind == "late"
    two.lose("died")
    assert [inboxes[name].take() for name in "ab"] == [
        Received("b", Lane.CONTROL, None, "died"),
        Received("a", Lane.CONTROL, None, "died"),
    ]
    with pytest.raises(LinkLost, match="died"):
        one.send(Lane.CONTROL, Message("never"))


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 1)), min_size=1, max_size=20))
def test_a_bucket_lets_no_more_through_than_its_link(takes: list[tuple[int, float]]) -> None:
    bucket, now, sent = TokenBucket(1e6, burst_bytes=1000), 0.0, 0
    for number, pause in takes:
        now += pause
        now += bucket.take(number, now)
        sent += number
        assert sent <= 1e6 * now + 1000 * (len(takes) + 1)
    assert now >= (sum(number for number, _ in takes) - 1000 * len(takes)) / 1e6 - 1e-9


@contextlib.contextmanager
def _pair(settings: LinkSettings) -> Iterator[tuple[TorchLink, TorchLink, Inbox, Inbox]]:
    mine, theirs, made = Inbox(), Inbox(), {}
    door = Door("a", settings)
    dialing = threading.Thread(target=lambda: made.update(link=dial(door.address, "a", "b", theirs, settings)))
    dialing.start()
    link = door.accept(_first_dial(door), mine)
    dialing.join()
    try:
        yield link, made["link"], mine, theirs
    finally:
        link.close()
        made["link"].close()


def test_lanes_carry_what_is_long_and_what_is_short() -> None:
    with _pair(LinkSettings(stall_s=NEVER_S)) as (one, two, mine, theirs):
        long = torch.arange(600_000, dtype=torch.float32)
        one.send(Lane.EXCHANGE, Message("long", {}, {"t": long}))
        for number in range(20):
            two.send(Lane.CONTROL, Message("short", {"number": number}))
        found = theirs.take(WAIT_S)
        assert found.peer == "a" and found.lane is Lane.EXCHANGE and torch.equal(found.message.tensors["t"], long)
        assert [mine.take(WAIT_S).message.fields["number"] for _ in range(20)] == list(range(20))
        one.close()
        assert theirs.take(WAIT_S) == Received("a", Lane.CONTROL, None, "closed by the other side")
        with pytest.raises(LinkLost):
            two.send(Lane.CONTROL, Message("never"))


def test_a_link_without_traffic_stands() -> None:
    def stood(stall_s: float) -> bool:
        with _pair(LinkSettings(stall_s=stall_s)) as (one, two, mine, theirs):
            return mine.take(3 * stall_s) is theirs.take(0.0) is one.lost is two.lost is None

    assert any(stood(stall_s) for stall_s in SOON_S)


class Slices:
    """A lane's group that says when its first slice goes, and holds the second and the last one back for a test."""

    def __init__(self, group: Any, number: int) -> None:
        self._group, self._number, self.sent = group, number, 0
        self.first, self.second, self.last = threading.Event(), threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group, name)

    def send(self, parts: list[torch.Tensor], *where: int) -> Any:
        if parts[0].numel() == SLICE_BYTES:
            self.sent += 1
            if self.sent in (2, self._number):
                assert (self.second if self.sent == 2 else self.last).wait(WAIT_S)
            self.first.set()
        return self._group.send(parts, *where)


def test_activations_overtake_an_exchange_that_is_under_way() -> None:
    # Sixteen slices a second: the exchange alone takes more than half of one.
    with _pair(LinkSettings(stall_s=NEVER_S, bytes_per_s=16 * SLICE_BYTES)) as (one, _, _, theirs):
        body = torch.zeros(10 * SLICE_BYTES - 4096, dtype=torch.uint8)
        slices = one._groups[Lane.EXCHANGE] = Slices(one._groups[Lane.EXCHANGE], 9)
        one.send(Lane.EXCHANGE, Message("long", {}, {"t": body}))
        assert slices.first.wait(WAIT_S)
        one.send(Lane.ACTIVATIONS, Message("urgent", {}, {"t": torch.zeros(1 << 10)}))
        slices.second.set()
        assert theirs.take(WAIT_S).message.kind == "urgent"
        slices.last.set()
        assert theirs.take(WAIT_S).message.kind == "long" and slices.sent == 9


@contextlib.contextmanager
def _echoing_peer(fault: str, stalls_s: Iterable[float]) -> Iterator[tuple[TorchLink, Inbox]]:
    """A link to a process that has answered over it; where it was taken for dead before, another one is started."""
    for stall_s in stalls_s:
        inbox, door = Inbox(), Door("a", LinkSettings(stall_s=stall_s))
        peer = subprocess.Popen([sys.executable, str(PEER), door.address, fault, str(stall_s)])
        try:
            link = door.accept(_first_dial(door), inbox)
            with contextlib.suppress(LinkLost):
                link.send(Lane.ACTIVATIONS, Message("say", {"last": False}, {"t": torch.ones(3)}))
            answer = inbox.take(WAIT_S)
            assert answer is not None
            if answer.message is not None:
                assert torch.equal(answer.message.tensors["t"], torch.ones(3))
                yield link, inbox
                return
        finally:
            os.kill(peer.pid, signal.SIGKILL)
            peer.wait()
    raise AssertionError("the link never stood long enough for an answer")


# The end of a process closes its connections; one that stands still is noticed by its silence alone.
@pytest.mark.parametrize(("fault", "stalls_s"), [("kill", [NEVER_S]), ("stop", [1.0, 5.0, 20.0])])
def test_a_peer_that_dies_or_stands_still_is_noticed(fault: str, stalls_s: list[float]) -> None:
    with _echoing_peer(fault, stalls_s) as (link, inbox):
        with contextlib.suppress(LinkLost):
            link.send(Lane.CONTROL, Message("say", {"last": True}))
        received = inbox.take(WAIT_S)
        while received is not None and received.message is not None:
            received = inbox.take(WAIT_S)
        assert received is not None and received.peer == "b"
        with pytest.raises(LinkLost):
            link.send(Lane.CONTROL, Message("say"))
        link.close()


def test_instances_that_know_each_other_have_a_link_and_get_another_after_a_fault() -> None:
    settings = LinkSettings(stall_s=NEVER_S)
    inboxes = {name: Inbox() for name in "abc"}
    meetings = {name: Meeting(name, inboxes[name], settings) for name in "abc"}
    doors = {name: meeting.door.address for name, meeting in meetings.items()}
    try:
        for meeting in meetings.values():
            meeting.know(doors)
        _wait(lambda: all(len(meeting.links) == 2 for meeting in meetings.values()))
        first = meetings["a"].links["b"]
        first.send(Lane.CONTROL, Message("hello"))
        assert inboxes["b"].take(WAIT_S).message.kind == "hello"
        first.close()
        _wait(lambda: "b" in meetings["a"].links and meetings["a"].links["b"] is not first)
        _wait(lambda: "a" in meetings["b"].links)
        meetings["c"].know({})
        for name in "ab":
            meetings[name].know({other: doors[other] for other in "ab"})
        _wait(lambda: list(meetings["a"].links) == ["b"] and not meetings["c"].links)
    finally:
        for meeting in meetings.values():
            meeting.close()


def test_who_dies_at_the_door_holds_nobody_up() -> None:
    door = Door("a", LinkSettings())
    host, _, port = door.address.rpartition(":")
    visitor = TCPStore(host, int(port), None, False, timedelta(seconds=10))
    assert visitor.add("dials", 1) == 1
    # It leaves no name: the next one is heard all the same.
    visitor.set(f"dial/{visitor.add('dials', 1)}", '"c"')
    assert door.dials() == [Dial(2, "c")] and door.dials() == []
    visitor.set("dial/1", '"b"')
    assert door.dials() == [Dial(1, "b")] and door.dials() == []


def test_what_torchrun_did_not_set_is_named() -> None:
    with pytest.raises(ElasticServingError, match="RANK, MASTER_PORT not set"):
        Torchrun.from_environment({"WORLD_SIZE": "2", "MASTER_ADDR": "here"})
    assert Torchrun.from_environment(
        {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "5"}
    ) == Torchrun(1, 2, "here", 5)


def _first_dial(door: Door) -> Dial:
    asked: list[Dial] = []
    _wait(lambda: asked.extend(door.dials()) or asked)
    return asked[0]


def _wait(done) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)
