"""The exact index: what others are held to is itself held to the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_tiered_retrieval.bitmap import bitmap_of, has, number_in, set_bits, slots_of
from fairlead_tiered_retrieval.errors import BadVectors, BudgetExceeded, CorruptFile, NotFound, TieredRetrievalError
from fairlead_tiered_retrieval.flat_index import FlatIndex
from fairlead_tiered_retrieval.index import Limits
from fairlead_tiered_retrieval.space import ELEMENTS, METRICS, Space, check_vectors, to_bfloat16, to_float


def drawn(space: Space, count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    if space.element in ("uint8", "bit"):
        return random.integers(0, 256, (count, space.columns), dtype=np.uint8)
    if space.element == "int8":
        return random.integers(-128, 128, (count, space.columns), dtype=np.int8)
    values = random.standard_normal((count, space.dim)).astype(np.float32)
    return to_bfloat16(values) if space.element == "bfloat16" else values.astype(space.dtype)


def by_definition(query: np.ndarray, rows: np.ndarray, space: Space) -> np.ndarray:
    one, others = to_float(query[None], space)[0].astype(np.float64), to_float(rows, space).astype(np.float64)
    if space.element == "bit":
        return (one != others).sum(axis=1)
    if space.metric == "l2":
        return np.array([((one - row) ** 2).sum() for row in others])
    dots = np.array([(one * row).sum() for row in others])
    return -dots if space.metric == "dot" else 1 - dots / (np.linalg.norm(one) * np.linalg.norm(others, axis=1))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("element", ELEMENTS)
def test_finds_the_nearest_of_each_element_and_metric(element, metric):
    space = Space(element, metric, 24)
    rows, queries = drawn(space, 300, 1), drawn(space, 5, 2)
    index = FlatIndex.build(space, np.arange(300), rows)
    found = index.search(queries, 10)
    for query, slots, distances in zip(queries, found.slots, found.distances, strict=True):
        exact = by_definition(query, rows, space)
        assert slots.tolist() == np.lexsort((np.arange(300), exact.astype(np.float32)))[:10].tolist()
        np.testing.assert_allclose(distances, exact[slots], rtol=1e-5, atol=1e-6)


def test_without_compiled_kernels_it_finds_the_same(monkeypatch):
    space = Space("uint8", "l2", 24)
    rows, queries = drawn(space, 9000, 1), drawn(space, 3, 2)
    index = FlatIndex.build(space, np.arange(9000), rows)
    index.remove(np.arange(0, 9000, 7))
    found = index.search(queries, 10)
    monkeypatch.setattr("fairlead_tiered_retrieval.distances.extension", lambda: None)
    again = index.search(queries, 10)
    np.testing.assert_array_equal(again.slots, found.slots)
    np.testing.assert_array_equal(again.distances, found.distances)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=40), st.integers(1, 30), st.integers(0, 99))
def test_adds_and_removes_like_a_dictionary(steps, k, seed):
    space = Space("float32", "l2", 3)
    rows, index, model = drawn(space, 201, seed), FlatIndex(space), {}
    for adding, slot in steps:
        if adding and slot not in model:
            index.add(np.array([slot]), rows[slot : slot + 1])
            model[slot] = rows[slot]
        elif not adding:
            index.remove(np.array([slot]))
            model.pop(slot, None)
    found = index.search(rows[:1], k)
    wanted = sorted(model, key=lambda slot: (np.float32(((model[slot] - rows[0]).astype(np.float64) ** 2).sum()), slot))
    assert index.count == len(model)
    assert found.slots[0].tolist() == (wanted[:k] + [-1] * k)[:k]
    assert np.isinf(found.distances[0, len(wanted) :]).all()


def test_only_allowed_slots_are_found():
    space = Space("uint8", "l2", 8)
    rows = drawn(space, 100, 3)
    index = FlatIndex.build(space, np.arange(100), rows)
    found = index.search(rows[:2], 5, allowed=bitmap_of(np.array([3, 40, 41]), 64))
    assert all(sorted(slots) == [-1, -1, 3, 40, 41] for slots in found.slots.tolist())
    assert index.search(rows[:1], 3, allowed=np.zeros(0, np.uint8)).slots.tolist() == [[-1, -1, -1]]


def test_saved_and_loaded_it_finds_the_same(tmp_path):
    space = Space("float16", "cosine", 5)
    rows = drawn(space, 70, 4)
    index = FlatIndex.build(space, np.arange(70), rows)
    index.remove(np.array([3, 69]))
    index.save(tmp_path)
    again = FlatIndex.load(tmp_path, space)
    assert again.count == 68
    np.testing.assert_array_equal(again.search(rows, 4).slots, index.search(rows, 4).slots)
    (tmp_path / "rows.npy").write_bytes(b"no array")
    with pytest.raises(CorruptFile, match=r"rows\.npy: damaged at byte 0"):
        FlatIndex.load(tmp_path, space)


def test_what_it_cannot_do_is_said():
    space = Space("float32", "l2", 4)
    index = FlatIndex(space)
    with pytest.raises(NotFound, match="slot 7"):
        index.vectors(np.array([7]))
    with pytest.raises(TieredRetrievalError, match="nothing in a tier"):
        index.move("file:x")
    with pytest.raises(BudgetExceeded, match="at most 100"):
        FlatIndex.build(space, np.arange(64), np.zeros((64, 4), np.float32), limits=Limits(memory_bytes=100))


@pytest.mark.parametrize(
    ("element", "metric", "given", "message"),
    [
        ("float32", "l2", [[0, 1], [np.nan, 0]], "row 1 is NaN or infinite"),
        ("float16", "l2", [[0, 1e9]], "row 0 is NaN or infinite"),
        ("bfloat16", "dot", [[np.inf, 0]], "row 0 is NaN or infinite"),
        ("float32", "cosine", [[1, 0], [0, 0]], "row 1 is all zeros"),
        ("uint8", "l2", [[0, 1], [2, 256]], "row 1 is not of this type"),
        ("int8", "l2", [[0.5, 1]], "row 0 is not of this type"),
        ("float32", "l2", [[1, 2, 3]], r"shape \(1, 3\); accepted: \[n, 2\]"),
        ("float32", "l2", [["a", "b"]], "of type"),
    ],
)
def test_bad_vectors_are_refused_by_row(element, metric, given, message):
    with pytest.raises(BadVectors, match=message):
        check_vectors(given, Space(element, metric, 2))


@pytest.mark.parametrize("arguments", [("float64", "l2", 8), ("bit", "l2", 9), ("float32", "l1", 8), ("int8", "l2", 0)])
def test_spaces_that_are_none_are_refused(arguments):
    with pytest.raises(BadVectors, match=r"accepted|must be"):
        Space(*arguments)


@given(st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_bitmaps_are_sets(slots, others):
    bitmap = bitmap_of(np.array(sorted(slots), np.int64), 100)
    assert slots_of(bitmap).tolist() == sorted(slots) and number_in(bitmap) == len(slots)
    set_bits(bitmap, np.array(sorted(others), np.int64), False)
    assert slots_of(bitmap).tolist() == sorted(slots - others)
    assert has(bitmap, np.arange(120)).tolist() == [slot in slots - others for slot in range(120)]
