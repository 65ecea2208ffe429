"""The index of codes whose vectors lie in a tier: finds what is there, reads little, and says when the tier fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_tiered_retrieval.bitmap import bitmap_of
from fairlead_tiered_retrieval.coded_index import CodedIndex
from fairlead_tiered_retrieval.errors import BudgetExceeded, CorruptFile, NotFound, TieredRetrievalError
from fairlead_tiered_retrieval.flat_index import FlatIndex
from fairlead_tiered_retrieval.index import Limits
from fairlead_tiered_retrieval.space import ELEMENTS, METRICS, Space, to_bfloat16
from fairlead_tiered_retrieval.tiers import open_region
from fairlead_tiered_retrieval.tiers.region import TierLost


def drawn(space: Space, count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    if space.element in ("uint8", "bit"):
        return random.integers(0, 256, (count, space.columns), dtype=np.uint8)
    if space.element == "int8":
        return random.integers(-128, 128, (count, space.columns), dtype=np.int8)
    values = random.standard_normal((count, space.dim)).astype(np.float32)
    return to_bfloat16(values) if space.element == "bfloat16" else values.astype(space.dtype)


def region(size: int = 1 << 18, where: str = "dram:") -> object:
    return open_region(f"{where}?size={size}")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("element", ELEMENTS)
def test_finds_nearly_all_and_reads_few(element: str, metric: str) -> None:
    space = Space(element, metric, 32)  # type: ignore[arg-type]
    rows, queries = drawn(space, 400, 1), drawn(space, 20, 2)
    index = CodedIndex.build(space, np.arange(400), rows, region=region())
    exact = FlatIndex.build(space, np.arange(400), rows).search(queries, 10)
    found = index.search(queries, 10)
    shared = [len(set(one) & set(other)) for one, other in zip(found.slots.tolist(), exact.slots.tolist(), strict=True)]
    assert sum(shared) / 200 >= 0.99
    same = found.slots == exact.slots
    np.testing.assert_allclose(found.distances[same], exact.distances[same], rtol=1e-5, atol=1e-5)
    assert (found.reads == 26).all() and (found.round_trips == 1).all() and found.complete
    assert (found.tier_bytes == 26 * space.bytes).all()
    np.testing.assert_array_equal(index.vectors(np.array([7, 3])), rows[[7, 3]])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=60), st.integers(1, 30))
def test_adds_and_removes_like_a_dictionary(steps: list[tuple[bool, int]], k: int) -> None:
    space = Space("float32", "l2", 4)
    rows, model = drawn(space, 61, 3), set[int]()
    index = CodedIndex.build(space, np.zeros(0, np.int64), rows, region=region())
    for adding, slot in steps:
        if adding and slot not in model:
            index.add(np.array([slot]), rows[[slot]])
            model.add(slot)
        elif not adding:
            index.remove(np.array([slot]))
            model.discard(slot)
    assert index.count == len(model)
    flat = FlatIndex(space)
    names = np.array(sorted(model), np.int64)
    flat.add(names, rows[names])
    found, exact = index.search(rows[:3], k, recall=1.0), flat.search(rows[:3], k)
    np.testing.assert_array_equal(found.slots, exact.slots)
    even = bitmap_of(names[names % 2 == 0], 61)
    assert set(index.search(rows[:1], k, allowed=even).slots[0].tolist()) - {-1} <= set(range(0, 61, 2))


def test_moves_saves_and_loads(tmp_path: Path) -> None:
    space = Space("float32", "cosine", 16)
    rows = drawn(space, 200, 5)
    index = CodedIndex.build(space, np.arange(200), rows, region=region())
    index.remove(np.arange(0, 200, 3))
    before = index.search(rows[:9], 5)
    where = f"file:{tmp_path / 'rows'}"
    index.move(region(where=where))
    np.testing.assert_array_equal(index.search(rows[:9], 5).slots, before.slots)
    folder = tmp_path / "saved"
    folder.mkdir()
    index.save(folder)
    loaded = CodedIndex.load(folder, space, region=region(where=where))
    np.testing.assert_array_equal(loaded.search(rows[:9], 5).slots, before.slots)
    loaded.add(np.array([0]), rows[:1])
    assert loaded.search(rows[:1], 1).slots[0, 0] == 0
    (folder / "code-codes.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(CorruptFile):
        CodedIndex.load(folder, space, region=region(where=where))


def test_says_what_it_has_no_room_for() -> None:
    space = Space("float32", "l2", 16)
    rows = drawn(space, 100, 6)
    with pytest.raises(TieredRetrievalError, match="accepted: a region"):
        CodedIndex.build(space, np.arange(100), rows)
    with pytest.raises(BudgetExceeded, match="codes of 100"):
        CodedIndex.build(space, np.arange(100), rows, region=region(), limits=Limits(memory_bytes=100))
    index = CodedIndex.build(space, np.arange(10), rows, region=region(64 * 12))
    with pytest.raises(BudgetExceeded, match="3 more vectors"):
        index.add(np.arange(10, 13), rows[10:13])
    assert index.count == 10
    with pytest.raises(NotFound):
        index.vectors(np.array([11]))
    with pytest.raises(BudgetExceeded):
        index.move(region(64))


def test_a_lost_tier_makes_a_partial_result_in_the_order_of_codes() -> None:
    space = Space("float32", "l2", 16)
    rows = drawn(space, 100, 7)
    lost = region()
    index = CodedIndex.build(space, np.arange(100), rows, region=lost)

    def gone() -> object:
        raise TierLost("the node is gone", "dram:")

    lost.close()
    lost.open_native = gone  # type: ignore[attr-defined]
    found = index.search(rows[:4], 5)
    assert not found.complete and (found.reads == 0).all()
    assert found.slots[:, 0].tolist() == [0, 1, 2, 3]
