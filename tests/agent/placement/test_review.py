"""Moves are worth it, rare, and never go back and forth."""

from __future__ import annotations

from fairlead_agent.messages import InstanceReport, InstanceState, Objectives
from fairlead_agent.placement import PlacementSettings
from fairlead_agent.placement.choose import Tender
from fairlead_agent.placement.review import Move, ReviewPolicy
from tests.agent.placement.offers import bid, key, offer, refusal, workload

SETTINGS = PlacementSettings()


def policy(moves: int = 0) -> ReviewPolicy:
    made = ReviewPolicy(SETTINGS)
    for _ in range(moves):
        made.closed(True, 0.0)
    return made


def best(here_s: float, there_s: float, *, moves: int = 0, now: float = 1.0, **changes: float) -> Move | None:
    bids = [bid("a", offer("q8", here_s)), bid("b", offer("q8", there_s, **changes))]
    move, _ = policy(moves).best_move(Tender(workload(), bids), {0: ("a", "q8")}, now)
    return move


def report(**measured: float) -> InstanceReport:
    return InstanceReport(key=key(), epoch=1, variant="q8", state=InstanceState.READY, **measured)  # type: ignore[arg-type]


def test_a_large_gain_moves_and_a_small_one_does_not() -> None:
    move = best(1.0, 0.3)
    assert move is not None and move.to.node == "b"
    assert best(1.0, 0.9) is None
    assert best(0.3, 1.0) is None


def test_the_cost_of_moving_counts() -> None:
    assert best(1.0, 0.3, transfer_bytes=40 * 10**9) is None


def test_each_move_makes_the_next_one_harder_until_it_is_forgotten() -> None:
    assert best(1.0, 0.5) is not None
    assert best(1.0, 0.5, moves=3) is None
    assert best(1.0, 0.5, moves=3, now=SETTINGS.history_s + 1) is not None


def test_the_time_to_stay_doubles_with_each_move() -> None:
    assert [policy(n).dwell_s(1.0) for n in range(3)] == [60.0, 120.0, 240.0]


def test_a_holder_that_can_serve_no_longer_loses_to_anyone_who_can() -> None:
    bids = [bid("a", refusal("q8", "too hot")), bid("b", offer("q4", 3.0))]
    move, _ = policy().best_move(Tender(workload(), bids), {0: ("a", "q8")}, 0.0)
    assert move is not None and move.to.node == "b"


def test_a_holder_that_did_not_answer_is_not_judged() -> None:
    move, _ = policy().best_move(Tender(workload(), [bid("b", offer("q4", 0.1))]), {0: ("a", "q8")}, 0.0)
    assert move is None


def test_a_replica_does_not_move_to_where_another_one_is() -> None:
    bids = [bid("a", offer("q8", 1.0)), bid("b", offer("q8", 0.1))]
    move, _ = policy().best_move(Tender(workload(), bids), {0: ("a", "q8"), 1: ("b", "q8")}, 0.0)
    assert move is None


def test_many_triggers_make_one_review_after_the_debounce() -> None:
    made = ReviewPolicy(SETTINGS)
    assert made.due_at() is None
    for step in range(5):
        made.trigger(f"change {step}", 10.0 + step / 10)
    assert made.due_at() == 10.0 + SETTINGS.debounce_s
    assert made.opened(12.0) == "change 0"
    assert made.due_at() is None


def test_reviews_that_change_nothing_become_rare() -> None:
    made, waits = ReviewPolicy(SETTINGS), []
    for _ in range(7):
        made.closed(False, 0.0)
        made.trigger("again", 0.0)
        waits.append(made.due_at())
    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]


def test_an_urgent_change_does_not_wait_for_reviews_that_became_rare() -> None:
    made = ReviewPolicy(SETTINGS)
    for _ in range(7):
        made.closed(False, 100.0)
    made.trigger("facts of edge changed", 120.0)
    assert made.due_at() == 700.0
    made.trigger("the link has 1 Mbit/s instead of 1 Gbit/s", 121.0, urgent=True)
    assert made.due_at() == 120.0 + SETTINGS.debounce_s
    assert made.opened(123.0) == "the link has 1 Mbit/s instead of 1 Gbit/s"


def test_urgent_changes_before_a_review_are_all_named_once() -> None:
    made = ReviewPolicy(SETTINGS)
    for reason in ("it carries less", "it takes longer", "it carries less"):
        made.trigger(reason, 1.0, urgent=True)
    assert made.opened(4.0) == "it carries less; it takes longer"
    made.trigger("facts of edge changed", 5.0)
    made.trigger("it carries more", 5.5, urgent=True)
    assert made.opened(9.0) == "it carries more"


def test_urgent_changes_without_end_do_not_make_reviews_without_end() -> None:
    made = ReviewPolicy(SETTINGS)
    made.closed(False, 100.0)
    made.trigger("the link changed", 100.1, urgent=True)
    assert made.due_at() == 100.0 + SETTINGS.urgent_interval_s


def test_an_objective_must_be_missed_for_a_while() -> None:
    made, goals = ReviewPolicy(SETTINGS), Objectives(latency_p90_s=1.0, throughput_min_per_s=5.0)
    made.observe(0, report(latency_p90_s=2.0), goals, 0.0)
    made.observe(0, report(latency_p90_s=0.5, throughput_per_s=9.0), goals, 5.0)
    made.observe(0, report(latency_p90_s=2.0), goals, 8.0)
    assert not made.reason
    made.observe(0, report(throughput_per_s=1.0), goals, 18.0)
    assert made.reason == "replica 0: throughput 1/s measured, 5/s asked for"
