"""Reads of every memory tier, one thread: ``python -m benchmarks.vector_tiers``.

Random reads of 1 KiB (files: 4 KiB past the page cache) of a region that no cache holds, in batches as a search asks
for them, against the same tier asked for one read after the other. The memory node is a process of its own here.
Limits are what plain programs reached on the machine that the results were first taken on.
"""

from __future__ import annotations

import argparse
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, not_measured, row

NODE = "from fairlead_tiered_retrieval.tiers.command import memory_node; memory_node()"


@dataclass(frozen=True, slots=True)
class Case:
    """How a tier is read: `batches` of `batch` reads each in flight."""

    name: str
    url: str
    length: int
    batch: int
    batches: int = 1
    reads: int = 60_000
    ns_limit: float | None = None
    rate_limit: float | None = None


def cases(port: int, name: str, file: Path) -> list[Case]:
    """What is measured, with what plain programs reached."""
    node = f"127.0.0.1:{port}/{name}"
    return [
        Case("DRAM", "dram:", 1024, 16, reads=400_000, ns_limit=86),
        Case("DRAM, 256 B", "dram:", 256, 16, reads=400_000, ns_limit=25),
        Case("shared memory", f"shm:{name}", 1024, 16, reads=400_000),
        Case("shared memory, ring", f"shm:{name}?ring=1", 1024, 16, 4, reads=200_000),
        Case("shared memory, ring, 2 us", f"shm:{name}?delay_us=2", 1024, 16, 4, reads=200_000),
        Case("shared memory, ring, 20 us", f"shm:{name}?delay_us=20", 1024, 16, 4, reads=200_000),
        Case("process_vm_readv", f"process://{node}", 1024, 64, ns_limit=1000),
        Case("TCP, one read", f"memory://{node}", 1024, 1, reads=5000, ns_limit=13_000),
        Case("TCP", f"memory://{node}", 1024, 64, 2),
        Case("UCX, one read", f"ucx://{node}", 1024, 1, reads=5000, ns_limit=4000),
        Case("UCX", f"ucx://{node}", 1024, 32, 4),
        Case("file, O_DIRECT, 4 KiB", f"file:{file}?direct=1", 4096, 32, 4, rate_limit=89_000),
        Case("file, O_DIRECT, 784 B", f"file:{file}?direct=1", 784, 15, 8),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--folder", type=Path, help="on the disk to read; default: the system's for temporary files")
    options = parse("vector_tiers", __doc__, repeats=5, quick=1, arguments=arguments, more=more)
    size = (64 << 20) if options.quick else (1 << 30)
    rows: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.more.folder)))
        name, port = stack.enter_context(memory_node(size))
        fill(f"file:{folder / 'region'}", size)
        fill(f"shm:{name}", size)
        for case in cases(port, name, folder / "region"):
            rows += measured(case, size, options)
    options.finish({"region_bytes": size, "threads": 1}, rows)
    return 0


@contextmanager
def memory_node(size: int) -> Iterator[tuple[str, int]]:
    """Start a memory node that lends one region; give the region's name and the port."""
    os.environ["FAIRLEAD_MEMORY_TOKEN"] = secrets.token_hex(16)
    name = f"bench{secrets.token_hex(4)}"
    command = [
        sys.executable,
        "-c",
        NODE,
        "--capacity",
        str(size),
        "--port",
        "0",
        "--shared",
        "--region",
        f"{name}={size}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield name, int(process.stdout.readline().rsplit(":", 1)[1])
        finally:
            process.terminate()


def fill(url: str, size: int) -> None:
    """Write every page, so that none is the system's one of zeros."""
    from fairlead_tiered_retrieval.tiers import open_region

    region = open_region(url, size)
    block = np.random.default_rng(0).integers(0, 256, 8 << 20, np.uint8)
    for begin in range(0, size, len(block)):
        region.write(begin, block[: size - begin])


def measured(case: Case, size: int, options: Options) -> list[Row]:
    """Rows of a tier: time of a read in batches and one by one, and reads a second."""
    from fairlead_tiered_retrieval.tiers import RegionUrlError, TierLost, open_region

    try:
        region = open_region(case.url, size if case.url == "dram:" else None)
        tier: Any = region.open_native()
    except (RegionUrlError, TierLost) as error:
        return [not_measured(case.name, "time of a read", "ns", "is read", str(error))]
    if case.url == "dram:":
        region.memory.array()[::4096] = 1  # type: ignore[attr-defined]
    random = np.random.default_rng(options.seed)
    reads = case.reads // (20 if options.quick else 1)
    together, single, tails = [], [], []
    once(tier, size, case.length, case.batch, case.batches, reads // 4, random)
    for _ in range(options.repeats):
        each, latencies = once(tier, size, case.length, case.batch, case.batches, reads, random)
        together.append(each)
        tails.append(float(np.percentile(latencies, 99)) * 1e6)
        single.append(once(tier, size, case.length, 1, 1, max(reads // 10, 100), random)[0])
    flight = case.batch * case.batches
    note = f"{flight} in flight; p99 of a batch {statistics.median(tails):.1f} us; peer: one read after the other"
    rows = [row(case.name, "time of a read", "ns", together, single, limit=case.ns_limit, note=note)]
    if case.rate_limit is not None:
        rates = [1e9 / each for each in together]
        rows.append(row(case.name, "reads a second", "1/s", rates, better="more", limit=case.rate_limit, note=note))
    return rows


def once(
    tier: Any, size: int, length: int, batch: int, batches: int, reads: int, random: np.random.Generator
) -> tuple[float, np.ndarray]:
    """Return the nanoseconds that a read takes and the seconds that each batch took."""
    count = max(reads // batch, batches)
    places = (random.integers(0, (size - length) // 64 + 1, count * batch) * 64).astype(np.uint64)
    latencies = np.empty(count)
    return tier.measure(places, length, batch, batches, latencies) / (count * batch) * 1e9, latencies


if __name__ == "__main__":
    sys.exit(main())
