"""A node's side of negotiations."""

from __future__ import annotations

import itertools
from typing import TypeVar

import pytest

from fairlead_agent.messages import (
    Accept,
    Award,
    Bid,
    Body,
    Call,
    Cancel,
    Constraints,
    Offer,
    Refuse,
    Release,
    ReplyAck,
    Workload,
)
from fairlead_agent.placement import (
    Activate,
    Bidder,
    Effect,
    Evaluate,
    PlacementSettings,
    Prepare,
    Resources,
    Send,
    Stop,
)
from tests.agent.placement.offers import GIB, estimate, key, offer, refusal, workload

CAPACITY = Resources({"dram": 4 * GIB}, 4.0)
SETTINGS = PlacementSettings(ttl_s=15.0)
T = TypeVar("T", bound=Body)
E = TypeVar("E")


@pytest.fixture
def bidder() -> Bidder:
    ids = itertools.count()
    return Bidder("edge", 1, SETTINGS, lambda: f"id-{next(ids)}", labels={"zone": "a"})


def call(negotiation: str = "n", wanted: Workload | None = None, replicas: tuple[int, ...] = (0,)) -> Call:
    return Call(
        negotiation=negotiation,
        steward="cp",
        workload=wanted or workload(),
        generation=1,
        replicas=replicas,
        deadline_s=1.0,
        hold_s=10.0,
    )


def award(negotiation: str = "n", variant: str = "q8", replica: int = 0, generation: int = 1) -> Award:
    return Award(
        negotiation=negotiation,
        key=key(replica),
        node="edge",
        variant=variant,
        workload=workload(),
        generation=generation,
        ttl_s=15.0,
    )


def ack(epoch: int, negotiation: str = "n") -> ReplyAck:
    return ReplyAck(negotiation=negotiation, key=key(), node="edge", epoch=epoch, ttl_s=15.0)


def sent(effects: list[Effect], kind: type[T]) -> list[T]:
    return [e.body for e in effects if isinstance(e, Send) and isinstance(e.body, kind)]


def only(effects: list[Effect], kind: type[E]) -> list[E]:
    return [e for e in effects if isinstance(e, kind)]


def bid_for(bidder: Bidder, now: float, *offers: Offer, negotiation: str = "n", request: Call | None = None) -> Bid:
    bidder.call(request or call(negotiation), now)
    (made,) = sent(bidder.evaluated(negotiation, offers or (offer(),), CAPACITY, now), Bid)
    return made


def serve(bidder: Bidder, now: float, epoch: int = 1, negotiation: str = "n") -> None:
    bid_for(bidder, now, negotiation=negotiation)
    bidder.award("cp", award(negotiation), now)
    bidder.reply_ack("cp", ack(epoch, negotiation), now)


def test_a_call_is_evaluated_and_answered_with_a_bid_that_reserves(bidder: Bidder) -> None:
    (evaluate,) = bidder.call(call(), 0.0, source="cp")
    assert isinstance(evaluate, Evaluate) and evaluate.reusable == Resources()
    effects = bidder.evaluated("n", [offer(), refusal("bf16", "no GPU")], CAPACITY, 0.1)
    assert isinstance(effects[0], Send) and effects[0].to == "cp"
    (made,) = sent(effects, Bid)
    assert (made.slots, made.expires_s, made.labels) == (1, 10.0, {"zone": "a"})
    assert made.offers[0].memory_share == 0.25
    assert made.offers[1].refusal is not None
    assert bidder.ledger.free(CAPACITY, 0.1).tier("dram") == 3 * GIB


def test_a_reservation_covers_any_one_of_the_offers(bidder: Bidder) -> None:
    bid_for(bidder, 0.0, offer("a", memory_bytes={"dram": 3 * GIB}), offer("b", memory_bytes={"dram": GIB}, cores=4.0))
    free = bidder.ledger.free(CAPACITY, 0.0)
    assert (free.tier("dram"), free.cores) == (GIB, 0.0)


def test_what_does_not_fit_is_refused_with_numbers(bidder: Bidder) -> None:
    made = bid_for(bidder, 0.0, offer("big", memory_bytes={"dram": 5 * GIB}))
    assert made.slots == 0 and made.decline
    assert made.offers[0].refusal is not None
    assert made.offers[0].refusal.needs == "5120 MiB of dram (4096 MiB free)"
    assert bidder.ledger.free(CAPACITY, 0.0) == CAPACITY.minus(Resources())


def test_two_calls_cannot_both_have_the_same_room(bidder: Bidder) -> None:
    big = offer(memory_bytes={"dram": 3 * GIB})
    assert bid_for(bidder, 0.0, big, negotiation="a").slots == 1
    assert bid_for(bidder, 0.0, big, negotiation="b").slots == 0
    assert bid_for(bidder, 10.0, big, negotiation="c").slots == 1, "the first reservation has lapsed"


def test_calls_of_a_batch_share_the_room_and_awards_never_exceed_it(bidder: Bidder) -> None:
    big = offer(memory_bytes={"dram": 3 * GIB})
    for negotiation in ("a", "b"):
        request = call(negotiation, workload(negotiation)).model_copy(update={"batch": "batch-1"})
        made = bid_for(bidder, 0.0, big, negotiation=negotiation, request=request)
        assert made.slots == 1 and made.room_bytes == {"dram": 4 * GIB}
    assert bidder.ledger.claimed(0.0).tier("dram") == 4 * GIB
    assert sent(bidder.award("cp", award("a"), 1.0), Accept)
    (refuse,) = sent(bidder.award("cp", award("b"), 1.0), Refuse)
    assert "another award of the batch" in refuse.reason
    bidder.cancel(Cancel(negotiation="b", reason="over"), 2.0)
    assert bidder.ledger.claimed(2.0).tier("dram") == 3 * GIB


def test_without_spread_a_bid_covers_several_replicas(bidder: Bidder) -> None:
    stacked = workload(replicas=6, constraints=Constraints(spread="none"))
    made = bid_for(bidder, 0.0, request=call(wanted=stacked, replicas=tuple(range(6))))
    assert made.slots == 4


def test_constraints_and_draining_decline_without_asking_the_plugin(bidder: Bidder) -> None:
    effects = bidder.call(call("x", workload(constraints=Constraints(labels={"zone": "b"}))), 0.0)
    assert "zone=b" in sent(effects, Bid)[0].decline
    bidder.draining = True
    assert sent(bidder.call(call("y"), 0.0), Bid)[0].decline == "the node is draining"


def test_a_repeated_call_gets_the_same_bid_with_the_time_that_is_left(bidder: Bidder) -> None:
    made = bid_for(bidder, 0.0)
    (again,) = sent(bidder.call(call(), 4.0), Bid)
    assert again.offers == made.offers and again.expires_s == 6.0
    assert bidder.call(call(), 11.0) == []


def test_an_answer_of_the_plugin_after_the_deadline_is_not_sent(bidder: Bidder) -> None:
    bidder.call(call(), 0.0)
    assert bidder.evaluated("n", [offer()], CAPACITY, 1.5) == []
    assert bidder.evaluated("unknown", [offer()], CAPACITY, 0.5) == []


def test_an_award_is_accepted_once_and_prepared_once(bidder: Bidder) -> None:
    bid_for(bidder, 0.0)
    effects = bidder.award("cp", award(), 1.0)
    assert len(sent(effects, Accept)) == len(only(effects, Prepare)) == 1
    again = bidder.award("cp", award(), 2.0)
    assert len(sent(again, Accept)) == 1 and only(again, Prepare) == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (award("other"), "made no bid"),
        (award(variant="bf16"), "bf16 was not offered"),
        (award(replica=3), "not for what the call asked"),
        (award(generation=2), "not for what the call asked"),
    ],
)
def test_an_award_for_something_else_is_refused(bidder: Bidder, wrong: Award, reason: str) -> None:
    bid_for(bidder, 0.0)
    (refuse,) = sent(bidder.award("cp", wrong, 1.0), Refuse)
    assert reason in refuse.reason


def test_an_award_after_the_reservation_lapsed_is_refused(bidder: Bidder) -> None:
    bid_for(bidder, 0.0)
    (refuse,) = sent(bidder.award("cp", award(), 10.5), Refuse)
    assert "lapsed" in refuse.reason


def test_the_lease_counts_from_the_first_accept(bidder: Bidder) -> None:
    bid_for(bidder, 0.0)
    bidder.award("cp", award(), 1.0)
    bidder.award("cp", award(), 3.0)
    (activate,) = only(bidder.reply_ack("cp", ack(1), 4.0), Activate)
    assert activate.expires_at == 16.0
    assert bidder.reply_ack("cp", ack(1), 5.0) == [], "a repeated reply-ack does nothing"


def test_a_reply_ack_for_nothing_gives_the_epoch_back(bidder: Bidder) -> None:
    effects = bidder.reply_ack("cp", ack(7), 0.0)
    assert len(sent(effects, Refuse)) == 1
    assert sent(effects, Release)[0].epoch == 7


def test_a_lost_negotiation_frees_its_reservation(bidder: Bidder) -> None:
    bid_for(bidder, 0.0)
    bidder.cancel(Cancel(negotiation="n", reason="over"), 0.5)
    assert bidder.ledger.free(CAPACITY, 0.5).tier("dram") == 4 * GIB


def test_a_withdrawn_award_stops_the_preparation_and_then_frees_its_room(bidder: Bidder) -> None:
    bid_for(bidder, 0.0)
    bidder.award("cp", award(), 1.0)
    (stop,) = only(bidder.cancel(Cancel(negotiation="n", key=key(), reason="the old one is back"), 2.0), Stop)
    assert (stop.epoch, stop.drain) == (0, False)
    assert bidder.ledger.free(CAPACITY, 11.0).tier("dram") == 3 * GIB
    assert bidder.stopped(key(), "n", 11.0) == []
    assert bidder.ledger.free(CAPACITY, 11.0).tier("dram") == 4 * GIB


def test_an_award_that_comes_after_its_withdrawal_starts_nothing(bidder: Bidder) -> None:
    stacked = workload(replicas=4, constraints=Constraints(spread="none"))
    bid_for(bidder, 0.0, request=call(wanted=stacked, replicas=(0, 1, 2, 3)))
    bidder.award("cp", award(), 1.0)
    bidder.cancel(Cancel(negotiation="n", key=key(), reason="over"), 1.1)
    for late in (award(), award(replica=1)):
        bidder.cancel(Cancel(negotiation="n", key=late.key, reason="over"), 1.2)
        effects = bidder.award("cp", late, 1.3)
        assert only(effects, Prepare) == [] and "withdrawn" in sent(effects, Refuse)[0].reason


def test_a_called_back_lease_drains_and_is_released_when_it_has_stopped(bidder: Bidder) -> None:
    serve(bidder, 0.0)
    effects = bidder.cancel(Cancel(negotiation="m", key=key(), epoch=1, reason="moves"), 2.0)
    assert only(effects, Stop)[0].drain and sent(effects, Release) == []
    assert bidder.cancel(Cancel(negotiation="m", key=key(), epoch=1, reason="moves"), 3.0) == []
    assert sent(bidder.stopped(key(), "n", 4.0), Release)[0].epoch == 1


def test_a_cancel_of_another_epoch_does_not_touch_the_lease(bidder: Bidder) -> None:
    serve(bidder, 0.0, epoch=5)
    assert bidder.cancel(Cancel(negotiation="m", key=key(), epoch=4, reason="moves"), 2.0) == []
    assert bidder.leases.live(key(), 2.0) is not None


def test_a_cancel_of_a_lease_that_is_not_held_gives_it_back_for_good(bidder: Bidder) -> None:
    bid_for(bidder, 0.0)
    bidder.award("cp", award(), 1.0)
    effects = bidder.cancel(Cancel(negotiation="m", key=key(), epoch=3, reason="unclaimed"), 2.0)
    assert sent(effects, Release)[0].epoch == 3
    assert only(bidder.reply_ack("cp", ack(3), 2.5), Activate) == []


def test_failed_preparation_is_told_to_the_steward(bidder: Bidder) -> None:
    bid_for(bidder, 0.0)
    bidder.award("cp", award(), 1.0)
    (refuse,) = sent(bidder.failed(key(), "n", "weights not found", 2.0), Refuse)
    assert refuse.reason == "weights not found"
    assert bidder.ledger.free(CAPACITY, 20.0).tier("dram") == 4 * GIB


def test_a_silent_steward_is_not_waited_for(bidder: Bidder) -> None:
    bid_for(bidder, 0.0)
    bidder.award("cp", award(), 1.0)
    assert bidder.next_wakeup() == pytest.approx(1.0 + SETTINGS.candidate_timeout_s)
    assert only(bidder.tick(31.1), Stop)[0].reason == "its steward fell silent"


def test_a_newer_award_for_the_same_replica_supersedes_the_older(bidder: Bidder) -> None:
    bid_for(bidder, 0.0)
    bidder.award("cp", award(), 1.0)
    bid_for(bidder, 2.0, negotiation="m")
    effects = bidder.award("cp2", award("m"), 3.0)
    assert only(effects, Stop)[0].negotiation == "n"
    assert only(effects, Prepare)[0].negotiation == "m"


def test_where_both_do_not_fit_the_new_instance_waits_for_the_old_to_go(bidder: Bidder) -> None:
    big = offer(memory_bytes={"dram": 3 * GIB})
    bid_for(bidder, 0.0, big)
    bidder.award("cp", award(), 0.0)
    bidder.reply_ack("cp", ack(1), 0.0)
    (evaluate,) = bidder.call(call("m"), 1.0)
    assert isinstance(evaluate, Evaluate) and evaluate.reusable.tier("dram") == 3 * GIB
    (made,) = sent(bidder.evaluated("m", [big], CAPACITY, 1.0), Bid)
    assert made.offers[0].replaces
    effects = bidder.award("cp", award("m"), 1.5)
    assert len(sent(effects, Accept)) == 1 and only(effects, Prepare) == []
    bidder.cancel(Cancel(negotiation="m", key=key(), epoch=1, reason="update"), 2.0)
    effects = bidder.stopped(key(), "n", 3.0)
    assert sent(effects, Release)[0].epoch == 1
    assert only(effects, Prepare)[0].negotiation == "m"
    assert only(bidder.reply_ack("cp", ack(2, "m"), 4.0), Activate)[0].epoch == 2


def test_an_epoch_that_comes_before_the_old_instance_has_gone_ends_it_first(bidder: Bidder) -> None:
    big = offer(memory_bytes={"dram": 3 * GIB})
    bid_for(bidder, 0.0, big)
    bidder.award("cp", award(), 0.0)
    bidder.reply_ack("cp", ack(1), 0.0)
    bid_for(bidder, 1.0, big, negotiation="m")
    bidder.award("cp", award("m"), 1.5)
    effects = bidder.reply_ack("cp", ack(2, "m"), 2.0)
    assert only(effects, Activate) == [] and not only(effects, Stop)[0].drain
    assert only(bidder.stopped(key(), "n", 2.5), Prepare)[0].negotiation == "m"
    assert only(bidder.reply_ack("cp", ack(2, "m"), 3.0), Activate)[0].epoch == 2


def test_what_instances_measured_corrects_the_next_bid(bidder: Bidder) -> None:
    for _ in range(20):
        bidder.calibration.observe("llm", "q8", estimate(0.5, throughput=10), 5.0, None)
    made = bid_for(bidder, 0.0, offer(throughput=10))
    assert made.offers[0].calibration == pytest.approx(0.5)
    assert made.offers[0].estimate is not None
    assert made.offers[0].estimate.throughput_per_s.p50 == pytest.approx(5.0)


def test_draining_the_node_drains_every_lease_and_drops_every_award(bidder: Bidder) -> None:
    serve(bidder, 0.0)
    bid_for(bidder, 1.0, negotiation="m", request=call("m", replicas=(1,)))
    bidder.award("cp", award("m", replica=1), 1.0)
    stops = only(bidder.drain_all("shutting down", 2.0), Stop)
    assert {(s.negotiation, s.drain) for s in stops} == {("n", True), ("m", False)}


def test_an_adopted_instance_keeps_its_lease(bidder: Bidder) -> None:
    bidder.adopt(key(), "old", 4, 15.0, 12.0, Resources({"dram": GIB}, 1.0))
    assert bidder.ledger.free(CAPACITY, 0.0).tier("dram") == 3 * GIB
    effects = bidder.tick(0.0)
    assert len(effects) == 1, "it is renewed at once"
    assert only(bidder.tick(12.0), Stop)[0].epoch == 4


def test_messages_for_others_do_nothing(bidder: Bidder) -> None:
    bid_for(bidder, 0.0)
    for body in (
        award().model_copy(update={"node": "phone"}),
        ack(1).model_copy(update={"node": "phone"}),
        Cancel(negotiation="n", node="phone", reason="x"),
        Accept(negotiation="n", key=key(), node="edge", incarnation=1, variant="q8"),
    ):
        assert bidder.message("cp", body, 0.5) == []
    assert bidder.ledger.free(CAPACITY, 0.5).tier("dram") == 3 * GIB
