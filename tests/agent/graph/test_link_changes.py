"""A link that is notably another than before is told in words; noise is not, and small steps add up."""

from __future__ import annotations

from fairlead_agent.graph import Edge, EdgeKind, Measured
from fairlead_agent.graph.link_changes import LinkChanges

KEY = "edge>link>control-plane"


def link(bandwidth: float, latency: float = 0.001, loss: float | None = None) -> Edge:
    measured = {"bandwidth_bits_per_s": Measured(bandwidth, 0.0), "latency_s": Measured(latency, 0.0)}
    measured |= {} if loss is None else {"loss": Measured(loss, 0.0)}
    return Edge("edge", EdgeKind.LINK, "control-plane", measured)


def test_a_link_that_loses_most_of_its_capacity_is_told_with_both_numbers() -> None:
    changes = LinkChanges()
    assert changes.seen(KEY, link(400e6)) == ""
    assert changes.seen(KEY, link(50e6)) == (
        "the link from edge to control-plane carries 50 Mbit/s instead of 400 Mbit/s"
    )
    assert changes.seen(KEY, link(50e6)) == ""
    assert "takes 12 ms instead of 1 ms" in changes.seen(KEY, link(50e6, 0.012))


def test_small_steps_add_up() -> None:
    changes, bandwidth, told = LinkChanges(), 100e6, []
    for _ in range(10):
        bandwidth *= 1.1
        told.append(changes.seen(KEY, link(bandwidth)))
    assert [bool(text) for text in told].count(True) == 1
    assert told[5].endswith("instead of 110 Mbit/s")


def test_noise_and_a_link_that_is_new_are_not_told() -> None:
    changes = LinkChanges()
    assert [changes.seen(KEY, link(value)) for value in (100e6, 110e6, 95e6, 140e6)] == [""] * 4
    assert changes.seen(KEY, None) == "" and changes.seen(KEY, link(1e6)) == ""


def test_a_link_that_carries_nothing_any_more_is_told() -> None:
    changes = LinkChanges()
    changes.seen(KEY, link(1e6))
    assert "0 bit/s instead of 1 Mbit/s" in changes.seen(KEY, link(0.0))


def test_a_link_that_begins_to_lose_packets_is_told_and_a_few_are_not() -> None:
    changes = LinkChanges()
    told = [changes.seen(KEY, link(1e8, loss=loss)) for loss in (None, 0.001, 0.0, 0.014, 0.12, 0.13, 0.0)]
    assert [bool(text) for text in told] == [False, False, False, False, True, False, True]
    assert told[4] == "the link from edge to control-plane loses 0.12 of all packets instead of 0 of all packets"
