"""Attention of chunks: the reference against attention token by token, and every backend against the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fairlead_elastic_serving.arena.formats import K4V2, K8V4, K16V16, K32V32, KVFormat
from fairlead_elastic_serving.errors import MissingBackend
from fairlead_elastic_serving.kernels import reference
from fairlead_elastic_serving.kernels.merging import merge
from fairlead_elastic_serving.kernels.significance import prompt_significance, relative
from fairlead_elastic_serving.kernels.tiers import HIGH, LOW, Tiers
from tests.plugins.elastic_serving.kernels.mixed_pages import MixedPages, mixed_pages

CASES = [(K32V32, 16, 512), (K16V16, 64, 4096), (K32V32, 72, 8192), (K8V4, 32, 1024)]


@dataclass
class Chunks:
    """Chunks of sequences whose tokens, the chunks' included, stand in the high tier."""

    mixed: MixedPages
    queries: np.ndarray
    starts: np.ndarray
    stored: np.ndarray

    @property
    def arguments(self) -> tuple:
        mixed = self.mixed
        return self.queries, self.starts, self.stored, mixed.pages, mixed.tiers, mixed.tables, mixed.rows


def chunks(
    form: KVFormat, head_dim: int, page_bytes: int, lengths: list[tuple[int, int]], group: int, seed: int
) -> Chunks:
    """Sequences with (stored, chunk) tokens, two KV heads, positions in any order."""
    random = np.random.default_rng(seed)
    counts = np.array([[[stored + chunk, 3]] * 2 for stored, chunk in lengths])
    mixed = mixed_pages(Tiers.of(form, K4V2, head_dim, page_bytes), counts, random)
    starts = np.cumsum([0, *(chunk for _, chunk in lengths)], dtype=np.int32)
    queries = random.normal(0, 0.7, (int(starts[-1]), 2 * group, head_dim)).astype(np.float32)
    return Chunks(mixed, queries, starts, np.array([stored for stored, _ in lengths], np.int32))


def received(case: Chunks) -> list[np.ndarray | None]:
    """Zeros to add to for each sequence but the second."""
    lengths = case.stored + np.diff(case.starts)
    made = [np.zeros((case.queries.shape[1], int(length)), np.float32) for length in lengths]
    return [None if sequence == 1 else one for sequence, one in enumerate(made)]


@pytest.mark.parametrize("window", [None, 9])
def test_a_chunk_is_its_tokens_one_by_one(window: int | None) -> None:
    case = chunks(K32V32, 16, 512, [(5, 7), (0, 3), (20, 1), (4, 0)], 2, 1)
    output, total = reference.attend_chunks(*case.arguments, 0.3, window=window)
    mixed = case.mixed
    for sequence, first in enumerate(case.starts[:-1]):
        for token in range(first, case.starts[sequence + 1]):
            count = case.stored[sequence] + token - first + 1
            counts = np.tile(np.array([count, 0], np.int32), (len(mixed.tables), 1))
            for head in range(2):
                row = mixed.rows[sequence : sequence + 1, head : head + 1]
                now = reference.gather(mixed.pages, mixed.tiers, HIGH, mixed.tables, row[0], np.array([count - 1]))[3]
                mine = slice(2 * head, 2 * head + 2)
                expected, expected_total = reference.attend(
                    case.queries[token : token + 1, mine], mixed.pages, mixed.tiers, mixed.tables, row, counts, 0.3,
                    window=window, positions=now,
                )  # fmt: skip
                assert np.allclose(output[token, mine], expected[0], atol=1e-5)
                assert np.allclose(total[token, mine], expected_total[0], atol=1e-5)


def test_a_prompt_in_chunks_receives_its_significance() -> None:
    case = chunks(K32V32, 16, 512, [(0, 40)], 3, 2)
    mixed, group = case.mixed, 3
    sums = np.zeros((6, 40), np.float32)
    for first, end in [(0, 13), (13, 14), (14, 40)]:
        reference.attend_chunks(
            case.queries[first:end], np.array([0, end - first]), np.array([first]), *case.arguments[3:], 0.25,
            received=[sums[:, :end]],
        )  # fmt: skip
    keys = [reference.read(mixed.pages, mixed.tiers, HIGH, mixed.tables[row], 40)[0] for row in mixed.rows[0]]
    expected = prompt_significance(case.queries, np.stack(keys, axis=1), 0.25)
    later = np.maximum(39 - np.arange(40), 1)
    found = relative((sums / later).reshape(2, group, 40).max(axis=1).T, np.arange(40)[:, None])
    assert np.allclose(found[:-1], expected[:-1], atol=1e-5), "all but the last, to which nothing later attends"


def test_chunks_over_both_tiers_merge_with_their_own_tokens() -> None:
    """What a chunk gets from tiered rows and from raw rows of its own adds up to attention over all of them."""
    case = chunks(K8V4, 32, 1024, [(11, 6), (0, 4)], 2, 3)
    mixed, held = case.mixed, case.mixed.counts.copy()
    held[mixed.rows, HIGH] = case.stored[:, None]
    before = reference.attend(
        case.queries, mixed.pages, mixed.tiers, mixed.tables, mixed.rows, held, 0.3, starts=case.starts
    )
    low = held * np.array([0, 1], np.int32)
    low_alone = reference.attend(
        case.queries, mixed.pages, mixed.tiers, mixed.tables, mixed.rows, low, 0.3, starts=case.starts
    )
    causal = reference.attend_chunks(*case.arguments, 0.3)
    first = case.starts[:-1]
    one_by_one = reference.attend_chunks(case.queries[first], np.arange(3), case.stored, *case.arguments[3:], 0.3)
    output, total = merge([causal, low_alone])
    # The first token of a chunk sees what was there before, and itself.
    itself = np.exp(total[first] - before[1][first])
    assert (itself[np.isfinite(itself)] >= 1).all()
    again, again_total = merge([one_by_one, (low_alone[0][first], low_alone[1][first])])
    assert np.allclose(again, output[first], atol=1e-5) and np.allclose(again_total, total[first], atol=1e-5)


def test_merging_nothing_is_nothing_and_what_cannot_be_merged_is_refused() -> None:
    nothing = np.zeros((2, 3, 8), np.float32), np.full((2, 3), -np.inf, np.float32)
    some = np.ones((2, 3, 8), np.float32), np.zeros((2, 3), np.float32)
    output, total = merge([nothing, nothing])
    assert (output == 0).all() and np.isneginf(total).all()
    output, total = merge([nothing, some, nothing])
    assert (output == 1).all() and (total == 0).all()
    with pytest.raises(ValueError, match="at least one pair"):
        merge([])
    with pytest.raises(ValueError, match=r"accepted: \(2, 3, 8\) with sums \(2, 3\)"):
        merge([some, (some[0][:1], some[1][:1])])


def kernels_named(name: str) -> Any:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'fairlead-elastic-serving[torch]'")
    from fairlead_elastic_serving.kernels.backends import backend

    try:
        return backend("cpu", name)
    except MissingBackend as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("name", ["torch", "native"])
@pytest.mark.parametrize("window", [None, 12])
@pytest.mark.parametrize(("form", "head_dim", "page_bytes"), CASES, ids=str)
def test_backends_compute_what_the_reference_does(
    name: str, form: KVFormat, head_dim: int, page_bytes: int, window: int | None
) -> None:
    kernels = kernels_named(name)
    import torch

    case = chunks(form, head_dim, page_bytes, [(5, 37), (60, 1), (0, 20), (3, 0)], 3, 5)
    expected_received, found_received = received(case), received(case)
    expected = reference.attend_chunks(*case.arguments, 0.2, window=window, received=expected_received)
    given_tensors = [each if isinstance(each, Tiers) else torch.from_numpy(each) for each in case.arguments]
    into = [None if one is None else torch.from_numpy(one) for one in found_received]
    found = kernels.attend_chunks(*given_tensors, 0.2, window=window, received=into)
    for one, other in zip(found, expected, strict=True):
        assert np.allclose(one.numpy(), other, atol=3e-5 if form.key_bits > 8 else 3e-4)
    for one, other in zip(found_received, expected_received, strict=True):
        assert (one is None and other is None) or np.allclose(one, other, atol=3e-4)


@pytest.mark.parametrize("name", ["torch", "native"])
@pytest.mark.parametrize("shared", [False, True])
def test_scores_take_a_query_in_as_the_reference_does(name: str, shared: bool) -> None:
    kernels = kernels_named(name)
    import torch

    random = np.random.default_rng(11)
    mixed = mixed_pages(Tiers.of(K8V4, K4V2, 32, 1024), random.integers(1, 80, (3, 2, 2)), random)
    queries = random.normal(0, 1, (3, 4, 32)).astype(np.float32)
    now = np.array([10, 79, 200], np.int32)
    holders = random.integers(1, 3, len(mixed.pages)).astype(np.int32) if shared else None
    found = torch.from_numpy(mixed.pages.copy())
    arrays = (mixed.tables, mixed.rows, mixed.counts)
    output, _ = kernels.attend(
        torch.from_numpy(queries), found, mixed.tiers, *map(kernels.put, arrays), 0.2, now=kernels.put(now),
        holders=None if holders is None else kernels.put(holders),
    )  # fmt: skip
    assert np.allclose(output, reference.attend(queries, mixed.pages, mixed.tiers, *arrays, 0.2)[0], atol=3e-4)
    reference.update_scores(queries, mixed.pages, mixed.tiers, *arrays, 0.2, now, holders)
    for tier in (HIGH, LOW):
        for row, table in enumerate(mixed.tables):
            count = int(mixed.counts[row, tier])
            one, other = (
                reference.read(pages, mixed.tiers, tier, table, count)[2].astype(float)
                for pages in (found.numpy(), mixed.pages)
            )
            assert np.allclose(one, other, rtol=3e-3, atol=1e-5)


def test_where_the_native_kernels_are_missing_torch_computes_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels_named("torch")
    from fairlead_elastic_serving.kernels import native_backend
    from fairlead_elastic_serving.kernels.backends import backend

    monkeypatch.setattr(native_backend, "why_not", lambda: "the kernels compute in NumPy")
    chosen = backend("cpu")
    assert (chosen.name, chosen.reason) == ("torch", "the kernels compute in NumPy")
    with pytest.raises(MissingBackend, match="kernels 'native': the kernels compute in NumPy"):
        backend("cpu", "native")
    with pytest.raises(ValueError, match="kernels 'numpy': accepted: native, torch, triton"):
        backend("cpu", "numpy")
    with pytest.raises(ValueError, match="kernels 'native' on cuda"):
        backend("cuda", "native")
