"""A trace takes each step's first message of the right workload, whatever the order of arrival."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks.negotiation_trace import trace
from fairlead_agent.messages import (
    Accept,
    Award,
    Bid,
    Body,
    Call,
    Envelope,
    Grant,
    InstanceReport,
    InstanceState,
    LeaseKey,
    LeaseRef,
    NodeInstances,
    PlacementRecord,
    Renewal,
    ReplyAck,
    SlotPlacement,
    Workload,
    decode,
    encode,
)


def heard(time: float, body: Body, source: str = "control-plane") -> Envelope:
    return decode(encode(body, id=f"{source}-{time}", source=source, time=time))


def negotiation(name: str, start: float) -> list[Envelope]:
    """All messages of one negotiation, 1 s apart; two nodes bid, and one more bids too late."""
    work, key = Workload(name=name, plugin="echo"), LeaseKey(site="local", workload=name, replica=0)
    ids = {"negotiation": f"n-{name}", "key": key, "node": "a"}
    instance = {"key": key, "variant": "plain"}
    preparing = InstanceReport(**instance, epoch=0, state=InstanceState.STANDBY)
    ready = InstanceReport(**instance, epoch=1, state=InstanceState.READY)
    slot = SlotPlacement(key=key, state="placed", node="a", epoch=1)
    bodies: list[Body] = [
        Call(negotiation=f"n-{name}", steward="s", workload=work, generation=1, replicas=(0,), deadline_s=1, hold_s=10),
        Bid(negotiation=f"n-{name}", node="a", incarnation=1, offers=()),
        Bid(negotiation=f"n-{name}", node="b", incarnation=1, offers=()),
        Bid(negotiation=f"n-{name}", node="b", incarnation=1, offers=()),  # the call was repeated
        Award(**ids, variant="plain", workload=work, generation=1, ttl_s=3),
        Bid(negotiation=f"n-{name}", node="c", incarnation=1, offers=()),
        Accept(**ids, incarnation=1, variant="plain"),
        Grant(request_id="r", key=key, node="a", incarnation=1, epoch=1, ttl_s=3),
        NodeInstances(node="a", incarnation=1, seq=1, instances=(preparing,)),
        ReplyAck(**ids, epoch=1, ttl_s=3),
        Renewal(request_id="r", node="a", incarnation=1, sent_boottime_s=1.0, leases=(LeaseRef(key=key, epoch=1),)),
        PlacementRecord(workload=name, generation=1, steward="s", slots=(slot,)),
        NodeInstances(node="a", incarnation=1, seq=2, instances=(ready,)),
        ReplyAck(**ids, epoch=1, ttl_s=3),
    ]
    return [heard(start + offset, body) for offset, body in enumerate(bodies)]


@pytest.mark.parametrize("seed", range(5))
def test_steps_are_found_among_other_negotiations(seed: int) -> None:
    messages = [*negotiation("other", 95.0), *negotiation("mine", 100.0), *negotiation("later", 101.0)]
    Random(seed).shuffle(messages)
    found = trace("mine", 99.5, messages)
    assert found.passed_s("apply", "call") == 0.5
    assert found.passed_s("call", "award") == 4
    assert found.passed_s("award", "accept") == 2
    assert found.passed_s("accept", "grant") == 1
    assert found.passed_s("grant", "reply-ack") == 2
    assert found.passed_s("apply", "ready") == 12.5
    assert found.bidders == {"a", "b"}


def test_a_negotiation_without_its_end_says_what_is_missing() -> None:
    messages = [message for message in negotiation("mine", 100.0) if not isinstance(message.data, Grant)]
    with pytest.raises(ValueError, match=r"mine: grant was not heard"):
        trace("mine", 99.0, messages)
