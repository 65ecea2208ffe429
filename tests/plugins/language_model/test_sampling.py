"""Sampling: the distribution that the parameters describe, and the same tokens from the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fairlead_language_model.sampling import (
    SamplingParameters,
    distribution,
    make_generator,
    sample,
    token_logprobs,
)

LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.07, 0.03], np.float32))


def probabilities(history: list[int] | None = None, prompt: list[int] | None = None, **parameters: Any) -> np.ndarray:
    return distribution(LOGITS, SamplingParameters(**parameters), history or [], prompt or [])


def test_frequencies_match_the_distribution() -> None:
    rng, parameters = make_generator(7), SamplingParameters(temperature=0.8, top_p=0.95)
    expected = distribution(LOGITS, parameters)
    draws = np.bincount([sample(LOGITS, parameters, rng) for _ in range(20_000)], minlength=5)
    # Chi-square with 4 degrees of freedom exceeds 18.5 once in a thousand seeds.
    possible = expected > 0
    assert draws[~possible].sum() == 0
    assert (((draws - 20_000 * expected)[possible] ** 2) / (20_000 * expected[possible])).sum() < 18.5


def test_a_seed_repeats_its_tokens_and_another_does_not() -> None:
    flat = np.zeros(1000, np.float32)

    def run(seed: int | None) -> list[int]:
        rng = make_generator(seed)
        return [sample(flat, SamplingParameters(), rng) for _ in range(20)]

    assert run(3) == run(3) != run(4)
    assert run(-3) == run(-3) != run(3)
    assert run(None) != run(None)


def test_temperature_zero_takes_the_lowest_of_the_best_and_draws_nothing() -> None:
    rng = make_generator(0)
    before = rng.bit_generator.state
    assert sample(np.array([1.0, 5.0, 5.0, 2.0], np.float32), SamplingParameters(temperature=0), rng) == 1
    assert rng.bit_generator.state == before


def test_temperature_is_the_power_of_the_odds() -> None:
    p = probabilities(temperature=0.5)
    assert p[0] / p[1] == pytest.approx((0.5 / 0.25) ** 2, rel=1e-5)


def test_the_smallest_temperature_does_not_overflow() -> None:
    assert probabilities(temperature=1e-300)[0] == 1


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        ({"top_k": 2}, [0, 1]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.5}, [0]),
        ({"top_p": 0.51}, [0, 1]),
        ({"top_p": 1e-9}, [0]),
        ({"min_p": 0.2}, [0, 1, 2]),
        ({"min_p": 1.0}, [0]),
        ({"top_k": 3, "top_p": 0.8}, [0, 1]),
    ],
)
def test_filters_keep_the_best_and_renormalise(parameters: dict[str, Any], kept: list[int]) -> None:
    p = probabilities(**parameters)
    assert np.flatnonzero(p).tolist() == kept
    expected = np.exp(LOGITS.astype(np.float64))[kept]
    np.testing.assert_allclose(p[kept], expected / expected.sum(), rtol=1e-6)


def test_top_k_keeps_the_lowest_ids_among_equals() -> None:
    p = distribution(np.zeros(6, np.float32), SamplingParameters(top_k=2))
    assert np.flatnonzero(p).tolist() == [0, 1]


@settings(max_examples=150, deadline=None)
@given(logits=st.lists(st.integers(-30, 5), min_size=1, max_size=50), p=st.floats(0.01, 0.999), k=st.integers(1, 60))
def test_filters_equal_their_textbook_definition(logits: list[int], p: float, k: int) -> None:
    values = np.array(logits, np.float64)
    weights = np.exp(values - values.max())
    order = sorted(range(len(logits)), key=lambda token: (-values[token], token))
    best = order[:k]
    total = sum(weights[token] for token in best)
    kept, mass = [], 0.0
    for token in best:
        if mass >= p * total * (1 + 1e-12):
            break
        kept.append(token)
        mass += weights[token]
    found = set(np.flatnonzero(distribution(values, SamplingParameters(top_p=p, top_k=k))).tolist())
    # Rounding may decide for the one token at which the mass reaches p.
    assert found <= set(best) and set(kept[:-1]) <= found <= set(best[: len(kept) + 1])


def test_penalties_count_the_history_and_repetition_also_the_prompt() -> None:
    logits = np.array([2.0, -2.0, 1.0, 0.5], np.float64)

    def shift(token: int, **parameters: Any) -> float:
        history, prompt = [0, 0, 1], [2]
        p = np.log(distribution(logits, SamplingParameters(**parameters), history, prompt))
        return float((p[token] - p[3]) - (logits[token] - logits[3]))

    assert shift(0, presence_penalty=0.5) == pytest.approx(-0.5)
    assert shift(0, frequency_penalty=0.5) == pytest.approx(-1.0)
    assert shift(2, presence_penalty=0.5, frequency_penalty=0.5) == pytest.approx(0)
    assert shift(0, repetition_penalty=2) == pytest.approx(-1)
    assert shift(1, repetition_penalty=2) == pytest.approx(-2)
    assert shift(2, repetition_penalty=2) == pytest.approx(-0.5)


def test_logit_bias_bans_and_forces() -> None:
    assert sample(LOGITS, SamplingParameters(temperature=0, logit_bias={4: 100.0}), make_generator(0)) == 4
    assert probabilities(logit_bias={0: -100.0})[0] < 1e-40
    with pytest.raises(ValueError, match="token 5 lies outside the vocabulary of 5"):
        probabilities(logit_bias={5: 1.0})


@pytest.mark.parametrize("broken", [[0.0, np.nan], [-np.inf, -np.inf], [np.inf, 0.0]])
def test_broken_logits_are_refused(broken: list[float]) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        sample(np.array(broken, np.float32), SamplingParameters(), make_generator(0))


def test_logits_are_not_changed() -> None:
    logits = LOGITS.copy()
    sample(logits, SamplingParameters(logit_bias={0: 1.0}, presence_penalty=1.0, top_k=1), make_generator(0), [1])
    np.testing.assert_array_equal(logits, LOGITS)


@settings(max_examples=200, deadline=None)
@given(
    logits=st.lists(st.floats(-50, 50, width=32) | st.just(-np.inf), min_size=1, max_size=20),
    parameters=st.fixed_dictionaries(
        {
            "temperature": st.floats(0, 5),
            "top_p": st.floats(0, 1, exclude_min=True),
            "top_k": st.integers(0, 25),
            "min_p": st.floats(0, 1),
            "presence_penalty": st.floats(-2, 2),
            "repetition_penalty": st.floats(0.5, 2),
        }
    ),
    seed=st.integers(),
)
def test_a_token_is_always_one_of_the_possible(logits: list[float], parameters: dict[str, Any], seed: int) -> None:
    if max(logits) == -np.inf:
        return
    chosen, values = SamplingParameters(**parameters), np.array(logits, np.float32)
    p = distribution(values, chosen, [0])
    assert p.sum() == pytest.approx(1) and np.isfinite(p).all()
    token = sample(values, chosen, make_generator(seed), [0])
    assert p[token] > 0 and np.isfinite(values[token])


def test_logprobs_are_those_of_the_model() -> None:
    found = token_logprobs(LOGITS, 2, top=2)
    assert np.exp(found.logprob) == pytest.approx(0.15, rel=1e-5)
    assert [token for token, _ in found.top] == [0, 1]
    assert token_logprobs(LOGITS, 0).top == () and len(token_logprobs(LOGITS, 0, top=99).top) == 5


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.01},
        {"top_k": -1},
        {"min_p": 2},
        {"repetition_penalty": 0},
        {"presence_penalty": 3},
        {"max_tokens": 0},
        {"beams": 4},
    ],
)
def test_parameters_outside_their_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SamplingParameters(**bad)
