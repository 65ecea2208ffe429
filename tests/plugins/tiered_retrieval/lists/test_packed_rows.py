"""Cluster indexes whose vectors lie packed in a tier answer as those of plain ones, in less space."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fairlead_kernels.backend import extension
from fairlead_kernels.packed_floats import stride
from fairlead_tiered_retrieval.lists import ListIndex
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.tiers import Region, open_region
from fairlead_tiered_retrieval.tiers.packed import PackedRegion

from ..tiers.nodes import TOKEN, WAIT_S, Node

pytestmark = pytest.mark.skipif(extension() is None, reason="the compiled extension is not installed")

SPACE = Space("float32", "cosine", 96)
COUNT, ROW, STRIDE = 1500, 4 * 96, stride(96)


def drawn(count: int, seed: int) -> np.ndarray:
    """Rows of length 1, near each other as those of texts are."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(0, 1, (30, 96))
    rows = centres[random.integers(30, size=count)] + random.normal(0, 0.7, (count, 96))
    rows[:, [7, 50]] *= 1e-32  # as some models leave a few dimensions
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRLEAD_MEMORY_TOKEN", TOKEN)
        running = Node("--shared", "--lease", "30")
        yield running
        running.end()


def lent(kind: str, node: Node) -> Iterator[Region]:
    name = f"packed{secrets.token_hex(4)}"
    with open_region(node.url(name), 2 * COUNT * ROW) as base:
        if kind == "memory":
            yield base
        elif kind == "process":
            yield open_region(node.url(name, "process"))
        else:
            yield open_region(f"shm:{name}?delay_us=20&timeout={WAIT_S}")


@pytest.fixture(params=["file", "memory", "process", "delay"])
def region(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Region]:
    if request.param == "file":
        yield open_region(f"file:{tmp_path / 'rows'}", 2 * COUNT * ROW)
        return
    monkeypatch.setenv("FAIRLEAD_MEMORY_TOKEN", TOKEN)
    yield from lent(request.param, request.getfixturevalue("node"))


def same(one: ListIndex, other: ListIndex, queries: np.ndarray) -> None:
    for recall in (0.9, 0.99):
        a, b = (each.search(queries, 10, recall=recall) for each in (one, other))
        np.testing.assert_array_equal(a.slots, b.slots)
        np.testing.assert_array_equal(a.distances.view(np.uint32), b.distances.view(np.uint32))
        np.testing.assert_array_equal(a.reads, b.reads)
        assert a.complete and b.complete


def changed(index: ListIndex, rows: np.ndarray) -> None:
    index.add(np.arange(1200, COUNT), rows[1200:])
    index.remove(np.arange(0, COUNT, 3))
    while not index.maintain(5.0).finished:
        pass


def test_answers_are_those_of_plain_rows(region: Region, tmp_path: Path) -> None:
    rows, queries = drawn(COUNT, 1), drawn(60, 2)
    plain, index = (ListIndex.build(SPACE, np.arange(1200), rows, list_size=50, code_bytes=40) for _ in range(2))
    same(plain, index, queries)
    index.move(region)
    assert isinstance(index._pool.region, PackedRegion)
    assert index.sizes().tier_bytes * ROW == plain.sizes().tier_bytes * STRIDE
    assert index.sizes().dram_bytes == plain.sizes().dram_bytes
    same(plain, index, queries)
    found = index.search(queries, 10)
    assert (found.tier_bytes % STRIDE == 0).all() and (found.tier_bytes >= found.reads * STRIDE).all()
    for each in (plain, index):
        changed(each, rows)
    same(plain, index, queries)
    left = np.setdiff1d(np.arange(COUNT), np.arange(0, COUNT, 3))
    np.testing.assert_array_equal(index.vectors(left), rows[left])
    (tmp_path / "saved").mkdir()
    index.save(tmp_path / "saved")
    same(plain, ListIndex.load(tmp_path / "saved", SPACE), queries)
    other = ListIndex.load(tmp_path / "saved", SPACE, region=open_region(f"file:{tmp_path / 'other'}", 2 * COUNT * ROW))
    assert isinstance(other._pool.region, PackedRegion)
    same(plain, other, queries)
    other.move(open_region("dram:", 2 * COUNT * ROW))
    index.move(open_region(f"file:{tmp_path / 'third'}", 2 * COUNT * ROW))
    for each in (index, other):
        same(plain, each, queries)
    assert other.sizes().tier_bytes == plain.sizes().tier_bytes


def test_an_index_is_built_in_a_file(tmp_path: Path) -> None:
    rows, queries = drawn(COUNT, 3), drawn(40, 4)
    region = open_region(f"file:{tmp_path / 'rows'}", 2 * COUNT * ROW)
    index = ListIndex.build(SPACE, np.arange(COUNT), rows, region=region, list_size=50, code_bytes=40)
    plain = ListIndex.build(SPACE, np.arange(COUNT), rows, list_size=50, code_bytes=40)
    assert isinstance(index._pool.region, PackedRegion)
    np.testing.assert_array_equal(index.vectors(np.arange(COUNT)), rows)
    index.table = plain.table
    index.move(open_region(f"file:{tmp_path / 'second'}", 2 * COUNT * ROW))
    plain.move(open_region(f"file:{tmp_path / 'third'}", 2 * COUNT * ROW))
    same(plain, index, queries)


def test_few_rows_that_cannot_be_packed_stay_in_memory(tmp_path: Path) -> None:
    rows = drawn(COUNT, 5)
    odd = np.array([700, 1100])
    rows[odd, 10:40] = 1e-30
    index = ListIndex.build(SPACE, np.arange(COUNT), rows, list_size=50, code_bytes=40)
    before = index.sizes().dram_bytes
    index.move(open_region(f"file:{tmp_path / 'rows'}", 2 * COUNT * ROW))
    assert isinstance(index._pool.region, PackedRegion)
    assert index.sizes().dram_bytes == before + len(odd) * ROW
    np.testing.assert_array_equal(index.vectors(np.arange(COUNT)), rows)
    index.move(open_region("dram:", 2 * COUNT * ROW))
    np.testing.assert_array_equal(index.vectors(np.arange(COUNT)), rows)


def test_what_stays_plain(tmp_path: Path) -> None:
    wide = drawn(COUNT, 6)
    wide[::5, 10:40] = 1e-30
    small = Space("float32", "l2", 12)
    for number, (space, rows) in enumerate(
        [(SPACE, wide), (small, drawn(COUNT, 7)[:, :12].copy()), (Space("float16", "l2", 96), wide.astype(np.float16))]
    ):
        index = ListIndex.build(space, np.arange(COUNT), rows, list_size=50)
        index.move(open_region(f"file:{tmp_path / str(number)}", 2 * COUNT * ROW))
        assert not isinstance(index._pool.region, PackedRegion)
        np.testing.assert_array_equal(index.vectors(np.arange(COUNT)), rows)


def test_a_region_of_packed_rows(tmp_path: Path) -> None:
    rows = drawn(COUNT, 8)
    flat = rows.reshape(-1).view(np.uint8)
    with PackedRegion(open_region(f"file:{tmp_path / 'rows'}", COUNT * STRIDE), 96) as region:
        assert (region.size, region.kind) == (COUNT * ROW, "file")
        region.write(0, flat)
        np.testing.assert_array_equal(region.read(ROW, len(flat) - ROW), flat[ROW:])
        with pytest.raises(ValueError, match="whole"):
            region.write(5, flat[:ROW])
        with pytest.raises(IndexError, match="leave the region"):
            region.write(ROW, flat)
