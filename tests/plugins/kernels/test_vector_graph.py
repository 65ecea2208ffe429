"""The graph of vectors: what it promises on every backend and with any number of threads."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels import reference_vector_graph as reference
from fairlead_kernels.backend import available_isas, extension
from fairlead_kernels.vector_graph import ROW_BITS, Graph, GraphOptions
from fairlead_kernels.vector_tier_graph import TierGraph
from fairlead_kernels.vector_tiers import memory_tier, tier_memory
from fairlead_kernels.vectors import Space, VectorError, check_vectors, distances

from .cases import each_isa, examples, needs_native

BACKENDS = ["numpy", *available_isas()]
SMALL = GraphOptions(degree=16, beam=32)


def clustered(count: int, dim: int, seed: int = 0) -> Any:
    """Return vectors around a few centres, float32 [count, dim]."""
    random = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(8, dim)) * 3
    return (centers[random.integers(0, 8, count)] + random.normal(size=(count, dim))).astype(np.float32)


def made(space: Space, floats: Any) -> Any:
    """Return floats as vectors of a space."""
    if space.element == "bit":
        return check_vectors(floats > 0, space.dim, "bit")
    if space.element in ("int8", "uint8"):
        return np.clip(floats * 12 + (128 if space.element == "uint8" else 0), -128 * (space.element == "int8"), 255
                       if space.element == "uint8" else 127).astype(space.dtype)  # fmt: skip
    return check_vectors(floats if space.element != "float16" else floats.astype(np.float16), space.dim, space.element)


def recall(graph: Graph, queries: Any, vectors: Any, k: int = 5, **how: Any) -> float:
    """Return the share of the true nearest whose distance was reached."""
    found = graph.search(queries, k, beam=48, **how)
    true = np.sort(distances(graph.space, queries, vectors), 1)[:, :k]
    return float((found.distances <= true[:, -1:] + 1e-3 * np.abs(true[:, -1:]) + 1e-6).mean())


def reached(graph: Graph) -> set[int]:
    """Return the slots to which edges lead from the entries."""
    seen, queue = set(graph.entries()), list(graph.entries())
    while queue:
        fresh = set(graph.neighbours(queue.pop())) - seen
        seen |= fresh
        queue += fresh
    return seen


@pytest.mark.parametrize("choice", BACKENDS)
def test_nearest_are_found(choice: str) -> None:
    fk.select(choice)
    vectors, queries = clustered(120, 24), clustered(6, 24, 1)
    graph = Graph.build(Space("float32", "l2", 24), np.arange(120), vectors, SMALL)
    assert recall(graph, queries, vectors) >= 0.98


@needs_native
@pytest.mark.parametrize("metric", ["l2", "dot", "cosine"])
@pytest.mark.parametrize("element", ["float32", "float16", "bfloat16", "int8", "uint8", "bit"])
@pytest.mark.parametrize("keep", ["exact", "codes", "fine"])
@pytest.mark.parametrize(("bits", "lines"), [(8, 2), (4, 1)])
def test_elements_and_metrics(element: Any, metric: Any, keep: Any, bits: int, lines: int) -> None:
    space = Space(element, metric, 72)
    vectors, queries = made(space, clustered(600, 72)), made(space, clustered(20, 72, 1))
    if keep != "exact" and metric == "dot":
        with pytest.raises(VectorError, match="keep: must be exact for dot"):
            Graph.build(space, np.arange(600), vectors, GraphOptions(keep=keep))
        return
    graph = Graph.build(space, np.arange(600), vectors, GraphOptions(16, 48, keep=keep, lines=lines, bits=bits))
    found = graph.search(queries, 5, beam=64)
    true = distances(space, queries, vectors)
    reached_distances = np.take_along_axis(true, found.slots, 1)
    wanted = np.sort(true, 1)[:, :5]
    scale = np.abs(true).mean()
    assert np.mean(reached_distances - wanted) <= {"exact": 0.002, "codes": 0.01, "fine": 0.003}[keep] * scale
    np.testing.assert_allclose(
        found.distances, reached_distances, rtol=0.02, atol=(1e-4 if keep == "exact" else 0.02) * scale + 1e-5
    )


def turned(graph: Graph, vectors: Any) -> Any:
    """Return vectors as a graph of l2 rounds them: rotated, leading coordinates alone, float64 [n, leading]."""
    codes = graph.codes
    assert codes is not None
    return (vectors - codes.center).astype(np.float64) @ codes.rotation[: codes.leading].T.astype(np.float64)


@each_isa
@examples(6)
@given(st.sampled_from([4, 8]), st.integers(1, 5), st.integers(1, 300), st.integers(1, 150), st.integers(0, 50))
def test_codes_scores_and_distances_are_the_reference_s(
    isa: str, bits: int, lines: int, dim: int, count: int, seed: int
) -> None:
    fk.select(isa)
    vectors, queries = clustered(count, dim, seed), clustered(3, dim, seed + 1000)
    options = GraphOptions(degree=16, beam=16, lines=lines, bits=bits)
    graph = Graph.build(Space("float32", "l2", dim), np.arange(count), vectors, options)
    native, codes = extension(), graph.save()["codes"].reshape(count, lines * 64)
    assert graph.codes is not None and graph.codes.bits == bits and native is not None
    step, most, finer = graph.codes.step, (7 if bits == 4 else 127), (16 if bits == 4 else 1)
    wanted = np.clip(np.rint(turned(graph, vectors) / step), -most, most)
    off = np.abs(reference.coordinates(codes, bits) - wanted)
    assert off.max() <= 1 and off.mean() < 1e-3  # where rounding is a matter of the last bit
    squares = np.square((vectors - graph.codes.center).astype(np.float64)).sum(1)
    np.testing.assert_allclose(reference.half_norms(codes), squares / 2 / step**2 * finer, rtol=1e-4, atol=1)
    for query, walked in zip(queries, graph.walked(queries), strict=True):
        aimed = np.clip(np.rint(turned(graph, query[None])[0] / step * finer), -127, 127)
        assert np.abs(reference.factors(walked, bits) + aimed).max() <= 1
        scores, near = np.empty(count, np.int32), np.empty(count, bool)
        expected = reference.walk_scores(codes, bits, walked)
        below = int(np.median(expected))
        native.walk_scores(codes, bits, walked, below, scores, near)
        np.testing.assert_array_equal(scores, expected)
        np.testing.assert_array_equal(near, expected < below)
    out = np.empty(count, np.float32)
    native.walk_distances(codes, bits, count // 2, out)
    np.testing.assert_array_equal(out, reference.code_distances(codes, bits, count // 2))


@each_isa
@examples(8)
@given(
    st.sampled_from([(8, "codes"), (8, "fine"), (4, "codes"), (4, "fine")]),
    st.integers(1, 3), st.integers(1, 400), st.integers(1, 60), st.integers(0, 50),
)  # fmt: skip
def test_rows_of_codes_are_compared_as_the_reference_unpacks_them(
    isa: str, kept: tuple[int, Any], lines: int, dim: int, count: int, seed: int
) -> None:
    fk.select(isa)
    bits, keep = kept
    vectors, queries = clustered(count, dim, seed), 3 * clustered(4, dim, seed + 1000)
    space = Space("float32", "l2", dim)
    graph = Graph.build(space, np.arange(count), vectors, GraphOptions(16, 16, lines=lines, bits=bits, keep=keep))
    arrays, codes = graph.save(), graph.codes
    assert codes is not None
    trailing = len(codes.rotation) - codes.leading
    whole, tail_bits = ROW_BITS[keep]
    stored = arrays["codes"].reshape(count, -1)
    rows = np.asarray(arrays["rows"]).reshape(count, -1)
    lead, tail = reference.row_values(stored, rows, bits, whole - bits, trailing, tail_bits)
    scaled = np.hstack((lead * (codes.step / 2.0 ** (whole - bits)), tail * codes.tail_step))
    moved = (queries - codes.center).astype(np.float64)
    turned_queries = moved @ codes.rotation.T.astype(np.float64)
    norms = 2 * reference.half_norms(stored) * codes.step**2 / (16 if bits == 4 else 1)
    expected = np.maximum(norms[None] + np.square(moved).sum(1)[:, None] - 2 * turned_queries @ scaled.T, 0)
    found = graph.search(queries, count, beam=count)
    there = found.slots >= 0
    own = np.take_along_axis(expected, np.maximum(found.slots, 0), 1)
    near = 2e-4 * (norms.mean() + np.square(moved).sum(1).mean())
    np.testing.assert_allclose(found.distances[there], own[there], rtol=2e-4, atol=near)


@needs_native
@pytest.mark.parametrize("keep", ["exact", "codes", "fine"])
def test_four_bits_change_and_answer_the_same_on_every_isa(keep: Any) -> None:
    space, vectors, queries = Space("float32", "cosine", 150), clustered(700, 150), clustered(20, 150, 1)
    options = GraphOptions(degree=16, beam=48, bits=4, keep=keep)
    graph = Graph.build(space, np.arange(500), vectors, options)
    graph.insert(np.arange(500, 700), vectors[500:])
    graph.remove(np.arange(0, 500, 5))
    graph.consolidate()
    arrays, found = graph.save(), graph.search(queries, 5, beam=160)
    there = np.setdiff1d(np.arange(700), np.arange(0, 500, 5))
    true = distances(space, queries, vectors[there])
    best = there[np.argsort(true, 1)[:, :5]]
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(found.slots, best, strict=True)]) >= 4.3
    for isa in available_isas():
        fk.select(isa)
        again = Graph.load(space, options, arrays).search(queries, 5, beam=160)
        assert (again.slots == found.slots).mean() >= 0.97
        np.testing.assert_allclose(again.distances, found.distances, rtol=1e-3, atol=1e-5)


@needs_native
def test_bits_are_few_where_lines_would_be_many() -> None:
    random, lines = np.random.default_rng(0), {}
    for dim in (100, 160, 400):
        vectors = random.normal(size=(800, dim)).astype(np.float32)
        graph = Graph.build(Space("float32", "l2", dim), np.arange(800), vectors, SMALL)
        assert graph.codes is not None
        lines[dim] = (graph.codes.bits, graph.codes.lines)
    assert lines == {100: (8, 2), 160: (4, 2), 400: (4, 3)}
    few = Graph.build(
        Space("float32", "l2", 400), np.arange(800), vectors, GraphOptions(degree=16, beam=32, keep="codes")
    )
    assert few.codes is not None and few.codes.bits == 8


@needs_native
def test_vertices_have_more_neighbours_where_codes_have_4_bits() -> None:
    space, flat = Space("float32", "l2", 400), np.random.default_rng(2).standard_normal((600, 400)).astype(np.float32)
    graph = Graph.build(space, np.arange(600), flat, GraphOptions(beam=64))
    assert graph.codes is not None and graph.codes.bits == 4 and graph.degree == 48
    assert 32 < max(len(graph.neighbours(slot)) for slot in range(600)) <= 48
    again = Graph.load(space, GraphOptions(beam=64), graph.save())
    np.testing.assert_array_equal(again.search(flat[:9], 5).slots, graph.search(flat[:9], 5).slots)
    few = Graph.build(space, np.arange(600), flat, GraphOptions(beam=64, bits=8))
    assert few.degree == 32


@needs_native
def test_graphs_saved_without_bits_have_eight_and_tiers_take_no_others() -> None:
    space, vectors = Space("float32", "l2", 40), clustered(100, 40)
    graph = Graph.build(space, np.arange(100), vectors, SMALL)
    arrays = {name: array for name, array in graph.save().items() if name != "walk_bits"}
    again = Graph.load(space, SMALL, arrays)
    np.testing.assert_array_equal(again.search(vectors[:9], 5).slots, graph.search(vectors[:9], 5).slots)
    few = Graph.build(space, np.arange(100), vectors, GraphOptions(degree=16, bits=4))
    with pytest.raises(VectorError, match="do not fit together"):
        Graph.load(space, SMALL, few.save() | {"walk_bits": np.array(5)})
    tier = memory_tier("dram:test", tier_memory(1 << 20))
    with pytest.raises(VectorError, match="bits: a graph in a tier has codes of 8"):
        TierGraph.from_graph(few, tier, vectors)
    for bits, keep in ((5, "exact"), (4, "walk")):
        with pytest.raises(VectorError, match="bits: must be"):
            GraphOptions(bits=bits, keep=keep)


@needs_native
@examples(15)
@given(st.integers(1, 400), st.integers(1, 90), st.integers(0, 100))
def test_every_vector_can_be_reached_and_degrees_are_bounded(count: int, dim: int, seed: int) -> None:
    vectors = clustered(count, dim, seed)
    vectors[count // 2 :] = vectors[0]  # many of one kind
    graph = Graph.build(Space("float32", "l2", dim), np.arange(count), vectors, SMALL)
    assert reached(graph) == set(range(count))
    for slot in range(count):
        others = graph.neighbours(slot)
        assert len(others) <= SMALL.degree and slot not in others and len(set(others)) == len(others)


@needs_native
def test_threads_and_company_change_nothing() -> None:
    space, vectors, queries = Space("uint8", "l2", 100), made(Space("uint8", "l2", 100), clustered(1500, 100)), None
    queries = made(space, clustered(90, 100, 1))
    one = Graph.build(space, np.arange(1500), vectors, SMALL, threads=1)
    two = Graph.build(space, np.arange(1500), vectors, SMALL, threads=3)
    for part, array in one.save().items():
        np.testing.assert_array_equal(array, two.save()[part])
    together = one.search(queries, 7, beam=20, threads=2, in_flight=5)
    for row in range(0, 90, 7):
        alone = one.search(queries[row : row + 1], 7, beam=20, in_flight=1)
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_array_equal(a[row], b[0])


@pytest.mark.parametrize("choice", ["numpy", None])
def test_removed_never_come_back_and_places_are_reused(choice: str | None) -> None:
    fk.select(choice)
    space, vectors = Space("float32", "l2", 20), clustered(150, 20)
    graph = Graph.build(space, np.arange(100), vectors, SMALL)
    gone, before = np.arange(0, 100, 3), graph.bytes
    assert graph.remove(gone) == len(gone) == graph.remove(np.concatenate([gone, gone])) + len(gone)
    assert not np.isin(graph.search(vectors[:10], 10, beam=100).slots, gone).any()
    graph.consolidate()
    assert graph.removed == 0 and graph.count == 100 - len(gone)
    graph.insert(np.arange(100, 100 + len(gone)), vectors[100 : 100 + len(gone)])
    assert graph.count == 100 and graph.bytes <= before + 4096
    found = graph.search(vectors[100:130], 1, beam=60)
    np.testing.assert_array_equal(found.slots[:, 0], np.arange(100, 130))
    assert not np.isin(graph.search(vectors[:10], 10, beam=100).slots, gone).any()


@needs_native
@examples(10)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 119)), min_size=1, max_size=40), st.integers(0, 50))
def test_any_changes_leave_what_is_there(changes: list[tuple[bool, int]], seed: int) -> None:
    space, vectors = Space("float32", "l2", 12), clustered(120, 12, seed)
    graph, there = Graph.build(space, np.arange(0), vectors, SMALL), set()
    for at, (add, slot) in enumerate(changes):
        if add and slot not in there:
            graph.insert(np.array([slot]), vectors[slot : slot + 1])
            there.add(slot)
        elif not add:
            assert graph.remove(np.array([slot])) == (slot in there)
            there.discard(slot)
        if at % 20 == 19:
            graph.consolidate()
    found = graph.search(vectors[:5], 130, beam=130).slots
    assert all(set(row[row >= 0].tolist()) == there for row in found)


@needs_native
def test_half_replaced_in_pieces_while_others_search_and_remove() -> None:
    space, vectors, queries = Space("uint8", "l2", 64), made(Space("uint8", "l2", 64), clustered(3000, 64)), None
    queries = made(space, clustered(40, 64, 1))
    graph = Graph.build(space, np.arange(2000), vectors, SMALL, threads=2)
    before = recall(graph, queries, vectors[:2000])
    stop, bad = threading.Event(), []

    def look() -> None:
        while not stop.wait(0.001):
            gone = removed.copy()
            found = graph.search(queries, 10, beam=32).slots
            if np.isin(found, gone).any() or (found < 0).any():
                bad.append(found)

    removed = np.zeros(0, np.int64)
    thread = threading.Thread(target=look)
    thread.start()
    for first in range(0, 1000, 100):
        adding = threading.Thread(
            target=lambda at: graph.insert(np.arange(at, at + 100), vectors[at : at + 100], threads=2),
            args=(2000 + first,),
        )
        adding.start()
        graph.remove(np.arange(first, first + 100))
        removed = np.arange(first + 100)
        adding.join()
        if first % 300 == 0:
            while not graph.consolidate(threads=2, most=500):
                pass
    stop.set()
    thread.join()
    graph.consolidate()
    assert not bad and graph.removed == 0 and graph.count == 2000
    assert reached(graph) == set(range(1000, 3000))
    assert recall(graph, queries, vectors[1000:]) >= before - 0.03


@pytest.mark.parametrize("choice", ["numpy", None])
@pytest.mark.parametrize("every", [2, 10, 75])
def test_filters_fill_k_with_allowed_ones(choice: str | None, every: int) -> None:
    fk.select(choice)
    vectors, queries = clustered(150, 16), clustered(6, 16, 1)
    graph = Graph.build(Space("float32", "l2", 16), np.arange(150), vectors, SMALL)
    allowed = np.arange(150) % every == 0
    found = graph.search(queries, 4, beam=20, allowed=np.packbits(allowed, bitorder="little"))
    true = distances(graph.space, queries, vectors)
    true[:, ~allowed] = np.inf
    wanted = np.argsort(true, 1, kind="stable")[:, :4]
    wanted = np.where(np.isfinite(np.take_along_axis(true, wanted, 1)), wanted, -1)
    assert (found.slots == wanted).mean() >= 0.95 and ((found.slots < 0) == (wanted < 0)).all()


@needs_native
def test_walk_through_a_filter() -> None:
    vectors, queries = clustered(6000, 16), clustered(20, 16, 1)
    graph = Graph.build(Space("float32", "l2", 16), np.arange(6000), vectors, GraphOptions(degree=16, beam=24))
    allowed = np.random.default_rng(0).random(6000) < 0.8
    found = graph.search(queries, 5, beam=16, allowed=np.packbits(allowed, bitorder="little"))
    assert (found.hops > 0).all() and allowed[found.slots].all()
    true = distances(graph.space, queries, vectors)
    true[:, ~allowed] = np.inf
    assert np.isin(found.slots[:, 0], np.argsort(true, 1)[:, :5]).all()


@needs_native
def test_saved_graphs_answer_the_same_and_broken_ones_are_refused() -> None:
    space, vectors = Space("int8", "dot", 40), made(Space("int8", "dot", 40), clustered(300, 40))
    graph = Graph.build(space, np.arange(300), vectors, SMALL)
    graph.remove(np.array([3, 4]))
    arrays = graph.save()
    again = Graph.load(space, SMALL, arrays)
    for a, b in zip(graph.search(vectors[:9], 5), again.search(vectors[:9], 5), strict=True):
        np.testing.assert_array_equal(a, b)
    for broken in (
        {"edges": arrays["edges"] + np.uint32(300)},
        {"rows": arrays["rows"][1:]},
        {"slots": np.zeros_like(arrays["slots"])},
        {"entries": arrays["entries"][:0]},
        {"walk_rotation": arrays["walk_rotation"][:3]},
    ):
        with pytest.raises(VectorError, match="do not fit together"):
            Graph.load(space, SMALL, arrays | broken)
    with pytest.raises(VectorError, match="codes"):
        Graph.load(space, SMALL, {part: a for part, a in arrays.items() if part != "codes"})


def test_what_is_refused() -> None:
    space, vectors = Space("float32", "l2", 8), clustered(50, 8)
    with pytest.raises(VectorError, match="degree: must be a multiple of 16"):
        GraphOptions(degree=20)
    with pytest.raises(VectorError, match="accepted: at least"):
        Graph.build(space, np.arange(50), vectors, memory_bytes=1000)
    with pytest.raises(VectorError, match="slots: 50 has no row"):
        Graph.build(space, np.array([50]), vectors)
    graph = Graph.build(space, np.arange(40), vectors, SMALL)
    with pytest.raises(VectorError, match="already"):
        graph.insert(np.array([3]), vectors[:1])
    with pytest.raises(VectorError, match=r"queries: must be float32 \[n, 8\]"):
        graph.search(vectors[:, :4], 3)
    assert (graph.search(vectors[:2], 60).slots >= 0).sum(1).tolist() == [40, 40]
    assert (Graph.build(space, np.arange(0), vectors, SMALL).search(vectors[:2], 3).slots == -1).all()
