"""A graph in a tier: the walk of the reference, the answers of the graph in memory, changes, faults, filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels.backend import extension
from fairlead_kernels.reference_vector_tier_graph import ReferenceTierGraph, pack_ids, unpack_ids
from fairlead_kernels.vector_graph import Graph, GraphOptions
from fairlead_kernels.vector_tier_graph import TierGraph, TierGraphEffort
from fairlead_kernels.vector_tiers import TierLost, file_tier, memory_tier, tier_memory
from fairlead_kernels.vectors import Space, VectorError, check_vectors, distances

from .cases import examples, needs_native

SMALL = GraphOptions(degree=16, beam=32)
BYTES = Space("uint8", "l2", 24)


def drawn(count: int, dim: int, seed: int = 0) -> Any:
    """Return bytes around a few centres, uint8 [count, dim]."""
    random = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(8, dim)) * 36 + 128
    rows = centers[random.integers(0, 8, count)] + random.normal(size=(count, dim)) * 14
    return np.clip(rows, 0, 255).astype(np.uint8)


def region(size: int) -> Any:
    """Return a tier in memory, and what it lies in."""
    memory = tier_memory(size)
    return memory_tier("dram:test", memory), memory


def in_file(path: Any, tier: Any) -> Any:
    """Return a tier over a copy of another's bytes in a file: read by other threads, not in place."""
    out = np.empty(tier.size, np.uint8)
    tier.read(np.array([0], np.uint64), np.array([tier.size], np.uint32), out)
    out.tofile(path)
    return file_tier("file:test", path)


def built(vectors: Any, space: Space = BYTES, **how: Any) -> tuple[Graph, TierGraph, Any]:
    """Return a graph in memory, the same in a tier, and the tier."""
    graph = Graph.build(space, np.arange(len(vectors)), vectors, SMALL)
    tier, _ = region(2 * len(vectors) * (space.row_bytes + 64) + 65536)
    return graph, TierGraph.from_graph(graph, tier, vectors, **how), tier


@examples(30)
@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=70), st.integers(1, 31))
def test_ids_are_packed_as_in_the_reference(ids: list[int], bits: int) -> None:
    given_ids = (np.array(ids, np.uint64) & np.uint64((1 << bits) - 1)).astype(np.uint32)
    packed = pack_ids(given_ids, bits)
    np.testing.assert_array_equal(unpack_ids(packed, len(ids), bits), given_ids)
    if (native := extension()) is not None:
        out = np.zeros(len(packed), np.uint8)
        native.pack_ids(given_ids, bits, out)
        np.testing.assert_array_equal(out, packed)


@needs_native
@examples(8)
@given(st.integers(1, 260), st.booleans(), st.integers(1, 6), st.sampled_from([None, 0.02, 0.3]), st.integers(0, 50))
def test_walks_are_those_of_the_reference(count: int, beside: bool, width: int, share: float | None, seed: int) -> None:
    vectors, queries = drawn(count, 24, seed), drawn(4, 24, seed + 1000)
    graph, tiered, tier = built(vectors, beside=beside, keep_bytes=600)
    tiered.remove(np.arange(0, count // 4, 3))
    parts = tiered.save()
    reference = ReferenceTierGraph(
        BYTES, parts["slots"], parts["codes"].reshape(count, -1), graph.save()["edges"].reshape(count, -1), vectors,
        parts["entries"].tolist(), frozenset(parts["cached"].tolist()), beside,
    )  # fmt: skip
    chosen = None if share is None else np.random.default_rng(seed).random(count) < share
    allowed = None if chosen is None else np.packbits(chosen, bitorder="little")
    effort = TierGraphEffort(beam=12, rerank=9, width=width, in_flight=3)
    found = tiered.search([tier], queries, 5, effort, allowed, scan=False)
    wide = tiered._numbers(effort, 5, allowed, False)[0][0]
    for row, walked in enumerate(tiered.walked(queries)):
        slots, *cost = reference.search(
            queries[row], walked, 5, beam=wide, rerank=9, width=width, places=2**31, allowed=chosen
        )
        assert found.slots[row][found.slots[row] >= 0].tolist() == slots
        assert [found.hops[row], found.reads[row], found.round_trips[row]] == cost


@needs_native
@pytest.mark.parametrize("element", ["float32", "uint8", "bit"])
@pytest.mark.parametrize("metric", ["l2", "dot", "cosine"])
def test_answers_are_those_of_the_graph_in_memory(element: Any, metric: Any, tmp_path: Any) -> None:
    space = Space(element, metric, 72)
    rows, asked = drawn(500, 72), drawn(24, 72, 1)
    if element != "uint8":
        rows, asked = (check_vectors((x - 128.0).astype(np.float32) > 0 if element == "bit" else x / np.float32(40) - 3,
                                     72, element) for x in (rows, asked))  # fmt: skip
    graph, tiered, tier = built(rows, space)
    lower = in_file(tmp_path / "records", tier)
    true = np.sort(distances(space, asked, rows), 1)[:, :5]

    def recall(found: Any) -> float:
        return float((found.distances <= true[:, -1:] + 1e-3 * np.abs(true[:, -1:]) + 1e-5).mean())

    for beam in (8, 24):
        wanted = graph.search(asked, 5, beam=beam)
        for from_tier in (tier, lower):
            alone = tiered.search([from_tier], asked, 5, TierGraphEffort(beam, width=1))
            np.testing.assert_array_equal(alone.hops, wanted.hops)
            assert (alone.distances <= wanted.distances + 1e-3).all()
            wider = tiered.search([from_tier], asked, 5, TierGraphEffort(beam, width=4, in_flight=7))
            assert recall(wider) >= recall(wanted) - 0.01
            assert (wider.round_trips < alone.round_trips).any() and (wider.round_trips <= wider.reads).all()
    estimated = tiered.estimates(tier, asked, 5)
    assert not estimated.reads.any() and recall(tiered.search([lower], asked, 5, scan=True)) >= 0.97
    kept = np.take_along_axis(distances(space, asked, rows), estimated.slots, 1)
    assert np.abs(estimated.distances - kept).mean() <= 0.06 * np.abs(distances(space, asked, rows)).mean()


@needs_native
def test_company_threads_and_streams_change_nothing(tmp_path: Any) -> None:
    vectors, queries = drawn(900, 24), drawn(70, 24, 1)
    _, tiered, tier = built(vectors, beside=False)
    lower = [in_file(tmp_path / "records", tier), file_tier("file:test", tmp_path / "records")]
    effort = TierGraphEffort(beam=20, rerank=12, width=3, in_flight=9)
    wanted = tiered.search([tier], queries, 6, effort)
    for found in (tiered.search(lower, queries, 6, effort), tiered.stream(lower).search(queries, 6, effort)):
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    found, waited = tiered.stream(lower[:1]).replay(queries, 6, effort, np.linspace(0, 0.01, 80))
    np.testing.assert_array_equal(found.slots[:70], wanted.slots)
    assert (waited > 0).all()


@needs_native
@pytest.mark.parametrize("beside", [True, False])
def test_changes_go_through_the_tier(beside: bool, tmp_path: Any) -> None:
    vectors = drawn(700, 24)
    vectors[:, 0] = np.arange(700) % 251
    graph = Graph.build(BYTES, np.arange(400), vectors, SMALL)
    tier, _ = region(1 << 18)
    tiered = TierGraph.from_graph(graph, tier, vectors, beside=beside, keep_bytes=4000)
    wide = TierGraphEffort(beam=64)
    tiered.insert(tier, np.arange(400, 700), vectors[400:])
    found = tiered.search([tier], vectors, 1, wide)
    assert (found.distances[:, 0] == 0).mean() >= 0.99
    gone = np.arange(0, 700, 4)
    assert tiered.remove(gone) == len(gone) == tiered.removed and tiered.remove(gone) == 0
    assert not np.isin(tiered.search([tier], vectors, 5, wide).slots, gone).any()
    while not tiered.consolidate(tier, most=130):
        pass
    left, before = np.setdiff1d(np.arange(700), gone), tiered.tier_bytes
    found = tiered.search([tier], vectors[left], 1, wide)
    assert tiered.removed == 0 and (found.distances[:, 0] == 0).mean() >= 0.98
    tiered.insert(tier, gone, vectors[gone])
    assert tiered.tier_bytes == before and tiered.count == 700
    np.testing.assert_array_equal(tiered.vectors(tier, np.arange(700)), vectors)
    lower = in_file(tmp_path / "records", tier)
    again = TierGraph.load(BYTES, SMALL, tiered.save(), lower)
    few = TierGraphEffort(rerank=9)
    for one, other in zip(
        again.search([lower], vectors[:9], 4, few), tiered.search([tier], vectors[:9], 4, few), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(VectorError, match="slots: 3 is in the graph"):
        tiered.insert(tier, np.array([3]), vectors[3:4])
    with pytest.raises(IndexError, match="slot 700 is not there"):
        tiered.vectors(tier, np.array([700]))


@needs_native
def test_a_region_without_room_and_one_with_other_bytes_are_named(tmp_path: Any) -> None:
    vectors = drawn(300, 24)
    graph = Graph.build(BYTES, np.arange(200), vectors, SMALL)
    with pytest.raises(ValueError, match="no room"):
        TierGraph.from_graph(graph, region(4000)[0], vectors)
    size = 200 * (24 + 4 * -(-16 * 9 // 32))
    tier, memory = region(size + 30)
    tiered = TierGraph.from_graph(graph, tier, vectors)
    with pytest.raises(ValueError, match="no room"):
        tiered.insert(tier, np.arange(200, 300), vectors[200:])
    assert tiered.count == 200 and (tiered.search([tier], vectors[:200], 1, TierGraphEffort(64)).slots[:, 0] >= 0).all()
    lower = in_file(tmp_path / "records", tier)
    (tmp_path / "records").write_bytes(b"")
    with pytest.raises(TierLost, match="cannot be read"):
        tiered.search([lower], vectors[:5], 3)
    memory.array()[:] = 255
    with pytest.raises(TierLost, match="holds other bytes than were written"):
        tiered.search([tier], vectors[:5], 3)
    assert (tiered.estimates(tier, vectors[:5], 3).slots >= 0).all()


def test_without_compiled_kernels_it_says_so() -> None:
    fk.select("numpy")
    vectors = drawn(40, 24)
    graph = Graph.build(BYTES, np.arange(40), vectors, SMALL)
    with pytest.raises(VectorError, match="compiled kernels"):
        TierGraph.from_graph(graph, region(1 << 16)[0], vectors)
