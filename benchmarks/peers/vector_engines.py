"""Libraries of vector search behind one face; each is imported only when it is asked for.

Runs in the interpreter that has the library. Distances are squared L2 over float32 or uint8 rows; one thread searches.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Engine(Protocol):
    """An index of one library."""

    #: What is swept, and its values from fast to exact.
    sweep: tuple[str, list[float]]

    def build(self, base: np.ndarray, folder: Path, threads: int) -> None:
        """Build over the rows and save into an empty folder."""
        ...

    def open(self, folder: Path, base: np.ndarray) -> None:
        """Load what was saved."""
        ...

    def search(self, queries: np.ndarray, k: int, effort: float) -> np.ndarray:
        """Ids [n, k] of the nearest, by one thread."""
        ...


_BEAMS = [10.0, 14, 20, 28, 40, 56, 80, 112, 160, 240, 400]
_PROBES = [1.0, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96]


class SymphonyQG:
    """rabitqlib's SymphonyQG: codes of each neighbour beside the vertex."""

    sweep = ("ef", _BEAMS)

    def __init__(self, degree: int = 32, ef: int = 200, bits: int = 0) -> None:
        self.degree, self.ef, self.bits = degree, ef, bits
        self.index: Any = None

    def build(self, base: np.ndarray, folder: Path, threads: int) -> None:
        from rabitqlib import SymqgIndex

        rows = np.ascontiguousarray(base, np.float32)
        self.index = SymqgIndex(rows.shape[1], self.degree, "l2", self.bits)
        self.index.build(rows, self.ef, threads)
        self.index.save(str(folder / "index"))

    def open(self, folder: Path, base: np.ndarray) -> None:
        from rabitqlib import SymqgIndex

        self.index = SymqgIndex.load(str(folder / "index"))

    def search(self, queries: np.ndarray, k: int, effort: float) -> np.ndarray:
        return self.index.search_batch(queries, k, int(effort), 1)[0]


class RabitqIvf:
    """rabitqlib's inverted lists of extended RaBitQ codes."""

    sweep = ("nprobe", _PROBES)

    def __init__(self, bits: int = 4, lists: int = 0) -> None:
        self.bits, self.lists = bits, lists
        self.index: Any = None

    def build(self, base: np.ndarray, folder: Path, threads: int) -> None:
        from rabitqlib import FinalAssignmentMode, IvfIndex, RaBitQKMeans

        rows = np.ascontiguousarray(base, np.float32)
        lists = self.lists or _lists(len(rows))
        means = RaBitQKMeans(rows.shape[1], lists, num_threads=threads, final_assignment=FinalAssignmentMode.Exact)
        means.train(rows)
        self.index = IvfIndex(rows.shape[1], len(rows), lists, self.bits, "l2")
        self.index.build(rows, means.centroids, means.assignments, threads)
        self.index.save(str(folder / "index"))

    def open(self, folder: Path, base: np.ndarray) -> None:
        from rabitqlib import IvfIndex

        self.index = IvfIndex.load(str(folder / "index"))

    def search(self, queries: np.ndarray, k: int, effort: float) -> np.ndarray:
        return self.index.search(queries, k, int(effort), num_threads=1)[0]


class RabitqHnsw:
    """rabitqlib's HNSW over extended RaBitQ codes."""

    sweep = ("ef", _BEAMS)

    def __init__(self, bits: int = 4, degree: int = 16, ef: int = 200, lists: int = 16) -> None:
        self.bits, self.degree, self.ef, self.lists = bits, degree, ef, lists
        self.index: Any = None

    def build(self, base: np.ndarray, folder: Path, threads: int) -> None:
        from rabitqlib import FinalAssignmentMode, HnswIndex, RaBitQKMeans

        rows = np.ascontiguousarray(base, np.float32)
        means = RaBitQKMeans(rows.shape[1], self.lists, num_threads=threads, final_assignment=FinalAssignmentMode.Exact)
        means.train(rows)
        self.index = HnswIndex(rows.shape[1], len(rows), self.degree, self.ef, self.bits, "l2")
        self.index.build(rows, means.centroids, means.assignments, threads)
        self.index.save(str(folder / "index"))

    def open(self, folder: Path, base: np.ndarray) -> None:
        from rabitqlib import HnswIndex

        self.index = HnswIndex.load(str(folder / "index"))

    def search(self, queries: np.ndarray, k: int, effort: float) -> np.ndarray:
        return self.index.search(queries, k, int(effort), 1)[0]


class Faiss:
    """An index of faiss by its factory's name; HNSW keeps uint8 rows as they are."""

    def __init__(self, factory: str, ef: int = 200) -> None:
        self.factory, self.ef = factory, ef
        hnsw = factory.startswith("HNSW")
        self.parameter = "efSearch" if hnsw else "nprobe"
        if "RFlat" in factory:
            self.parameter = "quantizer_nprobe"
        self.sweep = (self.parameter, _BEAMS if hnsw else _PROBES)
        self.index: Any = None

    def build(self, base: np.ndarray, folder: Path, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        rows = np.ascontiguousarray(base, np.float32)
        if self.factory == "HNSW32_bytes":
            direct = base.dtype == np.uint8
            kind = faiss.ScalarQuantizer.QT_8bit_direct if direct else faiss.ScalarQuantizer.QT_8bit
            self.index = faiss.IndexHNSWSQ(rows.shape[1], kind, 32)
        else:
            self.index = faiss.index_factory(rows.shape[1], self.factory.replace("LISTS", str(_lists(len(rows)))))
        if "HNSW" in self.factory:
            self.index.hnsw.efConstruction = self.ef
        self.index.train(rows)
        self.index.add(rows)
        faiss.write_index(self.index, str(folder / "index"))

    def open(self, folder: Path, base: np.ndarray) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self.index = faiss.read_index(str(folder / "index"))

    def search(self, queries: np.ndarray, k: int, effort: float) -> np.ndarray:
        import faiss

        if self.parameter == "efSearch":
            self.index.hnsw.efSearch = int(effort)
        elif self.parameter == "nprobe":
            self.index.nprobe = int(effort)
        else:
            faiss.downcast_index(self.index.base_index).nprobe = int(effort)
            self.index.k_factor = 10
        return self.index.search(queries, k)[1]


class Hnswlib:
    """hnswlib, float32."""

    sweep = ("ef", _BEAMS)

    def __init__(self, degree: int = 16, ef: int = 200) -> None:
        self.degree, self.ef = degree, ef
        self.index: Any = None

    def build(self, base: np.ndarray, folder: Path, threads: int) -> None:
        import hnswlib

        self.index = hnswlib.Index("l2", base.shape[1])
        self.index.init_index(len(base), self.ef, self.degree, random_seed=1)
        self.index.add_items(base.astype(np.float32), num_threads=threads)
        self.index.save_index(str(folder / "index"))

    def open(self, folder: Path, base: np.ndarray) -> None:
        import hnswlib

        self.index = hnswlib.Index("l2", base.shape[1])
        self.index.load_index(str(folder / "index"))

    def search(self, queries: np.ndarray, k: int, effort: float) -> np.ndarray:
        self.index.set_ef(max(int(effort), k))
        return self.index.knn_query(queries, k, num_threads=1)[0]


class Usearch:
    """usearch, bfloat16 or int8."""

    sweep = ("expansion_search", _BEAMS)

    def __init__(self, element: str = "bf16", degree: int = 16, ef: int = 200) -> None:
        self.element, self.degree, self.ef = element, degree, ef
        self.index: Any = None

    def build(self, base: np.ndarray, folder: Path, threads: int) -> None:
        from usearch.index import Index

        self.index = Index(
            ndim=base.shape[1], metric="l2sq", dtype=self.element, connectivity=self.degree, expansion_add=self.ef
        )
        self.index.add(np.arange(len(base)), base.astype(np.float32), threads=threads)
        self.index.save(str(folder / "index"))

    def open(self, folder: Path, base: np.ndarray) -> None:
        from usearch.index import Index

        self.index = Index(ndim=base.shape[1], metric="l2sq", dtype=self.element, connectivity=self.degree)
        self.index.load(str(folder / "index"))

    def search(self, queries: np.ndarray, k: int, effort: float) -> np.ndarray:
        self.index.expansion_search = int(effort)
        return self.index.search(queries, k, threads=1).keys


class SvsVamana:
    """Intel's SVS: Vamana over float32 or locally-adaptive codes (LVQ)."""

    sweep = ("window", _BEAMS)

    def __init__(self, bits: int = 32, residual: int = 0, degree: int = 64, window: int = 128) -> None:
        self.bits, self.residual, self.degree, self.window = bits, residual, degree, window
        self.index: Any = None

    def _loader(self, source: Path) -> Any:
        import svs

        kind = svs.VectorDataLoader(str(source), svs.DataType.float32)
        return kind if self.bits == 32 else svs.LVQLoader(kind, primary=self.bits, residual=self.residual)

    def build(self, base: np.ndarray, folder: Path, threads: int) -> None:
        import svs

        rows = np.ascontiguousarray(base, np.float32)
        source = folder.parent / f"{folder.name}-source"
        shutil.rmtree(source, ignore_errors=True)
        svs.write_vecs(rows, str(_made(source) / "rows.fvecs"))
        svs.convert_vecs_to_svs(str(source / "rows.fvecs"), str(source / "svs"))
        parameters = svs.VamanaBuildParameters(
            graph_max_degree=self.degree, window_size=self.window, alpha=1.2, prune_to=self.degree - 4
        )
        self.index = svs.Vamana.build(parameters, self._loader(source / "svs"), svs.DistanceType.L2, threads)
        for part in ("config", "graph", "data"):
            (folder / part).mkdir()
        self.index.save(*(str(folder / part) for part in ("config", "graph", "data")))
        shutil.rmtree(source)

    def open(self, folder: Path, base: np.ndarray) -> None:
        import svs

        data = folder / "data"
        kind = svs.VectorDataLoader(str(data), svs.DataType.float32) if self.bits == 32 else svs.LVQLoader(str(data))
        self.index = svs.Vamana(str(folder / "config"), svs.GraphLoader(str(folder / "graph")), kind, num_threads=1)

    def search(self, queries: np.ndarray, k: int, effort: float) -> np.ndarray:
        self.index.search_window_size = max(int(effort), k)
        return self.index.search(queries, k)[0]


class DiskAnn:
    """DiskANN's index on an SSD: graph and vectors in sectors of a file, product-quantized codes in memory."""

    sweep = ("complexity", [10.0, 14, 20, 28, 40, 60])

    def __init__(self, degree: int = 64, complexity: int = 100, code_share: float = 0.08, beam: int = 4) -> None:
        self.degree, self.complexity, self.code_share, self.beam = degree, complexity, code_share, beam
        self.index: Any = None

    def build(self, base: np.ndarray, folder: Path, threads: int) -> None:
        import diskannpy

        rows = np.ascontiguousarray(base, np.float32)
        memory = self.code_share * rows.nbytes / 1e9
        diskannpy.build_disk_index(
            rows, "l2", str(folder), self.complexity, self.degree, memory, 8.0, threads, index_prefix="ann"
        )
        for left_over in ("ann_mem.index.data", "ann_vectors.bin"):  # searching does not read them
            (folder / left_over).unlink(missing_ok=True)

    def open(self, folder: Path, base: np.ndarray) -> None:
        import diskannpy

        # With room for one thread only, opening waits forever for a free one; searches say themselves how many.
        self.index = diskannpy.StaticDiskIndex(str(folder), 2, 0, cache_mechanism=0)

    def search(self, queries: np.ndarray, k: int, effort: float) -> np.ndarray:
        found = self.index.batch_search(queries, k, max(int(effort), k), 1, self.beam)
        return found.identifiers.astype(np.int64)


#: By the name that rows and options use.
PEERS: Mapping[str, Callable[[], Engine]] = {
    "rabitqlib SymphonyQG": SymphonyQG,
    "rabitqlib SymphonyQG 8 bit": lambda: SymphonyQG(bits=8),
    "rabitqlib IVF 4 bit": lambda: RabitqIvf(4),
    "rabitqlib IVF 8 bit": lambda: RabitqIvf(8),
    "rabitqlib HNSW 4 bit": lambda: RabitqHnsw(4),
    "rabitqlib HNSW 8 bit": lambda: RabitqHnsw(8),
    "faiss HNSW32 bytes": lambda: Faiss("HNSW32_bytes"),
    "faiss HNSW16 float32": lambda: Faiss("HNSW16,Flat"),
    "faiss IVF PQ + refine": lambda: Faiss("IVFLISTS,PQ98x4fs,RFlat"),
    "hnswlib M16": Hnswlib,
    "usearch bf16": Usearch,
    "usearch int8": lambda: Usearch("i8"),
    "SVS Vamana float32": SvsVamana,
    "SVS Vamana LVQ8": lambda: SvsVamana(8, 0, 32),
    "SVS Vamana LVQ4x8": lambda: SvsVamana(4, 8, 32),
    "DiskANN SSD": DiskAnn,
}


def _lists(count: int) -> int:
    """The power of two nearest below 1.05 x sqrt(count): 256 of 60,000."""
    return 1 << int(np.log2(1.05 * np.sqrt(count)))


def _made(folder: Path) -> Path:
    os.makedirs(folder)
    return folder
