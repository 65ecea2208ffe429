"""Who wins, and what the others are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.messages import Bid, Constraints, Objectives, Workload
from fairlead_agent.placement.choose import Choice, Tender, choose
from tests.agent.placement.offers import bid, offer, refusal, workload


def reasons(choice: Choice) -> dict[str, tuple[str, str]]:
    return {f"{o.node}/{o.variant}": (o.outcome, o.reason) for o in choice.outcomes}


def chosen(choice: Choice) -> dict[int, str]:
    return {replica: winner.name for replica, winner in choice.winners.items()}


def test_the_best_score_wins_and_the_others_are_told_why_in_numbers() -> None:
    bids = [bid("edge", offer("q8-sparse-native", 0.67)), bid("phone", offer("q4", 1.75, throughput=9))]
    choice = choose(Tender(workload(), bids), [0])
    assert chosen(choice) == {0: "edge/q8-sparse-native"}
    assert reasons(choice) == {
        "edge/q8-sparse-native": (
            "won",
            "replica 0: score 2.30, p90 latency 0.804 s, p10 throughput 8.33 token/s",
        ),
        "phone/q4": ("lost", "p90 latency 2.1 s against 0.804 s of edge/q8-sparse-native; score 4.03 against 2.30"),
    }


def test_a_missed_objective_is_named() -> None:
    wanted = workload(objectives=Objectives(latency_p90_s=1.0))
    choice = choose(Tender(wanted, [bid("edge", offer(latency_s=0.5)), bid("phone", offer(latency_s=1.0))]), [0])
    assert "would miss latency_p90_s: p90 latency 1.2 s against 0.6 s of edge/q8" in reasons(choice)["phone/q8"][1]


def test_where_nothing_holds_the_objectives_the_best_of_the_rest_wins_and_says_so() -> None:
    wanted = workload(objectives=Objectives(latency_p90_s=0.01))
    choice = choose(Tender(wanted, [bid("edge", offer())]), [0])
    assert reasons(choice)["edge/q8"][1].endswith("though it would miss latency_p90_s")


def test_simulated_hardware_never_wins_what_needs_the_real_thing() -> None:
    fake = offer("bf16", 0.01, throughput=1000, simulated=True, needs_real=("gpu",))
    choice = choose(Tender(workload(), [bid("rack", fake), bid("phone", offer("q4", 9.0))]), [0])
    assert chosen(choice) == {0: "phone/q4"}
    assert reasons(choice)["rack/bf16"] == ("refused", "simulated GPU: this variant needs the real thing")


def test_simulated_hardware_may_win_what_does_not_need_it() -> None:
    choice = choose(Tender(workload(), [bid("rack", offer(simulated=True))]), [0])
    assert chosen(choice) == {0: "rack/q8"}
    assert choice.outcomes[0].simulated


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        (Constraints(nodes=("rack",)), "the workload is limited to rack"),
        (Constraints(exclude_nodes=("edge",)), "the workload excludes this node"),
        (
            Constraints(labels={"zone": "b"}),
            "the workload needs label zone=b, the node has zone=a",
        ),
        (Constraints(variants=("bf16",)), "the workload is limited to the variants bf16"),
    ],
)
def test_constraints_rule_out_with_a_reason(constraints: Constraints, words: str) -> None:
    choice = choose(Tender(workload(constraints=constraints), [bid("edge", offer(), labels={"zone": "a"})]), [0])
    assert choice.winners == {}
    assert reasons(choice)["edge/q8"] == ("refused", words)


def test_refusals_declines_and_silence_are_kept_apart() -> None:
    bids = [
        bid("phone", refusal("q8", "not enough room", needs="512 MiB of dram", has="130 MiB free")),
        bid("tablet", decline="the node is draining"),
    ]
    choice = choose(Tender(workload(), bids, silent=["watch"]), [0])
    assert reasons(choice) == {
        "phone/q8": ("refused", "not enough room (needs 512 MiB of dram, has 130 MiB free)"),
        "tablet/-": ("declined", "the node is draining"),
        "watch/-": ("no-answer", "no bid before the deadline"),
    }


def test_what_failed_lately_is_passed_over() -> None:
    tender = Tender(workload(), [bid("edge", offer())], excluded={("edge", "q8"): "it failed here"})
    assert choose(tender, [0]).winners == {}


def test_replicas_spread_over_nodes() -> None:
    bids = [bid("a", offer(latency_s=0.1), slots=4), bid("b", offer(latency_s=0.5)), bid("c", offer(latency_s=0.9))]
    assert chosen(choose(Tender(workload(), bids), [0, 1, 2])) == {0: "a/q8", 1: "b/q8", 2: "c/q8"}


def test_without_spread_a_node_takes_as_many_as_its_reservation_covers() -> None:
    stacked = workload(constraints=Constraints(spread="none"))
    bids = [bid("a", offer(latency_s=0.1), slots=2), bid("b", offer(latency_s=0.5), slots=1)]
    choice = choose(Tender(stacked, bids), [0, 1, 2, 3])
    assert chosen(choice) == {0: "a/q8", 1: "a/q8", 2: "b/q8"}
    assert "replicas 0, 1" in reasons(choice)["a/q8"][1]


def test_a_node_that_keeps_another_replica_is_left_alone() -> None:
    tender = Tender(workload(), [bid("a", offer(latency_s=0.1)), bid("b", offer())], occupied={"a": 1})
    choice = choose(tender, [1])
    assert chosen(choice) == {1: "b/q8"}
    assert "spreads over nodes" in reasons(choice)["a/q8"][1]


def test_replicas_stay_at_home_where_that_costs_nothing() -> None:
    bids = [bid("a", offer(latency_s=0.1)), bid("b", offer(latency_s=0.5))]
    choice = choose(Tender(workload(), bids), [0, 1], homes={0: "b", 1: "a"})
    assert chosen(choice) == {0: "b/q8", 1: "a/q8"}


def test_ties_go_to_the_first_by_name_and_say_so() -> None:
    choice = choose(Tender(workload(), [bid("b", offer()), bid("a", offer())]), [0])
    assert chosen(choice) == {0: "a/q8"}
    assert reasons(choice)["b/q8"][1] == "as good as a/q8, which comes first by name; score 2.30 against 2.30"


bids_strategy = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d", "e"]), st.floats(0.01, 10), st.floats(0.1, 100), st.integers(1, 3)),
    max_size=5,
    unique_by=lambda item: item[0],
)


@given(bids_strategy, st.integers(1, 5), st.sampled_from(["node", "none"]))
def test_no_node_gets_more_than_it_offered_and_every_offer_has_a_reason(
    items: list[tuple[str, float, float, int]], replicas: int, spread: str
) -> None:
    wanted: Workload = workload(constraints=Constraints.model_validate({"spread": spread}))
    bids: list[Bid] = [bid(node, offer("x", lat, throughput=thr), slots=slots) for node, lat, thr, slots in items]
    choice = choose(Tender(wanted, bids), list(range(replicas)))
    for node, _, _, slots in items:
        count = sum(winner.node == node for winner in choice.winners.values())
        assert count <= (1 if spread == "node" else slots)
    room = sum(1 if spread == "node" else slots for *_, slots in items)
    assert len(choice.winners) == min(replicas, room)
    assert len(choice.outcomes) == len(items) and all(outcome.reason for outcome in choice.outcomes)
    worst_winner = max((w.score.total for w in choice.winners.values()), default=0.0)
    idle = [r for r in choice.ranked if all(w.node != r.node for w in choice.winners.values())]
    assert all(r.score.total >= worst_winner for r in idle)


@given(bids_strategy, st.data())
def test_the_order_in_which_bids_arrive_does_not_matter(
    items: list[tuple[str, float, float, int]], data: st.DataObject
) -> None:
    bids = [bid(node, offer("x", lat, throughput=thr), slots=slots) for node, lat, thr, slots in items]
    shuffled = data.draw(st.permutations(bids))
    assert choose(Tender(workload(), bids), [0, 1]).outcomes == choose(Tender(workload(), shuffled), [0, 1]).outcomes
