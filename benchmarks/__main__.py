"""``python -m benchmarks``: all benchmarks, each in a process of its own, and then the report.

``--quick`` shows in some minutes that they work and writes no results.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import report

#: The arguments of a full run and of a quick one; None: left out.
BENCHMARKS: dict[str, tuple[list[str], list[str] | None]] = {
    "graph": ([], None),
    "agent_idle": ([], ["--quick"]),
    "gateway": ([], ["--quick"]),
    "decode": ([], ["--quick"]),
    "sparse_decode": ([], ["--quick"]),
    "sparse_offload": ([], ["--quick"]),
    "sparse_memory": ([], ["--quick"]),
    "sparse_cache_limits": ([], ["--quick"]),
    "sparse_hybrid": ([], ["--quick"]),
    "sparse_contention": ([], ["--quick"]),
    "negotiation": ([], ["--quick"]),
    "recovery": ([], ["--quick"]),
    "shaping": ([], ["--quick"]),
    "elastic_kernels": ([], ["--quick"]),
    "elastic_cpu": ([], ["--quick"]),
    "elastic_lean": ([], ["--quick"]),
    "elastic_serving": ([], ["--quick"]),
    "elastic_burst": ([], ["--quick"]),
    "isac_decisions": ([], ["--quick"]),
    "isac_region": ([], ["--quick"]),
    "vectors_memory": ([], ["--quick"]),
    "vectors_tiers": ([], ["--quick"]),
    "vector_tiers": ([], ["--quick"]),
    "vectors_million": ([], ["--quick"]),
    "vectors_filters": ([], ["--quick"]),
    "vectors_updates": ([], ["--quick"]),
    "isac_estimators": ([], ["--quick"]),
    "isac_granularity": ([], ["--quick"]),
    "isac_collaboration": ([], ["--quick"]),
    "stylization": ([], ["--quick"]),
    "stylization_scenes": ([], ["--quick"]),
    "stylization_video": ([], ["--quick"]),
    "stylization_diversity": ([], ["--quick"]),
    "stylization_generators": ([], ["--quick"]),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; 1 where one broke, or where a row does not hold."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="short runs; no results are written")
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.names) - BENCHMARKS.keys())
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    broken = [name for name in asked.names or BENCHMARKS if not _run(name, asked.quick)]
    for name in broken:
        print(f"{name}: broke off; its results file, if there is one, is of an earlier run", file=sys.stderr)
    return 1 if broken or (not asked.quick and report.main()) else 0


def _run(name: str, quick: bool) -> bool:
    options = BENCHMARKS[name][1] if quick else BENCHMARKS[name][0]
    if options is None:
        print(f"{name}: has no quick run; left out")
        return True
    print(f"--- {name}", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False).returncode == 0


if __name__ == "__main__":
    raise SystemExit(main())
