"""Bit codes: NumPy and native agree, estimates are unbiased, and bounds hold with the probability that they state."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels import vector_bit_codes, vectors
from fairlead_kernels.vector_bit_codes import BitCodes, Plan, default_plan, uniform_plan
from tests.plugins.kernels.cases import each_isa, examples
from tests.plugins.kernels.test_vector_codes import decaying

PLANS = [
    Plan(70, 1, 1, 0, 0),
    Plan(70, 2, 2, 0, 0),
    Plan(70, 1, 5, 0, 0),
    Plan(70, 4, 8, 0, 0),
    Plan(12, 4, 4, 70, 1),
    Plan(33, 2, 7, 70, 3),
    Plan(12, 4, 6, 70, 0),
]


def drawn(random: np.random.Generator, element: vectors.Element, count: int) -> vectors.Vectors:
    """Vectors of 70 elements."""
    x = decaying(random, count, 70) * 20 + 100
    return np.clip(x, 0, 255).astype(np.uint8) if element == "uint8" else x


@each_isa
@examples(8)
@given(
    plan=st.sampled_from(PLANS),
    element=st.sampled_from(["float32", "uint8"]),
    metric=st.sampled_from(vectors.METRICS),
    count=st.integers(2, 90),
    seed=st.integers(0, 2**32 - 1),
)
def test_native_and_numpy_agree(
    isa: str, plan: Plan, element: vectors.Element, metric: vectors.Metric, count: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    x = drawn(random, element, count)
    space = vectors.Space(element, metric, 70)
    fk.select(isa)
    codes = BitCodes.train(x, space, plan)
    rotated = codes.rotate(x)
    centroid = codes.centroid(rotated)
    coded = codes.encode(rotated, centroid)
    found = [codes.scan(rotated[0], centroid, coded, refined=refined) for refined in (False, True)]
    near = 1e-3 * max(1e-3, float(np.abs(vectors.distances(space, x[:1], x)).max()))
    limit = float(np.median(found[0].lowers))
    passed = codes.scan(rotated[0], centroid, coded, limit=limit, refined=True)
    assert set(passed.positions) == set(np.flatnonzero(found[0].lowers < limit))
    assert np.array_equal(passed.estimates, found[1].estimates[passed.positions])
    fk.select("numpy")
    assert np.allclose(codes.rotate(x), rotated, rtol=1e-3, atol=1e-4 * np.abs(rotated).max())
    for refined in (False, True):
        expected = codes.scan(rotated[0], centroid, coded, refined=refined)
        assert np.array_equal(found[int(refined)].positions, expected.positions)
        assert np.allclose(found[int(refined)].estimates, expected.estimates, rtol=1e-3, atol=near)
        assert np.allclose(found[int(refined)].lowers, expected.lowers, rtol=1e-3, atol=near)
    again = codes.encode(rotated, centroid)
    assert (again.blocks == coded.blocks).mean() > 0.9
    assert np.allclose(codes.scan(rotated[0], centroid, again).estimates, found[0].estimates, rtol=0.1, atol=100 * near)


@pytest.mark.parametrize("bits", [1, 4])
def test_estimates_are_unbiased_over_rotations(bits: int) -> None:
    random = np.random.default_rng(bits)
    x = random.standard_normal((2, 96)).astype(np.float32)
    x[1] += 0.6 * x[0]  # near one another: a bias would show
    space = vectors.Space("float32", "l2", 96)
    exact = float(vectors.distances(space, x[:1], x[1:])[0, 0])
    errors, spreads = [], []
    for seed in range(80):
        codes = BitCodes.train(x, space, uniform_plan(96, bits), seed=seed)
        rotated = codes.rotate(x)
        centroid = np.zeros_like(rotated[0])
        one = codes._scan(rotated[0], centroid, codes.encode(rotated[1:], centroid), np.inf, (1.0, 1.0), True)
        errors.append(one.estimates[0] - exact)
        spreads.append(one.estimates[0] - one.lowers[0])
    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(len(errors)) + 1e-3 * exact
    assert np.std(errors) < 1.3 * np.mean(spreads)


@pytest.mark.parametrize("metric", vectors.METRICS)
@pytest.mark.parametrize("plan", [Plan(70, 1, 1, 0, 0), Plan(16, 4, 4, 70, 1)])
def test_bounds_hold_with_their_confidence(metric: vectors.Metric, plan: Plan) -> None:
    random = np.random.default_rng(7)
    x = decaying(random, 1700, 70)
    space = vectors.Space("float32", metric, 70)
    sample, stored, queries = x[:900], x[900:1620], x[1620:]
    codes = BitCodes.train(sample, space, plan)
    rotated = codes.rotate(stored)
    centroid = codes.centroid(rotated)
    coded, exact = codes.encode(rotated, centroid), vectors.distances(space, queries, stored)
    for refined in (False, True):
        held = []
        for query, distances in zip(codes.rotate(queries), exact, strict=True):
            found = codes.scan(query, centroid, coded, confidence=0.95, refined=refined)
            near = np.argsort(distances)[:10]
            held.append(found.lowers[near] <= distances[near])
        assert np.mean(held) > 0.92


def test_more_bits_are_nearer_and_few_reads_find_the_nearest() -> None:
    random = np.random.default_rng(3)
    x = decaying(random, 1500, 70)
    space = vectors.Space("float32", "l2", 70)
    exact = vectors.distances(space, x[:1], x)[0]
    nearest, errors = set(np.argsort(exact)[:10]), []
    for bits in range(1, 9):
        codes = BitCodes.train(x[:500], space, uniform_plan(70, bits))
        rotated = codes.rotate(x)
        found = codes.scan(
            rotated[0], codes.centroid(rotated), codes.encode(rotated, codes.centroid(rotated)), refined=True
        )
        errors.append(float(np.abs(found.estimates - exact).mean()))
        reads = 10 if bits > 6 else 60
        assert bits == 1 or len(nearest & set(np.argsort(found.estimates)[:reads])) >= 9
    assert all(one > other for one, other in pairwise(errors[:6]))


def test_appending_changes_only_what_is_appended() -> None:
    random = np.random.default_rng(5)
    x = decaying(random, 40, 70)
    codes = BitCodes.train(x, vectors.Space("float32", "l2", 70), Plan(16, 4, 4, 70, 1))
    rotated = codes.rotate(x)
    centroid = codes.centroid(rotated)
    whole = codes.encode(rotated, centroid)
    blocks, rows = np.zeros_like(whole.blocks), np.zeros_like(whole.rows)
    for first, last in ((0, 5), (5, 21), (21, 40)):
        codes.coder().encode(np.ascontiguousarray(rotated[first:last]), centroid, first, blocks, rows)
    assert np.array_equal(blocks, whole.blocks) and np.array_equal(rows, whole.rows)


def test_saved_codes_are_the_same_and_broken_ones_are_refused() -> None:
    x = decaying(np.random.default_rng(6), 50, 70)
    space = vectors.Space("float32", "cosine", 70)
    codes = BitCodes.train(x, space, Plan(16, 4, 4, 70, 1))
    again = BitCodes.from_arrays(space, codes.arrays())
    assert again.plan == codes.plan and np.array_equal(again.rotate(x), codes.rotate(x))
    arrays = codes.arrays()
    del arrays["signs"]
    with pytest.raises(vectors.VectorError, match="signs: is missing"):
        BitCodes.from_arrays(space, arrays)
    with pytest.raises(vectors.VectorError, match=r"must be \[8\], \[2, 1001\] and \[71\]"):
        BitCodes.from_arrays(vectors.Space("float32", "cosine", 71), codes.arrays())


def test_plans() -> None:
    for dim in (8, 96, 128, 384, 784, 1536):
        space = vectors.Space("float32", "l2", dim)
        least = uniform_plan(dim, 1).bytes_per_vector
        plan = default_plan(space, max(least, 0.077 * 4 * dim))
        assert plan.bytes_per_vector <= max(least, 0.077 * 4 * dim)
    assert default_plan(vectors.Space("float32", "l2", 384)) == Plan(96, 4, 4, 384, 1)
    with pytest.raises(vectors.VectorError, match="12 bytes a vector are the least"):
        default_plan(vectors.Space("float32", "l2", 32), 3)
    for wrong in (Plan(8, 3, 3, 0, 0), Plan(8, 1, 9, 0, 0), Plan(8, 1, 1, 0, 1), Plan(0, 1, 1, 8, 1)):
        with pytest.raises(vectors.VectorError, match="plan: "):
            wrong.check()
    with pytest.raises(vectors.VectorError, match=r"must be 70"):
        BitCodes.train(np.ones((9, 70), np.float32), vectors.Space("float32", "l2", 70), Plan(8, 1, 1, 60, 1))
    with pytest.raises(vectors.VectorError, match=r"confidence: must be 0\.5\.\.0\.999"):
        BitCodes.train(np.eye(70, dtype=np.float32), vectors.Space("float32", "l2", 70)).bound(1.0)
    assert vector_bit_codes.BLOCK == 16
