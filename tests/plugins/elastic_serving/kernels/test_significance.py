"""Significance of tokens, and the tiers that follow from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.kernels.placement import PRUNED, Thresholds, compact, place_prompt, place_step
from fairlead_elastic_serving.kernels.significance import HORIZON, prompt_significance, updated
from fairlead_elastic_serving.kernels.tiers import HIGH, LOW

NAN = float("nan")


def by_definition(queries: np.ndarray, keys: np.ndarray, scale: float) -> np.ndarray:
    """Mean attention from later tokens, the highest of a group, times position + 1; token by token."""
    tokens, kv_heads, _ = keys.shape
    group = queries.shape[1] // kv_heads
    result = np.zeros((tokens, kv_heads))
    for head in range(kv_heads):
        for token in range(tokens - 1):
            means = []
            for query_head in range(head * group, (head + 1) * group):
                paid = []
                for later in range(token + 1, tokens):
                    logits = keys[: later + 1, head] @ queries[later, query_head] * scale
                    paid.append(np.exp(logits[token]) / np.exp(logits).sum())
                means.append(np.mean(paid))
            result[token, head] = max(means) * (token + 1)
    return result


def test_significance_is_what_it_is_defined_as() -> None:
    random = np.random.default_rng(1)
    queries, keys = random.normal(0, 1, (13, 4, 8)), random.normal(0, 1, (13, 2, 8))
    found = prompt_significance(queries.astype(np.float32), keys.astype(np.float32), 0.5, block=5)
    assert np.allclose(found[:-1], by_definition(queries, keys, 0.5)[:-1], atol=1e-4)
    assert (found[-1] > 0).all()


def test_uniform_attention_is_about_as_significant_as_its_share() -> None:
    found = prompt_significance(np.zeros((400, 1, 8), np.float32), np.zeros((400, 1, 8), np.float32), 1.0)
    # Later tokens share their attention among more: below 1, and 1 only for the youngest.
    assert (found <= 1.0 + 1e-6).all() and found[390] > 0.95 and found[5] < 0.2


def test_a_running_mean_is_the_mean() -> None:
    random = np.random.default_rng(2)
    weights = random.uniform(0, 0.1, 40)
    score = np.zeros(1, np.float32)
    position = np.array([10])
    for step, weight in enumerate(weights):
        score = updated(score, np.array([weight], np.float32), position, 11 + step)
    assert score[0] == pytest.approx(weights.mean() * 11, rel=1e-5)
    assert updated(score, np.array([9.0], np.float32), position, 10)[0] == score[0], (
        "a token's own query does not count"
    )
    old = updated(np.array([1.0], np.float32), np.array([0.0], np.float32), np.array([0]), 10**6)
    assert old[0] == pytest.approx(1 - 1 / HORIZON)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 90), st.integers(0, 70), st.integers(0, 2**31))
def test_a_prompts_tokens_are_placed_by_their_thresholds(tokens: int, window: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.exponential(0.5, (tokens, 3)).astype(np.float32)
    thresholds = Thresholds(high=np.array([1.0, 3.0, 0.1], np.float32), low=np.array([0.02, 0.0, 0.1], np.float32))
    placed = place_prompt(scores, thresholds, window)
    slots, counts = compact(placed)
    assert (placed[max(0, tokens - window) :] == HIGH).all()
    older = placed[: max(0, tokens - window)]
    assert ((older == HIGH) == (scores[: len(older)] > thresholds.high)).all()
    assert ((older == PRUNED) == (scores[: len(older)] < thresholds.low)).all()
    assert not (older[:, 1] == PRUNED).any(), "an alpha of 0 prunes nothing"
    for tier in (HIGH, LOW):
        for head in range(3):
            numbered = slots[tier, :, head][placed[:, head] == tier]
            assert numbered.tolist() == list(range(counts[head, tier]))
            assert (slots[tier, :, head][placed[:, head] != tier] == -1).all()


def padded(rows: list[list[float]], fill: float, kind: type) -> np.ndarray:
    width = max(map(len, rows))
    return np.array([row + [fill] * (width - len(row)) for row in rows], kind)


def test_a_step_places_what_leaves_the_window_and_looks_at_the_least() -> None:
    # Window 2, now 9: position 7 leaves; 5 and 3 left before. One row each: stays, to low, pruned, nothing there.
    positions = padded([[9, 8, 7, 5, 3], [9, 7, 8, 3], [7, 8, 9], [8, 9]], 7, np.int32)
    scores = padded([[0, 0, 5, 0.5, 2], [0, 0.5, 0, 0.001], [0.001, 0, 0], [0, 0]], -1, np.float32)
    low = padded([[0.5, 0.01], [0.3], [], [0.0, 0.1]], -1, np.float32)
    counts = np.array([[5, 2], [4, 1], [3, 0], [2, 2]], np.int32)
    step = place_step(scores, positions, low, counts, np.full(4, 9), Thresholds(1.0, 0.02), window=2)
    assert step.leaving.tolist() == [-1, 1, 0, -1]
    assert step.leaving_to.tolist() == [PRUNED, LOW, PRUNED, PRUNED]
    assert step.demoted.tolist() == [3, 3, -1, -1]
    assert step.demoted_to.tolist() == [LOW, PRUNED, PRUNED, PRUNED]
    assert step.pruned.tolist() == [1, -1, -1, 0]


def test_a_step_of_empty_tiers_moves_nothing() -> None:
    nothing = np.zeros((2, 0), np.float32)
    step = place_step(nothing, nothing.astype(np.int32), nothing, np.zeros((2, 2), np.int32), np.ones(2), Thresholds())
    assert all((moved == -1).all() for moved in (step.leaving, step.demoted, step.pruned))


@pytest.mark.parametrize(
    "alphas", [(0.1, 0.2), (1.0, -0.1), (NAN, NAN), (1.0, NAN), (NAN, 0.02), (np.array([1.0, NAN, 1.0]), 0.02)], ids=str
)
def test_thresholds_out_of_order_are_refused(alphas: tuple) -> None:
    with pytest.raises(ValueError, match="accepted: high >= low >= 0"):
        Thresholds(*alphas)
