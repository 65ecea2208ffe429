"""Messages on the wire: what goes in comes out, and what does not fit is one clear error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fairlead_agent.messages import (
    MAX_MESSAGE_BYTES,
    Accept,
    Award,
    Bid,
    BidOutcome,
    Body,
    Call,
    Cancel,
    Estimate,
    Grant,
    GrantDenied,
    GrantRequest,
    GraphEntry,
    GraphUpdate,
    InstanceReport,
    InstanceState,
    LeaseKey,
    LeaseQuery,
    LeaseRef,
    LeaseState,
    LeaseStates,
    MessageError,
    NodeInstances,
    NodeStatus,
    Offer,
    PlacementRecord,
    Quantiles,
    RebirthRequest,
    Refusal,
    Refuse,
    Release,
    ReleaseAck,
    Renewal,
    RenewalReply,
    RenewalResult,
    ReplyAck,
    SignedWorkload,
    SlotPlacement,
    StreamAbort,
    StreamChunk,
    StreamCredit,
    StreamEnd,
    StreamHead,
    StreamRequest,
    Workload,
    bodies,
    decode,
    encode,
)

KEY = LeaseKey(site="s", workload="w", replica=0)
WORKLOAD = Workload(name="w", plugin="sparse", config={"deep": {"list": [1, 2.5, None, "ü"]}})
Q = Quantiles.around(2.0, 0.5)
ESTIMATE = Estimate(latency_s=Q, throughput_per_s=Q, memory_bytes={"dram": 1 << 33}, startup_s=Q, needs_real=("gpu",))
REFUSAL = Refusal(reason="too small", needs="512 MiB", has="130 MiB")
REPORT = InstanceReport(key=KEY, epoch=3, variant="int4", state=InstanceState.READY)

SAMPLES: list[Body] = [
    NodeStatus(node="a", incarnation=1, online=True, labels={"room": "lab"}),
    RebirthRequest(node="a", seen_seq=4),
    GraphUpdate(
        node="a",
        incarnation=1,
        seq=1,
        entries=(GraphEntry(key="k", seq=1, value={"x": [1], "none": None}), GraphEntry(key="gone", seq=2, value=None)),
    ),
    NodeInstances(node="a", incarnation=1, seq=0, instances=(REPORT,)),
    Call(negotiation="n", steward="a", workload=WORKLOAD, generation=1, replicas=(0, 1), deadline_s=1, hold_s=2),
    Bid(
        negotiation="n",
        node="a",
        incarnation=1,
        offers=(Offer(variant="v", estimate=ESTIMATE), Offer(variant="u", refusal=REFUSAL)),
        holds=(KEY,),
    ),
    Award(negotiation="n", key=KEY, node="a", variant="v", workload=WORKLOAD, generation=1, ttl_s=15),
    Accept(negotiation="n", key=KEY, node="a", incarnation=1, variant="v"),
    Refuse(negotiation="n", key=KEY, node="a", reason="gone"),
    ReplyAck(negotiation="n", key=KEY, node="a", epoch=1, ttl_s=15),
    Cancel(negotiation="n", reason="over"),
    GrantRequest(
        request_id="r", key=KEY, node="a", incarnation=1, negotiation="n", generation=1, expected_epoch=0, ttl_s=15
    ),
    Grant(request_id="r", key=KEY, node="a", incarnation=1, epoch=1, ttl_s=15),
    GrantDenied(request_id="r", key=KEY, reason="held", current_epoch=2, holder="b", retry_after_s=3),
    Renewal(request_id="r", node="a", incarnation=1, sent_boottime_s=1.5, leases=(LeaseRef(key=KEY, epoch=1),)),
    RenewalReply(
        request_id="r", node="a", sent_boottime_s=1.5, results=(RenewalResult(key=KEY, epoch=1, renewed=True),)
    ),
    Release(request_id="r", node="a", incarnation=1, key=KEY, epoch=1),
    ReleaseAck(request_id="r", key=KEY, epoch=1),
    LeaseQuery(request_id="r", workloads=("w",)),
    LeaseStates(request_id="r", leases=(LeaseState(key=KEY, epoch=1, node="a"),)),
    PlacementRecord(
        workload="w",
        generation=1,
        steward="a",
        slots=(SlotPlacement(key=KEY, state="placed", node="a", epoch=1),),
        bids=(BidOutcome(node="a", variant="v", outcome="won", score=0.5, estimate=ESTIMATE, reason="best"),),
    ),
    SignedWorkload(payload="{}", key_id="k", signature="s"),
    StreamRequest(stream="s", reply_to="a", headers=(("a", "b"), ("a", "c"))),
    StreamHead(stream="s", status=200, headers=(("a", "b"),)),
    StreamChunk(stream="s", index=0, data_base64="AA=="),
    StreamEnd(stream="s", chunks=1),
    StreamCredit(stream="s", credit=8),
    StreamAbort(stream="s"),
]


def test_there_is_a_sample_of_every_message() -> None:
    own = {body for body in bodies().values() if body.__module__.startswith("fairlead_agent.messages")}
    assert {type(sample) for sample in SAMPLES} == own


@pytest.mark.parametrize("body", SAMPLES, ids=lambda body: body.TYPE)
def test_what_goes_in_comes_out(body: Body) -> None:
    payload = encode(body, id="i", source="a", time=1.25, expires=2.0, epoch=3, seq=4, traceparent="00-x")
    envelope = decode(payload)
    assert envelope.data == body
    assert type(envelope.data) is type(body)
    header = (envelope.id, envelope.source, envelope.time, envelope.expires, envelope.epoch, envelope.seq)
    assert header == ("i", "a", 1.25, 2.0, 3, 4)
    assert json.loads(payload)["type"] == f"fairlead.1.{body.TYPE}"


@pytest.mark.parametrize("body", SAMPLES, ids=lambda body: body.TYPE)
def test_a_newer_peer_may_say_more(body: Body) -> None:
    message = json.loads(encode(body, id="i", source="a", time=1.0))
    message["from_the_future"] = {"x": 1}
    message["data"]["from_the_future"] = [1, 2]
    assert decode(json.dumps(message).encode()).data == body


def changed(**changes: object) -> bytes:
    message = json.loads(encode(Cancel(negotiation="n", reason="r"), id="i", source="a", time=1.0))
    return json.dumps({key: value for key, value in (message | changes).items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[]", "message"),
        (changed(type="fairlead.2.cancel"), "fairlead.2.cancel"),
        (changed(type="fairlead.1.unheard-of"), "unheard-of"),
        (changed(id=""), "id"),
        (changed(source="x" * 129), "source"),
        (changed(time="soon"), "time"),
        (changed(time=...), "time"),
        (changed(epoch=-1), "epoch"),
        (changed(data={"negotiation": "n"}), "reason"),
        (changed(data=None), "data"),
        (changed(data={"negotiation": "n", "reason": "x" * 2001}), "reason"),
        (b" " * (MAX_MESSAGE_BYTES + 1), str(MAX_MESSAGE_BYTES)),
        (b"[" * 200_000, ""),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_field(payload: bytes, complaint: str) -> None:
    with pytest.raises(MessageError) as caught:
        decode(payload)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_too_large_messages_are_not_sent() -> None:
    with pytest.raises(MessageError, match="stream-chunk"):
        encode(StreamChunk(stream="s", index=0, data_base64="A" * MAX_MESSAGE_BYTES), id="i", source="a", time=1.0)


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(), st.floats())
def test_quantiles_are_finite_and_in_order(p10: float, p50: float, p90: float) -> None:
    try:
        quantiles = Quantiles(p10=p10, p50=p50, p90=p90)
    except ValidationError:
        assert not 0 <= p10 <= p50 <= p90 < float("inf")
    else:
        assert 0 <= quantiles.p10 <= quantiles.p50 <= quantiles.p90 < float("inf")


@pytest.mark.parametrize("name", ["", "A", "a/b", "a+", "-a", "a-", "a" * 64, "a b", "ü"])
def test_names_that_cannot_be_topic_levels_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        LeaseKey(site="s", workload=name, replica=0)
