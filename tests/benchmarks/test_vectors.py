"""Curves, exact answers and made vectors of the benchmarks of vector search; and an engine in its process."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.results_file import Row
from benchmarks.vectors.curve import Point, frontier, qps_at, recall_at
from benchmarks.vectors.data import VectorData, exact_neighbours, extended, generated
from benchmarks.vectors.engines import Curves, Spec, VectorEngine, measured
from benchmarks.vectors.options import kept_rows
from benchmarks.vectors_memory import compared
from benchmarks.vectors_million import power_law


def test_recall_counts_the_true_ones_whatever_their_order() -> None:
    truth = np.array([[1, 2, 3, 9], [4, 5, 6, 9]])
    assert recall_at(np.array([[3, 1, 2], [4, 7, -1]]), truth, 3) == pytest.approx(4 / 6)


def test_speed_at_a_recall_lies_between_the_settings_around_it() -> None:
    curve = [Point(0.9, 100.0), Point(1.0, 25.0)]
    assert qps_at(curve, 0.95) == pytest.approx(50.0)
    assert qps_at(curve, 0.5) == 100.0
    assert qps_at(curve[:1], 0.95) is None


@given(st.lists(st.builds(Point, st.floats(0, 1), st.floats(1, 1e6)), min_size=1), st.floats(0, 1))
def test_no_point_beats_the_frontier(points: list[Point], recall: float) -> None:
    best = frontier(points)
    assert all(any(one.recall >= point.recall and one.qps >= point.qps for one in best) for point in points)
    found = qps_at(points, recall)
    enough = [point.qps for point in points if point.recall >= recall]
    assert (found is None) == (not enough)
    assert found is None or found >= max(enough) * (1 - 1e-9)


@pytest.mark.parametrize("element", [np.uint8, np.float32])
def test_exact_neighbours_are_those_of_all_distances(element: type) -> None:
    random = np.random.default_rng(2)
    base = random.integers(0, 255, (300, 20)).astype(element)
    queries = random.integers(0, 255, (7, 20)).astype(element)
    apart = ((queries[:, None].astype(float) - base[None]) ** 2).sum(-1)
    assert (exact_neighbours(base, queries, 5) == np.argsort(apart, axis=1, kind="stable")[:, :5]).all()


def test_made_vectors_stay_near_real_ones_and_in_their_plane() -> None:
    random = np.random.default_rng(4)
    plane = np.linalg.qr(random.standard_normal((16, 3)))[0].T.astype(np.float32)
    rows = random.standard_normal((400, 3)).astype(np.float32) @ plane
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    more = extended(rows, 1000, seed=1)
    assert more.shape == (1000, 16)
    assert (more[:400] == rows).all()
    assert np.allclose(np.linalg.norm(more, axis=1), 1, atol=1e-5)
    assert np.abs(more - (more @ plane.T) @ plane).max() < 1e-5
    assert len(np.unique(more, axis=0)) == 1000


def test_a_power_law_is_continued() -> None:
    value, power = power_law([(1e5, 10.0), (1e6, 100.0)], 1e9)
    assert (value, power) == (pytest.approx(1e5), pytest.approx(1.0))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> VectorData:
    return generated(tmp_path_factory.mktemp("vectors"), 600, 32, 40)


def test_an_engine_answers_from_its_own_process_and_keeps_its_index(data: VectorData) -> None:
    spec = Spec.ours("exact", "flat")
    with closing(VectorEngine(spec, data, threads=1)) as engine:
        curves = measured([engine], "dev", 2)
        assert engine.saved_share > 0.9
        built = engine.built
    assert [len(repeat) for repeat in curves.points["exact"]] == [1, 1]
    assert curves.at("exact", 0.99) is not None
    with closing(VectorEngine(spec, data, threads=1)) as again:
        assert again.built == built


def test_a_promise_without_its_peer_does_not_hold(data: VectorData) -> None:
    rows = compared(data, [], Curves())
    assert rows
    assert all(item.holds is False and item.note for item in rows)


def test_rows_of_other_data_sets_stay(tmp_path: Path) -> None:
    file = tmp_path / "some.json"
    assert kept_rows(file, ["one"]) == ([], {})
    rows = [Row("one, here", "speed", "1/s", 1.0), Row("two, there", "speed", "1/s", 2.0)]
    content = {"rows": [asdict(row) for row in rows], "conditions": {"one": 1, "two": 2}, "versions": {"commit": "abc"}}
    file.write_text(json.dumps(content))
    assert kept_rows(file, ["one"]) == (rows[1:], {"two": 2, "kept": {"two": "abc"}})
    assert kept_rows(file, ["one", "two"]) == ([], {})


def test_data_sets_are_made_once(data: VectorData, tmp_path: Path) -> None:
    before = data.base_path.stat().st_mtime_ns
    assert generated(data.folder.parent, 600, 32, 40).base_path.stat().st_mtime_ns == before
