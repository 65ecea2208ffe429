"""The texts that people read, word for word."""

from __future__ import annotations

from fairlead_agent.messages import Objectives, PlacementRecord, SlotPlacement
from fairlead_agent.placement import changes, explain
from fairlead_agent.placement.choose import Tender, choose
from fairlead_agent.placement.explain import text
from tests.agent.placement.offers import bid, key, offer, refusal, workload


def record(latency_s: float = 0.67, node: str = "edge", epoch: int = 3, **changed: object) -> PlacementRecord:
    bids = [
        bid("edge", offer("q8-sparse", latency_s)),
        bid("phone", offer("q4", 1.75), refusal("bf16", "no GPU here")),
        bid("rack", offer("bf16", 0.05, simulated=True, needs_real=("gpu",))),
        bid("tablet", decline="the node is draining"),
    ]
    wanted = workload(objectives=Objectives(latency_p90_s=1.0))
    choice = choose(Tender(wanted, bids, silent=["watch"]), [0])
    values: dict[str, object] = {
        "workload": "chat",
        "generation": 2,
        "steward": "cp",
        "trigger": "generation 2: replica 0 is not placed",
        "slots": (SlotPlacement(key=key(), state="placed", node=node, variant="q8-sparse", epoch=epoch),),
        "bids": choice.outcomes,
    }
    return PlacementRecord.model_validate(values | changed)


def test_a_decision_is_explained_from_the_winner_to_the_silent() -> None:
    assert text(explain(record())).splitlines() == [
        "chat: 1 of 1 replicas placed at generation 2 by steward cp; last decision: generation 2: replica 0 is not "
        "placed",
        "  replica 0: placed on edge/q8-sparse, epoch 3",
        "  edge/q8-sparse: won: replica 0: score 2.11, p90 latency 0.804 s, p10 throughput 8.33 token/s "
        "[latency 0.80, throughput 1.00, energy 0.30]",
        "  phone/q4: lost: would miss latency_p90_s: p90 latency 2.1 s against 0.804 s of edge/q8-sparse; score 24.40 "
        "against 2.11 [latency 2.10, throughput 1.00, energy 0.30, objectives 21.00]",
        "  phone/bf16: refused: no GPU here",
        "  rack/bf16: refused, on simulated hardware: simulated GPU: this variant needs the real thing",
        "  tablet: declined: the node is draining",
        "  watch: no answer: no bid before the deadline",
    ]


def test_what_changed_since_the_last_decision() -> None:
    before = record(steward="n1", generation=1)
    after = record(latency_s=0.2, node="rack", epoch=4)
    assert [str(line) for line in changes(before, after)] == [
        "chat: generation 1 became 2",
        "chat: the steward n1 was followed by cp",
        "replica 0: moved from edge/q8-sparse to rack/q8-sparse",
        "edge/q8-sparse: score 2.11 became 1.54 (27% better)",
    ]


def test_nothing_changed_is_nothing_said() -> None:
    assert changes(record(), record()) == ()


def test_replicas_that_come_and_go() -> None:
    two = (
        SlotPlacement(key=key(0), state="lost", node="edge", variant="q8-sparse", epoch=3),
        SlotPlacement(key=key(1), state="pending"),
    )
    grown = [str(line) for line in changes(record(), record(slots=two))]
    assert grown == ["replica 0: was placed, is lost", "replica 1: is new, pending"]
    assert str(changes(record(slots=two), record(slots=two[:1]))[0]) == "replica 1: is no longer wanted"


def test_a_deleted_workload() -> None:
    assert text(explain(record(deleted=True, slots=(), bids=()))) == "chat: deleted at generation 2"
