"""A steward, message by message."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
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
    Grant,
    GrantDenied,
    GrantRequest,
    InstanceReport,
    InstanceState,
    LeaseQuery,
    LeaseState,
    LeaseStates,
    NodeInstances,
    NodeStatus,
    Offer,
    PlacementPolicy,
    PlacementRecord,
    Refuse,
    ReplyAck,
    SlotPlacement,
    Workload,
)
from fairlead_agent.messages.signing import DesiredWorkload
from fairlead_agent.placement import Announce, Effect, PlacementSettings, Record, Send, Steward, config_digest
from tests.agent.placement.offers import GIB, key, offer, refusal, workload

T = TypeVar("T", bound=Body)
SETTINGS = PlacementSettings(ttl_s=15.0)


class Desk:
    """A steward and everything that it has said."""

    def __init__(self, *nodes: str, rank: int = 2, settings: PlacementSettings = SETTINGS) -> None:
        ids = itertools.count()
        self.steward = Steward("lab", "cp", rank, settings, lambda: f"id-{next(ids)}")
        self.now = 0.0
        self.said: list[Effect] = []
        self.seq = 0
        self.status("cp", rank=rank)
        for node in nodes:
            self.status(node)

    def hear(self, effects: Sequence[Effect]) -> None:
        self.said += effects

    def status(self, node: str, *, rank: int = 1, online: bool = True, incarnation: int = 1, **more: object) -> None:
        values: dict[str, object] = {"node": node, "incarnation": incarnation, "online": online, "steward_rank": rank}
        self.hear(self.steward.node_status(NodeStatus.model_validate(values | more), self.now))

    def want(self, item: Workload, generation: int = 1) -> None:
        wanted = DesiredWorkload(site="lab", name=item.name, generation=generation, workload=item)
        self.hear(self.steward.desired(wanted, self.now))

    def states(self, *leases: LeaseState) -> None:
        """Answer the newest query."""
        body = LeaseStates(request_id=self.last(LeaseQuery).request_id, leases=leases)
        self.hear(self.steward.message("authority", body, self.now))

    def tell(self, source: str, body: Body) -> None:
        self.hear(self.steward.message(source, body, self.now))

    def bid(self, node: str, *offers: Offer, slots: int = 1) -> None:
        body = Bid(
            negotiation=self.call.negotiation,
            node=node,
            incarnation=1,
            offers=offers,
            slots=slots if any(o.estimate for o in offers) else 0,
            decline="" if offers else "declined",
        )
        self.tell(node, body)

    def accept(self, award: Award, incarnation: int = 1) -> None:
        body = Accept(
            negotiation=award.negotiation,
            key=award.key,
            node=award.node,
            incarnation=incarnation,
            variant=award.variant,
        )
        self.tell(award.node, body)

    def grant(self, epoch: int) -> None:
        asked = self.last(GrantRequest)
        body = Grant(
            request_id=asked.request_id,
            key=asked.key,
            node=asked.node,
            incarnation=asked.incarnation,
            epoch=epoch,
            ttl_s=15.0,
        )
        self.tell("authority", body)

    def report(self, node: str, *instances: InstanceReport, incarnation: int = 1) -> None:
        self.seq += 1
        body = NodeInstances(node=node, incarnation=incarnation, seq=self.seq, instances=instances)
        self.hear(self.steward.instances(body, self.now))

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.steward.next_wakeup()) is not None and at <= end:
            self.now = max(self.now, at)
            self.hear(self.steward.tick(self.now))
        self.now = end

    def all(self, kind: type[T]) -> list[T]:
        found: list[T] = []
        for effect in self.said:
            body = effect.record if isinstance(effect, Record) else getattr(effect, "body", None)
            if isinstance(body, kind):
                found.append(body)
        return found

    def last(self, kind: type[T]) -> T:
        return self.all(kind)[-1]

    @property
    def call(self) -> Call:
        return self.last(Call)

    @property
    def slot(self) -> SlotPlacement:
        return self.last(PlacementRecord).slots[0]

    def place(self, item: Workload | None = None, generation: int = 1, node: str = "edge", epoch: int = 1) -> None:
        """Everything up to a confirmed replica 0 on ``node``."""
        self.want(item or workload(), generation)
        self.states()
        for other in sorted({"edge", "rack"}):
            self.bid(other, offer("q8", 0.5 if other == node else 5.0))
        self.accept(self.last(Award))
        self.grant(epoch)
        self.report(node, running(epoch))


def running(epoch: int = 1, state: InstanceState = InstanceState.READY, **more: object) -> InstanceReport:
    values: dict[str, object] = {"key": key(), "epoch": epoch, "variant": "q8", "state": state}
    return InstanceReport.model_validate(values | more)


def lease(epoch: int = 1, node: str | None = "edge", **more: object) -> LeaseState:
    values: dict[str, object] = {
        "key": key(),
        "epoch": epoch,
        "node": node,
        "incarnation": 1,
        "generation": 1,
        "remaining_s": 15.0,
        "renewed_ago_s": 0.2,
    }
    return LeaseState.model_validate(values | more)


@pytest.fixture
def desk() -> Desk:
    return Desk("edge", "rack")


def test_from_desired_state_to_a_confirmed_replica(desk: Desk) -> None:
    desk.want(workload())
    assert desk.last(LeaseQuery).workloads == ("chat",)
    assert desk.all(Call) == [], "nothing is negotiated before the leases are known"
    desk.states()
    assert desk.call.replicas == (0,)
    desk.bid("edge", offer("q8", 0.5))
    assert desk.all(Award) == []
    desk.bid("rack", offer("q8", 1.0))
    award = desk.last(Award)
    assert (award.node, award.variant, award.ttl_s) == ("edge", "q8", 15.0)
    desk.accept(award)
    assert (desk.last(GrantRequest).node, desk.last(GrantRequest).expected_epoch) == ("edge", 0)
    desk.grant(1)
    assert (desk.last(ReplyAck).epoch, desk.slot.state) == (1, "awarded")
    desk.report("edge", running())
    assert (desk.slot.state, desk.slot.node, desk.slot.epoch) == ("placed", "edge", 1)


def test_whoever_is_not_the_steward_says_nothing() -> None:
    desk = Desk("edge", rank=1)
    desk.status("other-cp", rank=2)
    desk.want(workload())
    desk.wait(60)
    assert desk.said == []
    assert desk.steward.owned == ()


def test_a_node_that_takes_over_keeps_what_runs(desk: Desk) -> None:
    desk.report("edge", running(7))
    desk.want(workload())
    desk.states(lease(7))
    desk.wait(2)
    assert desk.all(Call) == []
    assert (desk.slot.state, desk.slot.node, desk.slot.epoch) == ("placed", "edge", 7)


def test_a_steward_that_loses_the_workload_withdraws_and_falls_silent(desk: Desk) -> None:
    desk.want(workload())
    desk.states()
    for node in ("edge", "rack"):
        desk.bid(node, offer())
    desk.status("backup", rank=3)
    withdrawn = desk.last(Cancel)
    assert withdrawn.key == key() and withdrawn.epoch is None
    desk.said.clear()
    desk.wait(100)
    assert desk.said == [] and desk.steward.records() == ()


def test_a_refused_award_goes_to_the_next_best_at_once(desk: Desk) -> None:
    desk.want(workload())
    desk.states()
    desk.bid("edge", offer("q8", 0.5))
    desk.bid("rack", offer("q8", 1.0))
    first = desk.last(Award)
    desk.tell("edge", Refuse(negotiation=first.negotiation, key=key(), node="edge", reason="memory is gone"))
    assert desk.last(Award).node == "rack"
    outcome = next(o for o in desk.last(PlacementRecord).bids if o.node == "edge")
    assert (outcome.outcome, outcome.reason) == ("refused", "memory is gone")


def test_an_unanswered_award_goes_to_the_next_best(desk: Desk) -> None:
    desk.want(workload())
    desk.states()
    desk.bid("edge", offer("q8", 0.5))
    desk.bid("rack", offer("q8", 1.0))
    desk.wait(3)
    awards = [award.node for award in desk.all(Award)]
    assert awards[: SETTINGS.award_attempts] == ["edge"] * SETTINGS.award_attempts
    assert awards[-1] == "rack"


def test_lost_messages_are_repeated(desk: Desk) -> None:
    desk.want(workload())
    desk.wait(1.2)
    assert len(desk.all(LeaseQuery)) >= 2
    desk.states()
    desk.wait(0.6)
    assert len(desk.all(Call)) == 2, "called again at half time, where answers are missing"
    assert desk.all(Call)[0] == desk.all(Call)[1]
    for node in ("edge", "rack"):
        desk.bid(node, offer())
    desk.accept(desk.last(Award))
    desk.wait(2.5)
    requests = desk.all(GrantRequest)
    assert len(requests) >= 3 and len({r.request_id for r in requests}) == 1
    desk.grant(1)
    desk.wait(2.5)
    assert len(desk.all(ReplyAck)) >= 3


def test_where_nobody_can_serve_the_reasons_are_told_and_it_is_tried_ever_more_rarely(desk: Desk) -> None:
    desk.want(workload())
    desk.states()
    calls: list[float] = []
    for _ in range(200):
        if len(desk.all(Call)) > len(calls):
            calls.append(desk.now)
            desk.bid("edge", refusal("q8", "no GPU here"))
            desk.bid("rack")
        desk.wait(0.5)
        desk.states()
    assert desk.slot.state == "unplaceable"
    assert desk.slot.reason == "edge/q8: no GPU here; rack: declined"
    gaps = [b - a for a, b in itertools.pairwise(calls)]
    assert gaps == sorted(gaps) and gaps[-1] > 20 and len(calls) < 10


def test_a_new_node_is_asked_soon(desk: Desk) -> None:
    desk.want(workload())
    desk.states()
    for _ in range(6):
        desk.bid("edge", refusal("q8", "no"))
        desk.bid("rack", refusal("q8", "no"))
        desk.wait(8)
        desk.states()
    before = len(desk.all(Call))
    desk.status("phone")
    desk.wait(1.0)
    assert len(desk.all(Call)) > before


def test_a_dead_holder_is_replaced_when_its_lease_has_run_out(desk: Desk) -> None:
    desk.place()
    desk.status("edge", online=False)
    desk.bid("rack", offer())
    desk.accept(desk.last(Award))
    asked = desk.last(GrantRequest)
    assert asked.expected_epoch == 1
    denied = GrantDenied(
        request_id=asked.request_id, key=key(), reason="held", current_epoch=1, holder="edge", retry_after_s=12.0
    )
    desk.tell("authority", denied)
    before = len(desk.all(GrantRequest))
    desk.wait(11.9)
    assert len(desk.all(GrantRequest)) == before
    desk.wait(0.2)
    assert len(desk.all(GrantRequest)) == before + 1
    desk.grant(2)
    desk.report("rack", running(2))
    assert (desk.slot.node, desk.slot.state, desk.slot.epoch) == ("rack", "placed", 2)


def test_a_silent_holder_that_comes_back_keeps_its_lease(desk: Desk) -> None:
    desk.place()
    desk.wait(4)
    desk.states(lease(1, remaining_s=3.0, renewed_ago_s=12.3))
    assert desk.slot.state == "negotiating"
    for node in ("edge", "rack"):
        desk.bid(node, offer())
    award = desk.last(Award)
    desk.accept(award)
    desk.wait(4)
    desk.states(lease(1))
    withdrawn = [c for c in desk.all(Cancel) if c.key == key() and c.epoch is None]
    assert withdrawn and withdrawn[-1].negotiation == award.negotiation
    assert (desk.slot.state, desk.slot.node) == ("placed", "edge")


def test_a_failed_instance_is_called_back_and_not_tried_there_again(desk: Desk) -> None:
    desk.place()
    desk.report("edge", running(1, InstanceState.QUARANTINED, reason="crashed 5 times"))
    back = desk.last(Cancel)
    assert (back.key, back.epoch, back.node) == (key(), 1, "edge")
    desk.bid("edge", offer("q8", 0.1))
    desk.bid("rack", offer("q8", 9.0))
    assert desk.last(Award).node == "rack"
    outcome = next(o for o in desk.last(PlacementRecord).bids if o.node == "edge")
    assert outcome.reason.startswith("it failed here (crashed 5 times)")


def test_the_same_config_in_a_new_generation_moves_nothing(desk: Desk) -> None:
    desk.place(workload(config={"model": "a"}))
    before = len(desk.all(Call))
    desk.want(workload(config={"model": "a"}, priority=90), generation=2)
    desk.wait(1)
    assert len(desk.all(Call)) == before
    assert (desk.slot.state, desk.slot.epoch) == ("placed", 1)


def test_a_successor_learns_from_the_record_that_a_new_generation_changed_nothing(desk: Desk) -> None:
    item = workload(config={"model": "a"})
    slot = SlotPlacement(
        key=key(), state="placed", node="edge", variant="q8", epoch=4, config_digest=config_digest(item)
    )
    desk.tell("broker", PlacementRecord(workload="chat", generation=2, steward="old", seq=8, slots=(slot,)))
    desk.report("edge", running(4))
    desk.want(item, generation=3)
    desk.states(lease(4, generation=1))
    desk.wait(1)
    assert desk.all(Call) == []
    assert desk.last(PlacementRecord).seq > 8


def test_a_new_config_starts_beside_the_old_before_the_old_goes(desk: Desk) -> None:
    desk.place(workload(config={"model": "a"}))
    desk.want(workload(config={"model": "b"}), generation=2)
    desk.bid("edge", offer("q8", 9.0))
    desk.bid("rack", offer("q8", 0.5))
    desk.accept(desk.last(Award))
    assert [c for c in desk.all(Cancel) if c.epoch] == []
    assert (desk.slot.state, desk.slot.node) == ("placed", "edge")
    desk.report("rack", running(0, InstanceState.STANDBY, generation=2))
    assert desk.last(Cancel).epoch == 1 and desk.last(GrantRequest).generation == 2
    desk.grant(2)
    desk.report("rack", running(2, generation=2))
    assert (desk.slot.node, desk.slot.epoch) == ("rack", 2)


def test_a_new_config_that_cannot_start_leaves_the_old_alone(desk: Desk) -> None:
    desk.place(workload(config={"model": "a"}))
    desk.want(workload(config={"model": "b"}), generation=2)
    desk.bid("edge", offer("q8", 9.0))
    desk.bid("rack", offer("q8", 0.5))
    desk.accept(desk.last(Award))
    broken = running(0, InstanceState.FAILED, generation=2, reason="no such model")
    desk.report("rack", broken)
    assert desk.last(Award).node == "edge", "the next best is tried"
    desk.accept(desk.last(Award))
    desk.report("edge", running(1), broken)
    desk.wait(5)
    desk.states(lease(1))
    assert [c for c in desk.all(Cancel) if c.epoch] == []
    assert (desk.slot.state, desk.slot.node) == ("placed", "edge")


def test_a_deleted_workload_is_called_back_and_then_tombed(desk: Desk) -> None:
    desk.place()
    gone = DesiredWorkload(site="lab", name="chat", generation=2, deleted=True)
    desk.hear(desk.steward.desired(gone, desk.now))
    assert desk.last(Cancel).epoch == 1
    assert desk.last(PlacementRecord).slots
    desk.wait(1)
    desk.states(lease(1, node=None, remaining_s=0.0))
    record = desk.last(PlacementRecord)
    assert record.deleted and record.slots == ()
    desk.said.clear()
    desk.wait(60)
    assert desk.said == []


def test_a_deleted_workload_that_is_wanted_again_is_placed_again(desk: Desk) -> None:
    desk.place()
    desk.hear(desk.steward.desired(DesiredWorkload(site="lab", name="chat", generation=2, deleted=True), desk.now))
    desk.wait(1)
    desk.states(lease(1, node=None, remaining_s=0.0))
    desk.wait(1)
    desk.want(workload(), generation=3)
    desk.wait(1)
    desk.states(lease(1, node=None, remaining_s=0.0))
    assert desk.call.generation == 3
    for node in ("edge", "rack"):
        desk.bid(node, offer())
    desk.accept(desk.last(Award))
    assert desk.last(GrantRequest).expected_epoch == 1


def test_an_older_generation_is_ignored(desk: Desk) -> None:
    desk.place(workload(config={"model": "b"}), generation=5)
    before = len(desk.said)
    desk.want(workload(config={"model": "a"}), generation=4)
    assert len(desk.said) == before


def test_scaling_down_calls_back_the_highest_replicas(desk: Desk) -> None:
    desk.want(workload(replicas=2))
    second = lease(3, "rack").model_copy(update={"key": key(1)})
    desk.states(lease(2, "edge"), second)
    desk.want(workload(replicas=1), generation=2)
    cancels = [c for c in desk.all(Cancel) if c.epoch]
    assert {(c.key, c.epoch) for c in cancels} == {(key(1), 3)}


def test_a_draining_node_is_emptied(desk: Desk) -> None:
    desk.place()
    desk.status("edge", draining=True)
    assert desk.call.replicas == (0,)
    desk.bid("edge")
    desk.bid("rack", offer("q8", 9.0))
    assert desk.last(Award).node == "rack"


def test_a_node_that_no_longer_fits_the_constraints_is_left(desk: Desk) -> None:
    desk.place()
    desk.want(workload(constraints=Constraints(exclude_nodes=("edge",))), generation=2)
    desk.bid("edge", offer("q8", 0.1))
    desk.bid("rack", offer("q8", 9.0))
    assert desk.last(Award).node == "rack"


def test_a_restarted_holder_that_lost_the_instance_is_asked_to_give_the_lease_back(desk: Desk) -> None:
    desk.place()
    desk.status("edge", incarnation=2)
    desk.report("edge", incarnation=2)
    desk.wait(SETTINGS.claim_grace_s + 0.1)
    assert [c.epoch for c in desk.all(Cancel) if c.epoch] == [1]
    assert desk.slot.state == "negotiating"


def test_a_guarantee_that_cannot_be_kept_is_said_and_not_negotiated(desk: Desk) -> None:
    desk.want(workload(placement=PlacementPolicy(guarantee="available")))
    desk.states()
    assert desk.slot.state == "unplaceable" and "epochs delegated to the site" in desk.slot.reason
    desk.wait(60)
    assert desk.all(Call) == []


def test_a_broken_workload_blocks_no_other_and_the_urgent_go_first() -> None:
    desk = Desk("edge", settings=PlacementSettings(concurrent_negotiations=2))
    for index in range(6):
        desk.want(workload(f"w{index}", priority=10 * index))
    desk.wait(0.6)
    desk.states()
    assert [c.workload.name for c in desk.all(Call)] == ["w5", "w4"]
    desk.wait(30)
    assert {c.workload.name for c in desk.all(Call)} == {f"w{index}" for index in range(6)}


def test_awards_of_one_batch_fit_together() -> None:
    desk = Desk("edge", "rack")
    for name in ("first", "second"):
        desk.want(workload(name))
    desk.wait(0.6)
    desk.states()
    calls = desk.all(Call)
    assert len(calls) == 2 and calls[0].batch == calls[1].batch
    for call in calls:
        for node, latency_s in (("edge", 0.5), ("rack", 5.0)):
            body = Bid(
                negotiation=call.negotiation,
                node=node,
                incarnation=1,
                offers=(offer("q8", latency_s, memory_bytes={"dram": 3 * GIB}),),
                room_bytes={"dram": 4 * GIB},
                room_cores=4.0,
            )
            desk.tell(node, body)
    assert [(a.key.workload, a.node) for a in desk.all(Award)] == [("first", "edge"), ("second", "rack")]
    lost = next(o for r in desk.all(PlacementRecord) if r.workload == "second" for o in r.bids if o.node == "edge")
    assert lost.reason == "another workload was awarded its room: it lacks 3072 MiB of dram (1024 MiB free)"


def test_an_accept_that_nobody_waits_for_is_answered(desk: Desk) -> None:
    desk.place()
    stray = Accept(negotiation="old", key=key(), node="rack", incarnation=1, variant="q8")
    desk.tell("rack", stray)
    assert isinstance(desk.said[-1], Send) and desk.said[-1].to == "rack"
    assert desk.last(Cancel).negotiation == "old"


def test_losers_get_their_reservations_back(desk: Desk) -> None:
    for node in ("n1", "n2", "n3"):
        desk.status(node)
    desk.want(workload())
    desk.states()
    for index, node in enumerate(["edge", "rack", "n1", "n2", "n3"]):
        desk.bid(node, offer("q8", 0.5 + index))
    freed = {e.to for e in desk.said if isinstance(e, Send) and isinstance(e.body, Cancel)}
    assert freed == {"n2", "n3"}, "the winner and two runners-up are kept"


def test_stale_news_of_a_node_changes_nothing(desk: Desk) -> None:
    desk.status("edge", incarnation=3)
    desk.want(workload())
    desk.states()
    desk.bid("edge", offer("q8", 0.1))
    desk.bid("rack", offer("q8", 9.0))
    desk.status("edge", incarnation=2, online=False)
    desk.accept(desk.last(Award), incarnation=3)
    assert desk.last(GrantRequest).node == "edge"
    desk.status("edge", incarnation=3, online=False)
    assert desk.last(Award).node == "rack"


def test_announcements_are_made_once_per_negotiation(desk: Desk) -> None:
    desk.place()
    assert len([e for e in desk.said if isinstance(e, Announce)]) == 1
