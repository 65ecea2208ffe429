"""Print what the parts of a run came to: one line a part, from its JUnit file. Fails where a part did.

``table.py FOLDER``
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

COUNTS = ("failures", "errors", "skipped")
ROW = "{:<44} {:>7} {:>7} {:>7} {:>7} {:>8}  {}"


def counts_of(results: Path) -> dict[str, float]:
    """``passed``, each of :data:`COUNTS` and ``time`` in seconds of a JUnit file."""
    suite = next(ElementTree.parse(results).iter("testsuite"))
    found = {name: float(suite.get(name, 0)) for name in (*COUNTS, "tests", "time")}
    return {**found, "passed": found["tests"] - sum(found[name] for name in COUNTS)}


def row(status: Path) -> tuple[str, bool]:
    """One line of the table, and whether the part ended well."""
    code, commit = status.read_text().split()
    results = status.with_suffix(".xml")
    name = status.stem.replace(".", "/").replace("/py", ".py")
    if not results.exists():
        return ROW.format(name, "-", "-", "-", "-", "-", f"cut off (exit status {code}); see {status.stem}.log"), False
    found = counts_of(results)
    numbers = [int(found[count]) for count in ("passed", *COUNTS)]
    return ROW.format(name, *numbers, f"{found['time']:.0f} s", commit), code == "0"


def main(folder: Path) -> int:
    """Print the table; the number of parts that did not pass."""
    rows = [row(status) for status in sorted(folder.glob("*.status"))]
    print(ROW.format("part", "passed", *(count.removesuffix("ures") for count in COUNTS), "time", "commit"))
    print("\n".join(line for line, _ in rows))
    return sum(not good for _, good in rows)


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1]))))
