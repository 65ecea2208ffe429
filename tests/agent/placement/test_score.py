"""Scores: lower is better, uncertainty costs, missed objectives cost most."""

from __future__ import annotations

import pytest

from fairlead_agent.messages import Estimate, Objectives, Quantiles
from fairlead_agent.placement.score import Score, in_words, references, score, violated
from tests.agent.placement.offers import GIB, estimate, offer


def scored(one: Estimate, *others: Estimate, objectives: Objectives | None = None, share: float = 0.0) -> Score:
    goals = objectives or Objectives()
    offers = [offer().model_copy(update={"estimate": e}) for e in (one, *others)]
    return score(one, goals, references(goals, offers), share)


def test_the_uncertain_offer_pays_for_its_uncertainty() -> None:
    sure, unsure = estimate(0.5, spread=0.05), estimate(0.5, spread=1.0)
    assert scored(sure, unsure).total < scored(unsure, sure).total


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (estimate(0.4), estimate(0.5)),
        (estimate(throughput=12), estimate(throughput=10)),
        (estimate(energy_j=Quantiles.around(1, 0)), estimate(energy_j=Quantiles.around(2, 0))),
        (estimate(startup_s=Quantiles.around(1, 0)), estimate(startup_s=Quantiles.around(100, 0))),
        (estimate(transfer_bytes=0), estimate(transfer_bytes=4 * GIB)),
    ],
)
def test_each_quantity_counts(better: Estimate, worse: Estimate) -> None:
    assert scored(better, worse).total < scored(worse, better).total


def test_memory_counts_by_its_share_of_the_node() -> None:
    one = estimate()
    assert scored(one, share=0.1).total < scored(one, share=0.9).total


def test_a_missed_objective_outweighs_everything_ordinary() -> None:
    goals = Objectives(latency_p90_s=0.5)
    holds = estimate(0.4, throughput=5, transfer_bytes=4 * GIB)
    misses = estimate(0.6, throughput=20)
    assert scored(holds, misses, objectives=goals).total < scored(misses, holds, objectives=goals).total
    assert scored(misses, objectives=goals).violations == ("latency_p90_s",)


def test_every_objective_can_be_missed() -> None:
    goals = Objectives(latency_p90_s=0.1, throughput_min_per_s=100, energy_max_j=0.1, startup_max_s=0.5)
    missed = violated(estimate(energy_j=Quantiles.around(1, 0)), goals)
    assert set(missed) == {"latency_p90_s", "throughput_min_per_s", "energy_max_j", "startup_max_s"}
    assert all(factor > 1 for factor in missed.values())


def test_a_weight_of_zero_switches_a_term_off_and_a_missing_one_keeps_its_default() -> None:
    terms = scored(estimate(), objectives=Objectives(weights={"latency": 0.0})).terms
    assert terms["latency"] == 0 and terms["throughput"] > 0


def test_unknown_energy_is_charged_like_the_worst_known() -> None:
    known = estimate(energy_j=Quantiles.around(3, 0))
    best = estimate(energy_j=Quantiles.around(1, 0))
    assert scored(estimate(), known, best).terms["energy"] == scored(known, estimate(), best).terms["energy"]


def test_no_throughput_at_all_is_finite_and_last() -> None:
    dead = estimate(throughput_per_s=Quantiles(p10=0, p50=0, p90=0))
    assert scored(estimate(), dead).total < scored(dead, estimate()).total < float("inf")


def test_the_total_is_the_sum_of_its_terms() -> None:
    result = scored(estimate(), share=0.4, objectives=Objectives(latency_p90_s=0.1))
    assert result.total == pytest.approx(sum(result.terms.values()))


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("latency", "p90 latency 0.6 s"),
        ("throughput", "p10 throughput 8.33 token/s"),
        ("energy", "energy per token unknown"),
        ("startup", "start-up 1.5 s"),
        ("transfer", "transfer 0 MiB"),
        ("memory", "memory 25% of its node"),
    ],
)
def test_every_term_can_be_said_in_words(term: str, words: str) -> None:
    assert in_words(term, estimate(), 0.25) == words
