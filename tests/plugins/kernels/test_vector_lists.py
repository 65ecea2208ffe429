"""Cluster indexes: codes against NumPy, searches against exact ones, changes against a plain dictionary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import fairlead_kernels as fk
from fairlead_kernels import reference_vectors, vector_tiers, vectors
from fairlead_kernels.backend import extension
from fairlead_kernels.reference_vector_lists import ReferenceLists
from fairlead_kernels.vector_list_training import kmeans, plan_bits
from fairlead_kernels.vector_lists import Closure, ListEffort, Lists, train_lists

from .cases import each_isa, examples, needs_native

ALL = ListEffort(probes=1 << 20, candidates=1 << 20, reads=1 << 20, confidence=100.0)


def random_vectors(random: np.random.Generator, space: vectors.Space, count: int) -> NDArray[Any]:
    """Vectors whose variance falls from dimension to dimension."""
    scale = 2.0 ** (-np.arange(space.dim) / 8)
    rows = random.normal(0, 1, (count, space.dim)) * scale + random.normal(0, 1, space.dim)
    if space.element in ("int8", "uint8"):
        rows = np.clip(rows * 20 + (100 if space.element == "uint8" else 0), -100, 255)
        rows = np.clip(rows, *(np.iinfo(space.dtype).min, np.iinfo(space.dtype).max)).astype(space.dtype)
    elif space.element == "bit":
        rows = rows > 0
    else:
        rows = rows.astype(np.float16 if space.element == "float16" else np.float32)
    return vectors.check_vectors(rows, space.dim, space.element)


#: Lists of made vectors lie in all directions: further ones that are as near as this lets all through.
CLOSED = Closure(copies=2, apart=3.0, near=3.0)


def built(
    space: vectors.Space, rows: NDArray[Any], lists: int, room: int = 0, closure: Closure = Closure(), **options: Any
) -> tuple[Lists, Any]:
    """An index of rows by their numbers, and its tier."""
    index = Lists(train_lists(space, rows, lists, **options), closure)
    tier = vector_tiers.memory_tier("dram:", vector_tiers.tier_memory((len(rows) + room) * space.row_bytes))
    into, along = index.assign(rows)
    order = np.lexsort((along, into))
    index.add(tier, order.astype(np.uint32), rows[order], into[order])
    return index, tier


@each_isa
@examples(8)
@given(
    element=st.sampled_from(vectors.ELEMENTS),
    metric=st.sampled_from(vectors.METRICS),
    dim=st.integers(8, 150),
    seed=st.integers(0, 2**32 - 1),
)
def test_estimates_are_those_of_the_reference(
    isa: str, element: vectors.Element, metric: vectors.Metric, dim: int, seed: int
) -> None:
    fk.select(isa)
    random = np.random.default_rng(seed)
    space = vectors.Space(element, metric, dim)
    rows, queries = random_vectors(random, space, 60), random_vectors(random, space, 4)
    training = train_lists(space, rows, 3, code_bytes=16 + dim / 4, seed=seed)
    index, reference = Lists(training), ReferenceLists(training)
    found = index.estimates(queries, rows, training.centroids[0])
    expected = np.empty_like(found)
    as_bytes = (a.view(np.uint8).reshape(len(a), -1) for a in (queries, rows))
    reference.estimates(*as_bytes, training.centroids[0], expected)
    # The native codes round queries to 8 bits: an error of that against the spread of distances.
    exact = reference_vectors.distances(space, queries, rows)
    spread = max(float(exact.std()), 1e-3 * float(np.abs(exact).max()), 1e-6)
    assert np.abs(found - expected).max() <= 0.12 * spread
    assert np.abs(found - expected).mean() <= 0.03 * spread


@each_isa
@examples(15)
@given(
    values=st.lists(
        st.sampled_from([0.0, -1.5, 2.0, np.inf]) | st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200
    ),
    at=st.floats(0, 0.999),
)
def test_the_smallest_but_some(isa: str, values: list[float], at: float) -> None:
    fk.select(isa)
    k = int(at * len(values))
    native = extension()
    assert native is not None
    assert native.smallest_but(np.array(values, np.float32), k) == np.sort(np.array(values, np.float32))[k]


@pytest.mark.parametrize("isa", ["native", "numpy"])
@pytest.mark.parametrize("metric", vectors.METRICS)
@pytest.mark.parametrize("closure", [Closure(), CLOSED])
def test_reading_all_is_exact_search(isa: str, metric: vectors.Metric, closure: Closure) -> None:
    if isa == "native" and not fk.available_isas():
        pytest.skip("no compiled extension")
    fk.select(isa)
    random = np.random.default_rng(3)
    space = vectors.Space("float32", metric, 20)
    rows, queries = random_vectors(random, space, 90), random_vectors(random, space, 6)
    index, tier = built(space, rows, 5, closure=closure)
    assert (index.copies > 30) == (closure.copies > 0)
    exact = reference_vectors.distances(space, queries, rows)
    found = index.search([tier], queries, 7, ALL)
    assert np.array_equal(found.slots, np.argsort(exact, axis=1)[:, :7])
    assert np.allclose(found.distances, np.sort(exact, axis=1)[:, :7], atol=1e-4)
    assert (found.round_trips == 1).all() and (found.reads == 90).all()
    allowed = np.packbits(np.arange(90) % 9 == 0, bitorder="little")
    some = index.search([tier], queries, 12, ALL, allowed)
    assert (np.sort(some.slots[:, :10], axis=1) == np.arange(0, 90, 9)).all()
    assert (some.slots[:, 10:] == -1).all() and np.isinf(some.distances[:, 10:]).all()


@needs_native
def test_few_reads_find_most() -> None:
    random = np.random.default_rng(4)
    space = vectors.Space("float32", "l2", 64)
    rows, queries = random_vectors(random, space, 2000), random_vectors(random, space, 64)
    index, tier = built(space, rows, 16, code_bytes=40)
    nearest = np.argsort(reference_vectors.distances(space, queries, rows), axis=1)[:, :10]
    found = index.search([tier], queries, 10, ListEffort(probes=16, reads=40, confidence=2.5))
    hits = np.mean([len(np.intersect1d(a, b)) for a, b in zip(found.slots, nearest, strict=True)]) / 10
    assert hits >= 0.97
    assert found.reads.mean() < 30 and found.reads.min() >= 10 and found.reads.max() <= 40
    assert np.array_equal(found.tier_bytes, found.reads * space.row_bytes)
    fewer = index.search([tier], queries, 10, ListEffort(probes=16, reads=40, confidence=0.5))
    assert fewer.reads.mean() < found.reads.mean()
    free = index.search([tier], queries, 10, ListEffort(probes=16, exact=False))
    assert (free.reads == 0).all() and (free.tier_bytes == 0).all()
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(free.slots, nearest, strict=True)]) / 10 > 0.6


@needs_native
def test_tiers_and_threads_change_nothing(tmp_path: Any) -> None:
    random = np.random.default_rng(5)
    space = vectors.Space("uint8", "l2", 48)
    rows, queries = random_vectors(random, space, 700), random_vectors(random, space, 300)
    index, tier = built(space, rows, 8)
    memory = np.empty(index.rows * space.row_bytes, np.uint8)
    tier.read(np.zeros(1, np.uint64), np.array([len(memory)], np.uint32), memory)
    path = tmp_path / "rows"
    path.write_bytes(memory.tobytes())
    effort = ListEffort(probes=4, reads=20)
    expected = index.search([tier], queries, 5, effort)
    for gap in (0, 200):
        files = [vector_tiers.file_tier(f"file:{i}", path) for i in range(2)]
        found = index.search(files, queries, 5, ListEffort(probes=4, reads=20, in_flight=3, gap=gap))
        assert np.array_equal(found.slots, expected.slots)
        assert np.array_equal(found.distances, expected.distances)
        assert np.array_equal(found.reads, expected.reads)


CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "maintain"]), st.integers(0, 2**31), st.integers(1, 40)), max_size=14
)


@needs_native
@examples(15)
@given(changes=CHANGES, seed=st.integers(0, 1000))
def test_changes(changes: list[tuple[str, int, int]], seed: int) -> None:
    random = np.random.default_rng(seed)
    space = vectors.Space("float32", "l2", 12)
    rows = random_vectors(random, space, 40)
    closure = CLOSED if seed % 3 else Closure()
    index, tier = built(space, rows, 3, room=600, closure=closure)
    there = dict(enumerate(rows))
    for what, draw, count in changes:
        some = np.random.default_rng(draw)
        if what == "add":
            new = np.setdiff1d(np.arange(400), list(there))[:count].astype(np.uint32)
            fresh = random_vectors(some, space, len(new))
            index.add(tier, new, fresh)
            there.update(zip(new.tolist(), fresh, strict=True))
        elif what == "remove":
            gone = some.integers(0, 400, count).astype(np.uint32)
            known = {slot for slot in gone.tolist() if slot in there}
            assert index.remove(gone) == len(known)
            there = {slot: row for slot, row in there.items() if slot not in known}
        else:
            while index.maintain(tier, 12):
                pass
            assert index.wanting(12) == 0
    assert index.count == len(there) == int(index.sizes().sum())
    slots = np.array(sorted(there), np.uint32)
    kept = np.array([there[slot] for slot in slots.tolist()], np.float32).reshape(-1, 12)
    assert np.array_equal(index.vectors(tier, slots), kept)
    found = index.search([tier], rows[:2], 450, ALL)
    for query, line, distances in zip(rows[:2], found.slots, found.distances, strict=True):
        assert sorted(line[line >= 0].tolist()) == slots.tolist()  # each in one place, and nothing else
        exact = np.sort(reference_vectors.distances(space, query[None], kept)[0]) if len(kept) else np.empty(0)
        assert np.allclose(distances[: len(exact)], exact, atol=1e-4)
    few = ListEffort(probes=2, candidates=1 << 20, reads=1 << 20, confidence=100.0)
    some_found = index.search([tier], rows[:2], 450, few)
    for line in some_found.slots:  # each once, whichever of its lists are probed
        kept_here = line[line >= 0]
        assert len(np.unique(kept_here)) == len(kept_here) and np.isin(kept_here, slots).all()
    saved = index.saved()
    named = saved["copy_slots"][saved["copy_slots"] != 0xFFFFFFFF]
    assert len(named) == index.copies and np.isin(named, slots).all()
    assert np.bincount(named, minlength=1).max() <= closure.copies
    again = Lists(index.training_with(saved["centroids"]), closure)
    again.adopt(saved)
    assert again.copies == index.copies
    same = again.search([tier], rows[:2], 450, ALL)
    assert np.array_equal(same.slots, found.slots)
    again_few = again.search([tier], rows[:2], 450, few)
    assert np.array_equal(again_few.slots, some_found.slots) and np.array_equal(again_few.scanned, some_found.scanned)
    again.add(tier, np.array([1000], np.uint32), rows[:1])
    assert np.array_equal(again.vectors(tier, slots), kept)  # new rows take nobody's place
    again.remove(np.append(slots, 1000).astype(np.uint32))
    assert again.count == again.copies == 0


@needs_native
@examples(8)
@given(
    seed=st.integers(0, 2**32 - 1),
    copies=st.integers(0, 4),
    apart=st.floats(0.5, 4.0),
    near=st.floats(0.8, 4.0),
    metric=st.sampled_from(vectors.METRICS),
)
def test_further_lists_are_those_of_the_reference(
    seed: int, copies: int, apart: float, near: float, metric: vectors.Metric
) -> None:
    random = np.random.default_rng(seed)
    space = vectors.Space("float32", metric, 24)
    rows = random_vectors(random, space, 80)
    closure = Closure(copies, apart, near)
    training = train_lists(space, rows, 9, code_bytes=20)
    found = Lists(training, closure).closed(rows)
    expected = ReferenceLists(training, closure).closure(rows.view(np.uint8).reshape(80, -1))
    assert found.shape == expected.shape == (80, 1 + copies)
    assert (found == expected).all(axis=1).mean() >= 0.97  # but for distances that rounding exchanges
    leading = training.leading(rows)
    for line, x in zip(found, leading, strict=True):
        lists = line[line < 9]
        assert len(np.unique(lists)) == len(lists)
        distances = np.square(training.centroids[lists] - x).sum(axis=1)
        assert (np.diff(distances) >= -1e-3).all() and (distances <= max(near, 1.0) * distances[0] + 1e-3).all()


@needs_native
def test_closure_finds_more_in_as_many_lists() -> None:
    random = np.random.default_rng(8)
    space = vectors.Space("float32", "l2", 16)
    # No clusters: neighbours lie on both sides of many borders.
    rows, queries = (random.normal(0, 1, (n, 16)).astype(np.float32) for n in (3000, 100))
    nearest = np.argsort(reference_vectors.distances(space, queries, rows), axis=1)[:, :10]
    effort = ListEffort(probes=6, candidates=500, reads=200, confidence=4.0)
    recalls, scanned = [], []
    for closure in (Closure(), Closure(copies=1, apart=1.2), Closure(copies=1, apart=1.2, room=16)):
        index, tier = built(space, rows, 30, closure=closure, code_bytes=20)
        found = index.search([tier], queries, 10, effort)
        recalls.append(np.mean([len(np.intersect1d(a, b)) for a, b in zip(found.slots, nearest, strict=True)]) / 10)
        scanned.append(float(found.scanned.mean()))
        assert (np.diff(np.sort(found.slots, axis=1), axis=1) > 0).all()  # none twice
        assert (found.reads <= 200).all() and index.rows <= 3000  # a copy takes no row
        blocks = index.saved()["copy_blocks"]
        assert 16 * blocks.max() <= closure.room + 15
    assert recalls[1] > recalls[0] + 0.05 and recalls[1] > recalls[2] > recalls[0]
    assert scanned[0] < scanned[2] < scanned[1] < 1.9 * scanned[0]


@needs_native
def test_what_is_refused() -> None:
    random = np.random.default_rng(6)
    space = vectors.Space("float32", "l2", 16)
    rows = random_vectors(random, space, 50)
    index, tier = built(space, rows, 4)
    with pytest.raises(ValueError, match="slot 7 is there already"):
        index.add(tier, np.array([7], np.uint32), rows[:1])
    with pytest.raises(ValueError, match="no room"):
        index.add(tier, np.arange(100, 150, dtype=np.uint32), rows)
    with pytest.raises(IndexError, match="slot 99"):
        index.vectors(tier, np.array([99], np.uint32))
    with pytest.raises(ValueError, match=r"vectors: must be float32 \[n, 16\]"):
        index.search([tier], rows[:, :8], 3)
    with pytest.raises(ValueError, match=r"lists: must be 1\.\.50"):
        train_lists(space, rows, 51)
    saved = index.saved()
    with pytest.raises(ValueError, match="copies"):
        Lists(index.training, Closure(copies=8))
    strangers = {"copy_blocks": np.array([1, 0, 0, 0], np.uint32), "copy_slots": np.full(16, 60, np.uint32)}
    strangers["copy_codes"] = np.zeros(len(saved["codes"]) // int(saved["blocks"].sum()), np.uint8)
    with pytest.raises(ValueError, match="a copy of a slot that is not there"):
        Lists(index.training_with(saved["centroids"])).adopt(saved | strangers)
    twice = strangers | {"copy_blocks": np.array([1, 1, 1, 1], np.uint32), "copy_slots": np.full(64, 5, np.uint32)}
    twice["copy_codes"] = np.tile(strangers["copy_codes"], 4)
    with pytest.raises(ValueError, match="a slot is in a list twice"):
        Lists(index.training_with(saved["centroids"])).adopt(saved | twice)
    for name in ("codes", "slots", "blocks", "first_row", "copy_blocks"):
        other = Lists(index.training_with(saved["centroids"]))
        with pytest.raises(ValueError, match="lists"):
            other.adopt(saved | {name: saved[name][:-1]})


@needs_native
def test_clusters_are_balanced_and_finite() -> None:
    random = np.random.default_rng(7)
    sample = np.repeat(random.normal(0, 1, (40, 6)), 30, axis=0).astype(np.float32)
    sample[:600] = sample[0]  # half of all are alike
    one = kmeans(sample, 24, seed=2)
    fk.set_threads(2)
    assert np.array_equal(kmeans(sample, 24, seed=2), one)
    assert np.isfinite(one).all()
    spread = random.normal(0, 1, (3000, 8)).astype(np.float32) * np.linspace(0.1, 3, 8, dtype=np.float32)
    sizes = [
        np.bincount(np.square(spread[:, None] - kmeans(spread, 30, balance=b)[None]).sum(2).argmin(1), minlength=30)
        for b in (0.0, 0.3)
    ]
    assert sizes[1].std() < sizes[0].std()


def test_bits_go_where_the_variance_is() -> None:
    steep, flat = 2.0 ** (-np.arange(256) / 6), np.ones(256)
    whole, half, tail = plan_bits(steep, 60)
    assert whole >= 16
    assert whole + half / 2 + tail * -(-(256 - whole - half) // 8) + 6 <= 60
    assert plan_bits(2.0 ** (-np.arange(256) / 200), 60)[2]  # a long tail has bits
    assert plan_bits(flat, 60)[0] <= 8
    with pytest.raises(ValueError, match="code_bytes"):
        plan_bits(flat, 8)
