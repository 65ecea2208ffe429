"""The reference kernels against plain attention over what was written."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_elastic_serving.arena.formats import K4V2, K8V4, K8V8, K16V16, K32V32, KVFormat
from fairlead_elastic_serving.kernels import reference
from fairlead_elastic_serving.kernels.tiers import HIGH, LOW, Tiers
from tests.plugins.elastic_serving.kernels.mixed_pages import MixedPages, mixed_pages


def plain(query: np.ndarray, keys: np.ndarray, values: np.ndarray, scale: float) -> np.ndarray:
    """Attention of queries [heads, head_dim] over keys and values [tokens, head_dim], in float64."""
    logits = query.astype(np.float64) @ keys.T.astype(np.float64) * scale
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights @ values.astype(np.float64) / weights.sum(axis=-1, keepdims=True)


def counts_of(random: np.random.Generator) -> np.ndarray:
    counts = random.integers(0, 90, (3, 2, 2))
    counts[0, 0, HIGH], counts[0, 1, LOW] = 0, 0
    return counts


def whole(mixed: MixedPages, row: int) -> tuple[np.ndarray, np.ndarray]:
    keys, values = zip(*mixed.keys[row], strict=True)
    return np.concatenate(keys), np.concatenate(values)


@pytest.mark.parametrize(
    ("high", "low", "tolerance"),
    [(K32V32, K32V32, 1e-5), (K16V16, K16V16, 5e-3), (K8V8, K8V8, 0.05), (K8V4, K4V2, 2.0)],
)
def test_attention_is_that_of_what_was_written(high: KVFormat, low: KVFormat, tolerance: float) -> None:
    random = np.random.default_rng(3)
    mixed = mixed_pages(Tiers.of(high, low, 32, 2048), counts_of(random), random)
    queries = random.normal(0, 0.3, (3, 4, 32)).astype(np.float32)
    output, total = reference.attend(
        queries, mixed.pages, mixed.tiers, mixed.tables, mixed.rows, mixed.counts, 32**-0.5
    )
    for sequence, head in np.ndindex(3, 2):
        keys, values = whole(mixed, mixed.rows[sequence, head])
        grouped = queries[sequence, 2 * head : 2 * head + 2]
        expected = plain(grouped, keys, values, 32**-0.5)
        assert np.abs(output[sequence, 2 * head : 2 * head + 2] - expected).max() < tolerance
        logits = grouped @ keys.T * 32**-0.5
        exact = np.log(np.exp(logits).sum(axis=-1))
        assert np.abs(total[sequence, 2 * head : 2 * head + 2] - exact).max() < max(1e-4, tolerance)


def test_parts_of_a_sequence_add_up() -> None:
    """Attention over two halves, weighted by their totals, is attention over both: what remote attention rests on."""
    random = np.random.default_rng(4)
    tiers = Tiers.of(K8V4, K4V2, 32, 2048)
    mixed = mixed_pages(tiers, counts_of(random)[1:2] + 5, random)
    queries = random.normal(0, 1, (1, 4, 32)).astype(np.float32)
    arguments = (queries, mixed.pages, tiers, mixed.tables, mixed.rows)
    expected, total = reference.attend(*arguments, mixed.counts, 0.2)
    parts = [reference.attend(*arguments, mixed.counts * np.eye(2, dtype=np.int32)[tier], 0.2) for tier in (HIGH, LOW)]
    weights = [np.exp(part[1] - total)[..., None] for part in parts]
    combined = sum(part[0] * weight for part, weight in zip(parts, weights, strict=True))
    assert np.allclose(combined, expected, atol=1e-5)


def test_scores_and_positions_come_back() -> None:
    random = np.random.default_rng(5)
    tiers = Tiers.of(K8V4, K4V2, 16, 1024)
    mixed = mixed_pages(tiers, np.full((1, 2, 2), 40), random)
    for row in range(2):
        for tier in (HIGH, LOW):
            keys, values, scores, positions = reference.read(mixed.pages, tiers, tier, mixed.tables[row], 40)
            assert keys.shape == values.shape == (40, 16)
            assert sorted(positions) == list(range(40))
            assert (scores > 0).any() and (scores <= 4).all()


def test_a_sequence_without_tokens_gives_zeros() -> None:
    random = np.random.default_rng(6)
    mixed = mixed_pages(Tiers.of(K8V4, K4V2, 16, 1024), np.zeros((1, 2, 2), int), random)
    queries = random.normal(0, 1, (1, 4, 16)).astype(np.float32)
    output, total = reference.attend(queries, mixed.pages, mixed.tiers, mixed.tables, mixed.rows, mixed.counts, 1.0)
    assert (output == 0).all() and np.isneginf(total).all()
