"""Engines of vector search in processes of their own, measured in turn on the same queries."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decoding_process import DecodingProcess, EngineEnded
from benchmarks.memory_group import MemoryGroup
from benchmarks.vectors.curve import Point, qps_at, recall_at
from benchmarks.vectors.data import Part, VectorData

ROOT = Path(__file__).parents[2]
K = 10
OURS = "benchmarks.vectors.fairlead_engines"
#: The name of our settings.
ASKED = "recall asked"
#: Recall that a setting must add to the one before it.
_FLAT = 2e-4
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Spec:
    """An engine to be started.

    Attributes:
        name: in rows.
        python: the interpreter that has it.
        module: with the makers of engines; ``engine``: which.
        options: of the maker.
    """

    name: str
    python: Path
    module: str
    engine: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def peer(cls, name: str, python: Path) -> Spec:
        """One of `benchmarks.peers.vector_engines.PEERS`."""
        return cls(name, python, "benchmarks.peers.vector_engines", name)

    @classmethod
    def ours(cls, name: str, engine: str, **options: Any) -> Spec:
        """One of `benchmarks.vectors.fairlead_engines.ENGINES`."""
        return cls(name, Path(sys.executable), OURS, engine, options)

    @property
    def key(self) -> str:
        """A name for a folder."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.name).strip("-").lower()


@cache
def _own_code() -> str:
    """A digest of our kernels and indexes: what other code has built is not measured as this one's."""
    packages = ("fairlead_kernels", "fairlead_tiered_retrieval")
    folders = [Path(found.origin).parent for name in packages if (found := find_spec(name)) and found.origin]
    files = sorted(file for folder in folders for ending in ("*.py", "*.so") for file in folder.rglob(ending))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def code_of(spec: Spec) -> str:
    """What an index was built by; empty for peers, whose environments stay as they are."""
    return _own_code() if spec.module == OURS else ""


class VectorEngine:
    """An engine's process with an index over one data set, built once for a folder."""

    def __init__(
        self,
        spec: Spec,
        data: VectorData,
        *,
        core: int | None = None,
        threads: int = 2,
        group: MemoryGroup | None = None,
        rebuild: bool = False,
        name: str | None = None,
    ) -> None:
        """Start it, build or find its index, and open that.

        Args:
            spec: the engine.
            data: the data set; the index is kept in its folder.
            core: to search on; None: any.
            threads: of the build.
            group: a memory limit for searching.
            rebuild: build also where an index is there.
            name: in curves; None: the engine's. Engines that differ in what happens after opening share an index.

        Raises:
            EngineEnded: the process ended; its last words are in the error.
        """
        self.spec, self.data, self._core = spec, data, core
        self.name = name or spec.name
        self.folder = data.folder / "indexes" / spec.key
        self._out = self.folder.with_suffix(f".{os.getpid()}.ids.npy")
        marker = self.folder.with_suffix(".json")
        options = {key: value for key, value in spec.options.items() if key != "region"}
        wanted = {"options": options, "engine": spec.engine, "threads": threads, "code": code_of(spec)}
        kept = json.loads(marker.read_text()) if marker.exists() else {}
        if rebuild or {key: kept.get(key) for key in wanted} != wanted:
            builder = self._started(None)
            request = {"build": str(data.base_path), "folder": str(self.folder), "threads": threads}
            try:
                kept = {**wanted, "built": builder.ask(request, 3600.0)}
            finally:
                builder.close()
            marker.write_text(json.dumps(kept))
        self.built: Mapping[str, Any] = kept["built"]
        self.process = self._started(group)
        self.opened = self.process.ask({"open": str(self.folder), "base": str(data.base_path)})

    def _started(self, group: MemoryGroup | None) -> DecodingProcess:
        spec = self.spec
        command = [str(spec.python), "-m", "benchmarks.peers.vector_worker", spec.module, spec.engine]
        command += ["--options", json.dumps(dict(spec.options))]
        command += [] if self._core is None else ["--core", str(self._core)]
        inside = os.environ.get("PYTHONPATH", "") if spec.python == Path(sys.executable) else ""
        threads = _ONE_THREAD if group is not None else {}
        paths = {"PYTHONPATH": f"{ROOT}:{inside}".rstrip(":")}
        return DecodingProcess(command, group=group, environment={**threads, **paths})

    @property
    def saved_share(self) -> float:
        """Bytes of the saved index, as a share of the vectors' in float32."""
        return self.built["saved_bytes"] / self.data.raw_bytes

    @property
    def resident_share(self) -> float:
        """The same of the memory that opening it took."""
        return self.opened["resident_bytes"] / self.data.raw_bytes

    @property
    def efforts(self) -> list[float]:
        """Settings to sweep."""
        return self.opened["efforts"]

    def search(self, part: Part, effort: float, *, limit: int | None = None, clock: str = "seconds") -> Searched:
        """All queries of a part (or the first so many) once."""
        request = {"search": str(self.data.queries_path(part)), "k": K, "effort": effort, "out": str(self._out)}
        told = self.process.ask({**request, "limit": limit}, 3600.0)
        found = np.load(self._out)
        recall = recall_at(found, self.data.truth(part)[: len(found)], K)
        return Searched(effort, Point(recall, len(found) / told[clock]), told)

    def close(self) -> None:
        """End the process."""
        self.process.close()
        self._out.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Searched:
    """One pass over the queries: the setting, recall and speed, and what the engine told."""

    effort: float
    point: Point
    told: Mapping[str, Any]


@dataclass(slots=True)
class Curves:
    """What was measured of some engines: by engine and repeat the points of its curve."""

    points: dict[str, list[list[Searched]]] = field(default_factory=dict)

    def at(self, name: str, recall: float) -> list[float] | None:
        """Queries per second at a recall in each repeat; None where a repeat does not reach it."""
        found = [qps_at([one.point for one in repeat], recall) for repeat in self.points.get(name, [])]
        return [one for one in found if one is not None] if found and None not in found else None

    def middle(self, name: str) -> list[Point]:
        """The curve: recall and median speed of each setting."""
        repeats = self.points[name]
        return [
            Point(same[0].point.recall, statistics.median(one.point.qps for one in same))
            for same in zip(*repeats, strict=True)
        ]


def measured(
    engines: Sequence[VectorEngine],
    part: Part,
    repeats: int,
    *,
    limit: int | None = None,
    enough: float = 0.9975,
    clock: str = "seconds",
    slow_limit: int = 1000,
) -> Curves:
    """Sweep every engine in turn, one setting after the other, each on the same queries.

    Args:
        engines: with their indexes open.
        part: of the queries.
        repeats: of the whole.
        limit: queries of a pass; None: all.
        enough: settings beyond this recall are left out.
        clock: ``seconds``, or ``processor_s``, which other processes disturb less.
        slow_limit: queries for engines that answer fewer than 2,000 a second.
    """
    curves = Curves({engine.name: [] for engine in engines})
    plan = {engine.name: _plan(engine, part, limit, enough, slow_limit) for engine in engines}
    for _ in range(repeats):
        for engine in engines:
            efforts, count = plan[engine.name]
            passes = [engine.search(part, effort, limit=count, clock=clock) for effort in efforts]
            curves.points[engine.name].append(passes)
    return curves


def _plan(
    engine: VectorEngine, part: Part, limit: int | None, enough: float, slow_limit: int
) -> tuple[list[float], int | None]:
    """The settings worth a pass and the queries of one, from a first look that is not counted and warms up."""
    efforts, count, last = [], limit, 0.0
    for effort in engine.efforts:
        looked = engine.search(part, effort, limit=min(limit or 500, 500))
        if looked.point.qps < 2000:
            count = slow_limit if limit is None else min(limit, slow_limit)
        gained, last = looked.point.recall - last, looked.point.recall
        # An engine that is asked for a recall may do the same for several.
        asks = engine.opened["sweep"] == ASKED
        if not asks or gained > 0:
            efforts.append(effort)
        if last >= enough or (not asks and last > 0.5 and gained < _FLAT):
            break  # what is left would only be slower
    return efforts, count


def opened(
    specs: Sequence[Spec], data: VectorData, *, core: int | None, threads: int = 2
) -> tuple[list[VectorEngine], dict[str, str]]:
    """Start engines; and why each that did not start is missing."""
    engines, missing = [], {}
    for spec in specs:
        try:
            engines.append(VectorEngine(spec, data, core=core, threads=threads))
        except (EngineEnded, OSError) as error:
            missing[spec.name] = str(error)
            print(f"left out: {spec.name}: {error}", flush=True)
    return engines, missing
