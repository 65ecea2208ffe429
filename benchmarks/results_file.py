"""Result files: one JSON file per benchmark, all in one form, so that a report can read them all.

``{command, machine, versions, conditions, rows: [{case, metric, unit, ours, peer, ratio, ratio_min, ratio_max, limit,
target, holds, note}]}``. ``ratio`` is peer / ours where less is better and ours / peer where more is: above 1, ours is
better. ``limit`` is what ``ours`` must keep to (``<= 5 ms``), ``target`` what ``ratio`` must reach, a number or the
promise in its own words. A promise that was not measured has a row, too: without ``ours``, and it does not hold.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

RESULTS = Path(__file__).parent / "results"
VERSIONS_OF = (
    "fairlead-agent",
    "numpy",
    "torch",
    "pydantic",
    "networkx",
    "aiomqtt",
    "fastapi",
    "tokenizers",
    "pyroute2",
    "cvxpy",
    "clarabel",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One measured metric of one case."""

    case: str
    metric: str
    unit: str
    ours: float | None
    peer: float | None = None
    ratio: float | None = None
    ratio_min: float | None = None
    ratio_max: float | None = None
    limit: str | None = None
    target: str | None = None
    holds: bool | None = None
    """None: nothing was promised."""
    note: str | None = None
    """Why there is no measurement, or what else belongs to the number."""


def row(
    case: str,
    metric: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float] | None = None,
    *,
    better: Literal["less", "more"] = "less",
    limit: float | None = None,
    target: float | None = None,
    promise: str | None = None,
    note: str | None = None,
) -> Row:
    """A row from repeats (medians; the ratio's range from the repeats taken in pairs).

    Args:
        case: what was done, on what.
        metric: what was measured.
        unit: its unit.
        ours: one value per repeat.
        peer: the peer's values, measured in turn with ours; as many.
        better: whether less or more of the metric is better.
        limit: ``ours`` must not be worse than this.
        target: the median ratio must reach this.
        promise: the target in words, where a number does not say it all.
        note: what else belongs to the number.
    """
    middle = statistics.median(ours)
    pairs = list(zip(ours, peer, strict=True)) if peer else []
    ratios = [_ratio(mine, theirs, better) for mine, theirs in pairs]
    ratio = statistics.median(ratios) if ratios else None
    checks: list[bool] = []
    if limit is not None:
        checks.append(middle <= limit if better == "less" else middle >= limit)
    if target is not None and ratio is not None:
        checks.append(ratio >= target)
    return Row(
        case=case,
        metric=metric,
        unit=unit,
        ours=middle,
        peer=statistics.median(peer) if peer else None,
        ratio=ratio,
        ratio_min=min(ratios, default=None),
        ratio_max=max(ratios, default=None),
        limit=None if limit is None else f"{'<=' if better == 'less' else '>='} {limit:g} {unit}",
        target=promise or (None if target is None else f">= {target:g}"),
        holds=all(checks) if checks else None,
        note=note,
    )


def not_measured(case: str, metric: str, unit: str, promise: str, why: str) -> Row:
    """A row for a promise that this run did not measure."""
    return Row(case=case, metric=metric, unit=unit, ours=None, target=promise, holds=False, note=why)


def write_results(
    name: str, command: str, conditions: Mapping[str, Any], rows: Iterable[Row | Mapping[str, Any]]
) -> Path:
    """Write ``results/<name>.json``; the machine and the versions are filled in.

    Raises:
        ValueError: ``name`` is no plain file name, or a row has no case, metric or value.
    """
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"name of a result file: {name!r}; accepted: letters, digits, '-' and '_'")
    content = {
        "command": command,
        "machine": machine(),
        "versions": versions(),
        "conditions": dict(conditions),
        "rows": [_checked(item) for item in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    return path


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of Python, of this source tree and of the libraries that benchmarks use."""
    found = {"python": platform.python_version(), "commit": _commit()}
    for name in VERSIONS_OF:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _ratio(mine: float, theirs: float, better: str) -> float:
    return theirs / mine if better == "less" else mine / theirs


def _checked(item: Row | Mapping[str, Any]) -> dict[str, Any]:
    content = asdict(item) if isinstance(item, Row) else asdict(Row(**item))
    if (
        not content["case"]
        or not content["metric"]
        or not (isinstance(content["ours"], int | float) or content["note"])
    ):
        raise ValueError(f"row {content!r}; accepted: case, metric and a number for ours, or a note that says why not")
    return content


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
