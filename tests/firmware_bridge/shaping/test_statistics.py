from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_bridge.clock import Moment
from fairlead_bridge.netlink import attribute, attributes_of
from fairlead_bridge.reading import Missing
from fairlead_bridge.shaping.apply import Shaper
from fairlead_bridge.shaping.facts import class_facts, class_traffic, link_facts
from fairlead_bridge.shaping.objects import class_handles
from fairlead_bridge.shaping.plan import ClassTree, ShapingPlan, TokenBucket, TrafficClass
from fairlead_bridge.shaping.statistics import (
    LinkQueues,
    Queue,
    Queues,
    QueueSensor,
    TrafficClassCounters,
    handle_text,
    passed,
)
from fairlead_bridge.shaping.traffic_control import Counters, Entry, counters, parse
from tests.firmware_bridge.wires import a_wire, flood

PLAN = ShapingPlan("eth0", TokenBucket(8e6))
STATISTICS = attribute(1, struct.pack("=QIxxxx", 5000, 4)) + attribute(3, struct.pack("=IIIII", 2, 2800, 7, 0, 9))
MESSAGE = struct.pack("=BxxxiIII", 0, 3, 0x10000, 0xFFFFFFFF, 2) + attribute(1, b"tbf\0") + attribute(7, STATISTICS)


def reading(at_s: float, sent_bytes: int, sent: int, dropped: int, waiting_bytes: int = 0) -> Queues:
    found = Counters(sent_bytes, sent, waiting_bytes, 0, dropped, 0)
    link = LinkQueues("eth0", (Queue("fa20:", "root", "tbf", found),), ())
    return Queues(Moment(at_s, 1.8e9 + at_s), (link,))


def test_what_passed_between_two_readings_becomes_facts() -> None:
    facts = link_facts(reading(10, 0, 0, 0), reading(12, 1_000_000, 900, 100, 10_000), PLAN)
    assert facts == {
        "bandwidth_bits_per_s": 8e6,
        "throughput_bits_per_s": 4e6,
        "loss": 0.1,
        "latency_s": 0.01,
    }


def test_each_class_is_a_link_of_its_own() -> None:
    plan = ShapingPlan("eth0", ClassTree(1e7, (TrafficClass("phone", 4e6, 4e6), TrafficClass("rest", 1e6)), "rest"))
    handles = {name: handle_text(handle) for name, handle in class_handles(plan.egress).items()}  # type: ignore[arg-type]

    def at(seconds: float, *phone: int) -> Queues:
        counted = TrafficClassCounters(handles["phone"], "htb", Counters(phone[0], phone[1], phone[3], 0, phone[2], 0))
        return Queues(Moment(seconds, 1.8e9 + seconds), (LinkQueues("eth0", (), (counted,)),))

    facts = class_facts(at(10, 0, 0, 0, 0), at(12, 500_000, 300, 100, 5_000), plan)
    assert facts == {
        "phone": {"bandwidth_bits_per_s": 4e6, "throughput_bits_per_s": 2e6, "loss": 0.25, "latency_s": 0.01}
    }, "the class that the kernel does not tell of has no facts"


def test_what_is_not_known_is_no_fact() -> None:
    anew = passed(reading(10, 500, 5, 0), reading(12, 100, 1, 0), "eth0")
    assert isinstance(anew, Missing) and "made anew" in anew.why
    assert link_facts(reading(10, 500, 5, 0), reading(12, 100, 1, 0), PLAN) == {"bandwidth_bits_per_s": 8e6}
    assert isinstance(passed(reading(10, 0, 0, 0), reading(10, 0, 0, 0), "eth0"), Missing)
    assert isinstance(passed(reading(10, 0, 0, 0), reading(12, 0, 0, 0), "eth1"), Missing)


def test_the_kernels_message_is_understood() -> None:
    entry = parse(MESSAGE)
    assert entry is not None
    assert (entry.kind, entry.index, entry.handle, entry.parent) == ("tbf", 3, 0x10000, 0xFFFFFFFF)
    assert counters(entry) == Counters(5000, 4, 2800, 2, 7, 9)


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=120), st.integers(0, len(MESSAGE)))
def test_any_bytes_are_an_entry_or_nothing(data: bytes, cut: int) -> None:
    for body in (data, MESSAGE[:cut], MESSAGE[:cut] + data):
        entry = parse(body)
        assert entry is None or isinstance(entry, Entry)
        assert entry is None or isinstance(counters(entry), Counters | None)
        attributes_of(body)


def test_the_queues_of_this_machine_can_be_read() -> None:
    queues = QueueSensor().read()
    if isinstance(queues, Missing):
        pytest.skip(str(queues))
    assert any(link.link == "lo" for link in queues.links)


def test_real_traffic_is_counted_where_it_passes(tmp_path: Path) -> None:
    with a_wire() as wire:
        tree = ClassTree(8e6, (TrafficClass("idle", 1e6), TrafficClass("rest", 2e6, queue_packets=5)), "rest")
        plan = ShapingPlan("left", tree)
        with wire.left.entered(), Shaper(str(tmp_path)) as shaper:
            shaper.apply(plan)
            before = QueueSensor().read()
        received = flood(wire, 0.2)
        with wire.left.entered():
            after = QueueSensor().read()
    assert before and after
    root = passed(before, after, "left")
    assert root and root.sent_packets >= received.frames
    assert root.bits_per_s < 8e6 * 1.1
    by_class = class_traffic(before, after, plan)
    assert by_class["rest"] and by_class["rest"].sent_packets >= received.frames
    assert by_class["idle"] and by_class["idle"].sent_packets == 0
