"""The room stays pure: it imports nothing but the standard library, and nothing that reads clocks or does I/O."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import fairlead_agent.graph

FILES = sorted(Path(fairlead_agent.graph.__file__).parent.glob("*.py"))
IMPURE = {
    "time",
    "datetime",
    "random",
    "os",
    "pathlib",
    "socket",
    "asyncio",
    "threading",
    "subprocess",
    "secrets",
    "uuid",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_imports_are_pure(path: Path) -> None:
    for statement in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else []
        if isinstance(statement, ast.ImportFrom):
            names = [statement.module or ""]
        for name in names:
            top = name.partition(".")[0]
            assert name.startswith("fairlead_agent.graph") or top in sys.stdlib_module_names, name
            assert top not in IMPURE, name
