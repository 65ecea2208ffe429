"""The trained quantizer: sizes, reads that find the nearest, its file and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead_kernels.vectors import distances
from fairlead_tiered_retrieval.codes import Quantizer, must_read
from fairlead_tiered_retrieval.errors import BadVectors, CorruptFile
from fairlead_tiered_retrieval.space import Space


def vectors(count: int = 900, dim: int = 96) -> np.ndarray:
    random = np.random.default_rng(0)
    turn = np.linalg.qr(random.standard_normal((dim, dim)))[0]
    return ((random.standard_normal((count, dim)) * np.geomspace(3, 0.1, dim)) @ turn).astype(np.float32)


@pytest.mark.parametrize("metric", ["l2", "dot", "cosine"])
def test_the_reads_that_the_bounds_want_hold_the_nearest(metric: str) -> None:
    x = vectors()
    space = Space("float32", metric, 96)  # type: ignore[arg-type]
    quantizer = Quantizer.train(x[:500], space, bits=4)
    coded, centroid = quantizer.encode(x[:800])
    exact = distances(space, x[800:], x[:800])
    shares, reads = [], []
    for query, row in zip(x[800:], exact, strict=True):
        found = quantizer.estimates(query, coded, centroid, confidence=0.99)
        chosen = found.positions[must_read(found.estimates, found.lowers, 10)]
        shares.append(len(set(chosen.tolist()) & set(np.argsort(row)[:10].tolist())) / 10)
        reads.append(len(chosen))
    assert np.mean(shares) > 0.985
    assert np.mean(reads) < 40


def test_codes_fit_the_size_that_is_asked_for() -> None:
    x = vectors(200)
    space = Space("float32", "l2", 96)
    assert Quantizer.train(x, space).bytes_per_vector <= 0.077 * 4 * 96
    assert Quantizer.train(x, space, most_bytes=60).bytes_per_vector <= 60
    with pytest.raises(BadVectors, match="bytes a vector are the least, got 5"):
        Quantizer.train(x, space, most_bytes=5)
    with pytest.raises(BadVectors, match=r"bits: must be 1\.\.8, got 9"):
        Quantizer.train(x, space, bits=9)
    with pytest.raises(BadVectors, match="not bits"):
        Quantizer.train(np.zeros((20, 12), np.uint8), Space("bit", "l2", 96), bits=1)
    x[7, 3] = np.nan
    with pytest.raises(BadVectors, match=r"sample\[7\]: element 3 is nan"):
        Quantizer.train(x, space)


def test_a_saved_quantizer_is_the_same_and_damage_is_noticed(tmp_path: Path) -> None:
    x = vectors(200)
    quantizer = Quantizer.train(x, Space("float32", "cosine", 96))
    path = tmp_path / "codes"
    quantizer.save(path)
    again = Quantizer.load(path)
    assert again.space == quantizer.space
    assert np.array_equal(again.encode(x)[0].blocks, quantizer.encode(x)[0].blocks)
    whole = path.read_bytes()
    for damaged in (b"", whole[:20], whole[:-1], whole[:300] + b"\x00\xff" + whole[302:], whole[8:]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptFile, match="train the codes again"):
            Quantizer.load(path)


def test_fewer_vectors_than_asked_for_are_all_read() -> None:
    estimates = np.array([3, 1, 2], np.float32)
    assert must_read(estimates, estimates - 1, 10).tolist() == [1, 2, 0]
    assert must_read(estimates, estimates - 1, 10, most=2).tolist() == [1, 2]
    assert must_read(estimates, estimates - np.float32(0.4), 1).tolist() == [1]
    assert must_read(estimates[:0], estimates[:0], 3).tolist() == []
