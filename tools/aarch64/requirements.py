"""Print what distributions of this checkout need, and what their tests need: one requirement a line.

``requirements.py CHECKOUT agent[broker] firmware_bridge ...``
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

#: From the extra ``test`` of the meta-distribution; the rest of it is for tests and checks that do not run here.
TEST_TOOLS = {"hypothesis", "jsonschema", "networkx", "psutil", "pytest", "pytest-asyncio", "pytest-timeout"}

#: Packages that single tests import.
OF_SINGLE_TESTS = ["cryptography", "httpx", "pillow", "pyroute2"]


def project(folder: Path) -> dict[str, object]:
    """The ``project`` table of a distribution."""
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    """The distribution that a requirement names."""
    return re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0].lower()


def needs(checkout: Path, wanted: str) -> list[str]:
    """Requirements of one distribution and of the extras in brackets."""
    folder, _, extras = wanted.rstrip("]").partition("[")
    table = project(checkout / folder)
    optional: dict[str, list[str]] = table.get("optional-dependencies", {})  # type: ignore[assignment]
    found: list[str] = [*table.get("dependencies", [])]  # type: ignore[misc]
    for extra in filter(None, extras.split(",")):
        found += optional[extra]
    return found


def main(checkout: Path, distributions: list[str]) -> None:
    """Print the union, without this checkout's own distributions."""
    found = [each for wanted in distributions for each in needs(checkout, wanted)]
    tests: list[str] = project(checkout)["optional-dependencies"]["test"]  # type: ignore[index]
    found += [each for each in tests if name_of(each) in TEST_TOOLS] + OF_SINGLE_TESTS
    print("\n".join(sorted({each for each in found if not name_of(each).startswith("fairlead")})))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
