"""The house: a room imports only from floors below it, and the agent stays light."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Room -> floor. A room may import itself and rooms of lower floors.
FLOORS = {
    "fairlead_agent.graph": 1,
    "fairlead_agent.messages": 1,
    "fairlead_agent.bus": 2,
    "fairlead_agent.plugin": 2,
    "fairlead_agent.config": 2,
    "fairlead_bridge": 2,
    "fairlead_agent.placement": 3,
    "fairlead_agent.runtime": 3,
    "fairlead_kernels": 3,
    "fairlead_language_model": 3,
    "fairlead_agent.daemon": 4,
    "fairlead_agent.cli": 4,
    "fairlead_sparse_inference": 4,
    "fairlead_elastic_serving": 4,
    "fairlead_tiered_retrieval": 4,
    "fairlead_isac": 4,
    "fairlead_stylization": 4,
    "fairlead_cloud": 5,
}

#: Pairs of one floor that may use each other, and why.
SAME_FLOOR = {
    ("fairlead_agent.cli", "fairlead_agent.daemon"): "the command line starts the daemon",
    (
        "fairlead_sparse_inference",
        "fairlead_agent.cli",
    ): "its commands reach the control plane as all do",
    ("fairlead_elastic_serving", "fairlead_agent.cli"): "its commands reach the control plane as all do",
    ("fairlead_tiered_retrieval", "fairlead_agent.cli"): "its commands reach the control plane as all do",
    ("fairlead_isac", "fairlead_agent.cli"): "its commands reach the control plane as all do",
    ("fairlead_stylization", "fairlead_agent.cli"): "its commands reach the control plane as all do",
    ("fairlead_language_model", "fairlead_kernels"): "models run on kernels",
    ("fairlead_agent.plugin", "fairlead_agent.config"): "a manifest is YAML, and its errors have lines too",
}

SOURCES = [
    *(ROOT / "agent").rglob("*.py"),
    *(ROOT / "cloud").rglob("*.py"),
    *(ROOT / "firmware_bridge").rglob("*.py"),
    *(ROOT / "plugins").rglob("fairlead_*/**/*.py"),
]


def room_of(module: str) -> str | None:
    """The room that a module belongs to."""
    return next((room for room in FLOORS if module == room or module.startswith(room + ".")), None)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Modules that a file imports at any depth, with their lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node.lineno


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    start = next(index for index, part in enumerate(parts) if part.startswith("fairlead_"))
    return ".".join(parts[start:])


def test_rooms_import_only_from_floors_below() -> None:
    wrong: list[str] = []
    for path in SOURCES:
        if "build" in path.parts or "template" in path.parts:
            continue
        here = room_of(module_of(path))
        for module, line in imports(path):
            there = room_of(module)
            if here is None or there is None or here == there:
                continue
            if FLOORS[there] < FLOORS[here] or SAME_FLOOR.get((here, there)):
                continue
            wrong.append(
                f"{path.relative_to(ROOT)}:{line}: {here} (floor {FLOORS[here]}) imports {there} ({FLOORS[there]})"
            )
    assert wrong == []


@pytest.mark.parametrize("module", ["fairlead_agent.daemon.daemon", "fairlead_agent.cli.main"])
def test_the_agent_imports_nothing_heavy(module: str) -> None:
    heavy = [
        "torch",
        "numpy",
        "onnxruntime",
        "fastapi",
        "starlette",
        "uvicorn",
        "sqlalchemy",
        "rich",
        "amqtt",
        "transformers",
    ]
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(importlib.util.find_spec("socks") is not None, reason="PySocks is installed: paho asks for proxies")
def test_the_agents_process_does_without_urllib_request_and_can_have_it() -> None:
    code = (
        "import sys, fairlead_agent.daemon.__main__; print('urllib.request' in sys.modules); "
        "import urllib.request; print(urllib.request.urlopen.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "urlopen"]


@pytest.mark.parametrize("room", ["graph", "messages", "placement"])
def test_pure_rooms_read_no_clock_and_draw_no_number(room: str) -> None:
    forbidden = {"time", "random", "secrets", "asyncio", "socket", "threading", "subprocess", "os", "datetime", "uuid"}
    found = [
        f"{path.name}:{line}: {module}"
        for path in (ROOT / "agent" / "fairlead_agent" / room).rglob("*.py")
        for module, line in imports(path)
        if module.split(".")[0] in forbidden
    ]
    assert found == []
