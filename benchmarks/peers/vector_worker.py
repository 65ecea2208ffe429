"""One engine of vector search in a process of its own: ``python -m benchmarks.peers.vector_worker``.

Pinned to one core and one thread for searching, it answers JSON lines:
``{"build": base.npy, "folder": ..., "threads": n}`` -> ``{"seconds", "saved_bytes"}``;
``{"open": folder, "base": base.npy}`` -> ``{"resident_bytes", "seconds"}``;
``{"search": queries.npy, "k": 10, "effort": x, "out": ids.npy}`` -> ``{"seconds", "processor_s"}``.
Runs in the interpreter that has the library, which needs numpy and nothing of this project.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.replay import claim_output, pin


class Worker:
    """Answers requests with one engine."""

    def __init__(self, engine: Any, core: int | None) -> None:
        self._engine, self._core = engine, core
        self._queries: dict[str, np.ndarray] = {}

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was asked, as the module says."""
        for name in ("build", "open", "search", "call"):
            if name in request:
                return getattr(self, f"_{name}")(request)
        raise ValueError(f"request {sorted(request)}; accepted: build, open, search, call")

    def _build(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        folder = Path(request["folder"])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        base = np.load(request["build"], mmap_mode="r")
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        began, before = time.perf_counter(), time.process_time()
        self._engine.build(base, folder, request["threads"])
        seconds, busy = time.perf_counter() - began, time.process_time() - before
        pin(self._core)
        return {"seconds": seconds, "processor_s": busy, "saved_bytes": saved_bytes(folder)}

    def _open(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        began, before = time.perf_counter(), resident_bytes()
        self._engine.open(Path(request["open"]), np.load(request["base"], mmap_mode="r"))
        grown = resident_bytes() - before
        name, efforts = self._engine.sweep
        told = dict(self._engine.told()) if hasattr(self._engine, "told") else {}
        return {
            "seconds": time.perf_counter() - began,
            "resident_bytes": grown,
            "sweep": name,
            "efforts": efforts,
            **told,
        }

    def _search(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        queries = self._rows(request["search"])[: request.get("limit")]
        began, before = time.perf_counter(), time.process_time()
        found = self._engine.search(queries, request["k"], request["effort"])
        seconds, busy = time.perf_counter() - began, time.process_time() - before
        np.save(request["out"], np.asarray(found).astype(np.int64))
        told = dict(self._engine.told()) if hasattr(self._engine, "told") else {}
        return {"seconds": seconds, "processor_s": busy, **told}

    def _call(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Something that one engine alone offers."""
        return getattr(self._engine, request["call"])(**request.get("with", {}))

    def _rows(self, path: str) -> np.ndarray:
        if path not in self._queries:
            rows = np.load(path)
            keep = getattr(self._engine, "takes", "float32") == "as they are"
            self._queries[path] = rows if keep else np.ascontiguousarray(rows, np.float32)
        return self._queries[path]


def resident_bytes() -> int:
    """Memory of this process that is in memory and no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "RssShmem")))


def saved_bytes(folder: Path) -> int:
    """Bytes of the files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Make the engine, say so, and answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", help="that has ENGINES, a mapping of names to makers (or PEERS)")
    parser.add_argument("engine")
    parser.add_argument("--options", default="{}", help="arguments of the maker, JSON")
    parser.add_argument("--core", type=int, default=None)
    asked = parser.parse_args()
    out = claim_output()
    pin(asked.core)
    module = importlib.import_module(asked.module)
    makers = getattr(module, "ENGINES", None) or module.PEERS
    worker = Worker(makers[asked.engine](**json.loads(asked.options)), asked.core)
    print(json.dumps({"ready": asked.engine}), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(dict(worker.answer(json.loads(line)))), file=out, flush=True)


if __name__ == "__main__":
    main()
