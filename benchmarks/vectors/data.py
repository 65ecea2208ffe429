"""Data sets with exact answers, kept as files that every engine's process maps.

``base.npy`` [n, d]; ``queries_dev.npy`` and ``queries_final.npy``, of which the first are for choosing settings and the
last are looked at by full benchmark runs alone; ``truth_dev.npy`` and ``truth_final.npy``: ids of the nearest 100.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Part = Literal["dev", "final"]
TRUTH = 100
QUERIES = 10_000
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class VectorData:
    """A data set in a folder; distances are squared L2.

    Attributes:
        name: of the data set.
        folder: of its files.
        about: where it is from, in words.
    """

    name: str
    folder: Path
    about: str

    @property
    def base_path(self) -> Path:
        """Of the vectors [n, d] (uint8 or float32)."""
        return self.folder / "base.npy"

    @property
    def base(self) -> NDArray:
        """The vectors, mapped."""
        return np.load(self.base_path, mmap_mode="r")

    @property
    def raw_bytes(self) -> int:
        """Count x dimensions x 4: what sizes of indexes are compared with."""
        return self.base.shape[0] * self.base.shape[1] * 4

    def queries_path(self, part: Part) -> Path:
        """Of the queries [m, d], in the element of the vectors."""
        return self.folder / f"queries_{part}.npy"

    def truth_path(self, part: Part) -> Path:
        """Of the ids of the nearest 100 of each query."""
        return self.folder / f"truth_{part}.npy"

    def truth(self, part: Part) -> NDArray[np.int32]:
        """Ids of the nearest 100 of each query, the nearest first."""
        return np.load(self.truth_path(part))


def exact_neighbours(base: NDArray, queries: NDArray, k: int) -> NDArray[np.int32]:
    """Return ids [m, k] by squared L2, the nearest first, the lower id first among equals.

    Candidates come from float32 products; distances of twice as many are then taken exactly in float64.
    """
    count = min(k, len(base))
    wide = min(2 * count, len(base))
    rows = base.astype(np.float32)
    norms = np.einsum("ij,ij->i", rows, rows)
    found = np.empty((len(queries), count), np.int32)
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK].astype(np.float32)
        scores = norms - 2.0 * (block @ rows.T)
        near = np.argpartition(scores, wide - 1, axis=1)[:, :wide]
        for index, ids in enumerate(near):
            ids = np.sort(ids)
            apart = base[ids].astype(np.float64) - block[index].astype(np.float64)
            order = np.argsort(np.einsum("ij,ij->i", apart, apart), kind="stable")
            found[start + index] = ids[order[:count]]
    return found


def prepared(
    folder: Path, name: str, about: str, source: dict[str, Any], read: Callable[[], tuple[NDArray, NDArray]]
) -> VectorData:
    """Return a data set, made where the folder does not have it.

    Args:
        folder: of all data sets; this one's is a folder in it.
        name: of the data set.
        about: where it is from.
        source: what it depends on; a data set made from another source is made anew.
        read: gives vectors [n, d] and queries [m, d]; the first half of these is for choosing settings.
    """
    data = VectorData(name, folder / name, about)
    marker = data.folder / "source.json"
    if marker.exists() and json.loads(marker.read_text()) == source:
        return data
    data.folder.mkdir(parents=True, exist_ok=True)
    marker.unlink(missing_ok=True)
    base, queries = read()
    np.save(data.base_path, base)
    half = len(queries) // 2
    for part, rows in (("dev", queries[:half]), ("final", queries[half:])):
        np.save(data.folder / f"queries_{part}.npy", rows)
        np.save(data.folder / f"truth_{part}.npy", exact_neighbours(base, rows, TRUTH))
    marker.write_text(json.dumps(source))
    return data


def fashion_mnist(folder: Path) -> VectorData | None:
    """Return Fashion-MNIST (60,000 x 784 uint8, 10,000 queries) of ``FAIRLEAD_DATA``, None where it is not there."""
    root = Path(os.environ.get("FAIRLEAD_DATA", "")) / "vectors" / "fashion-mnist"
    if "FAIRLEAD_DATA" not in os.environ or not root.is_dir():
        return None

    def read() -> tuple[NDArray, NDArray]:
        return tuple(_images(root / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k"))  # type: ignore[return-value]

    about = "Fashion-MNIST, 60,000 x 784 uint8"
    return prepared(folder, "fashion-mnist", about, {"version": 1}, read)


def embeddings(
    folder: Path, path: Path, *, count: int | None = None, queries: int = QUERIES, seed: int = 1
) -> VectorData:
    """Return text embeddings of a file [n, d] float32: the last 10,000 of a seeded permutation are queries.

    Args:
        folder: of all data sets.
        path: the .npy file.
        count: vectors beside the queries; None: all. More than there are: the rest is made by `extended`.
        queries: how many are kept of the 10,000, half from each half of them.
        seed: of the permutation.
    """
    rows = np.load(path, mmap_mode="r")
    if rows.ndim != 2 or len(rows) <= QUERIES:
        raise SystemExit(f"--embeddings {path}: shape {rows.shape}; accepted: [n, d] with more than {QUERIES} rows")
    real = len(rows) - QUERIES
    wanted = real if count is None else count
    name = f"text-{rows.shape[1]}d-{wanted // 1000}k"
    about = f"embeddings of passages of public-domain books, {wanted:,} x {rows.shape[1]} float32"
    if wanted > real:
        about += f"; {real:,} are real, the others made from them by moving each towards one of its neighbours"
    source = {"version": 2, "rows": len(rows), "bytes": path.stat().st_size, "count": wanted, "seed": seed}
    source["queries"] = queries

    def read() -> tuple[NDArray, NDArray]:
        order = np.random.default_rng(seed).permutation(len(rows))
        base = np.ascontiguousarray(rows[np.sort(order[:real][:wanted])], np.float32)
        halves = order[real:].reshape(2, -1)[:, : queries // 2]
        asked = np.ascontiguousarray(rows[halves.ravel()], np.float32)
        return (base if wanted <= real else extended(base, wanted, seed)), asked

    return prepared(folder, name, about, source, read)


def extended(rows: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """Return the rows and as many made ones as are missing, normalised.

    Each made row lies between a real one and one of some of its real near neighbours (a random share of the way, 0.2 to
    0.8), with a small step along the difference of two further neighbours: no direction leaves what neighbours span, so
    that the local dimension stays that of the data.
    """
    random = np.random.default_rng(seed + 1)
    near = _near_ids(rows, 8, random)
    made = [rows]
    missing = count - len(rows)
    while missing > 0:
        take = min(missing, len(rows), 1 << 16)
        origin = random.choice(len(rows), take, replace=False)
        first, second, third = (
            near[origin, column] for column in random.permuted(np.tile(np.arange(8), (take, 1)), axis=1).T[:3]
        )
        way = random.uniform(0.2, 0.8, (take, 1)).astype(np.float32)
        side = random.normal(0.0, 0.3, (take, 1)).astype(np.float32)
        mixed = rows[origin] + way * (rows[first] - rows[origin]) + side * (rows[second] - rows[third])
        made.append(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))
        missing -= take
    return np.concatenate(made)


def _near_ids(rows: NDArray[np.float32], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return for each row ids of near rows of a random group of some thousand that share its nearest pivot."""
    pivots = rows[random.choice(len(rows), max(1, len(rows) // 2000), replace=False)]
    group = np.concatenate([(part @ pivots.T).argmax(axis=1) for part in np.array_split(rows, len(rows) // 4096 + 1)])
    near = np.tile(np.arange(len(rows))[:, None], count)
    for pivot in range(len(pivots)):
        ids = np.flatnonzero(group == pivot)
        for part in np.array_split(ids, len(ids) // 2048 + 1):
            if len(ids) > count and len(part):
                scores = rows[part] @ rows[ids].T
                near[part] = ids[np.argpartition(-scores, count, axis=1)[:, :count]]
    return near


def generated(folder: Path, count: int = 20_000, dim: int = 128, queries: int = 1_000, seed: int = 1) -> VectorData:
    """Return made vectors that a program without data can be tried on: clusters of low local dimension, float32."""

    def read() -> tuple[NDArray, NDArray]:
        random = np.random.default_rng(seed)
        local = 12
        centres = random.standard_normal((64, dim)).astype(np.float32)
        spans = random.standard_normal((64, local, dim)).astype(np.float32) / np.sqrt(local)
        which = random.integers(0, 64, count + queries)
        inner = random.standard_normal((count + queries, local)).astype(np.float32)
        rows = centres[which] + np.einsum("nl,nld->nd", inner, spans[which])
        rows += 0.05 * random.standard_normal(rows.shape).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows.astype(np.float32)
        return rows[:count], rows[count:]

    about = f"generated, {count:,} x {dim} float32, 64 clusters of 12 dimensions"
    source = {"version": 2, "count": count, "dim": dim, "queries": queries, "seed": seed}
    return prepared(folder, f"generated-{dim}d-{count // 1000}k", about, source, read)


def _images(path: Path) -> NDArray[np.uint8]:
    content = gzip.decompress(path.read_bytes())
    rows, height, width = (int.from_bytes(content[at : at + 4], "big") for at in (4, 8, 12))
    return np.frombuffer(content, np.uint8, offset=16).reshape(rows, height * width)
