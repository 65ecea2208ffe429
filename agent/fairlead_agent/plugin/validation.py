"""Whether a plugin keeps to the contract, for its author and for `fairlead plugins validate`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fairlead_agent.plugin.discovery import Found
from fairlead_agent.plugin.errors import PluginUnavailable
from fairlead_agent.plugin.finding import Finding
from fairlead_agent.plugin.inspection import find
from fairlead_agent.plugin.manifest import Manifest
from fairlead_agent.plugin.plugin import Plugin

__all__ = ["Finding", "validate_plugin"]

TIMEOUT_S = 60.0
_FIND = """
import importlib.util, sys
try:
    found = importlib.util.find_spec(sys.argv[1])
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
sys.exit(None if found else "no such module")
"""


def validate_plugin(where: Path | str) -> list[Finding]:
    """Check the plugin at a path, or the installed one of that name.

    Its code runs in processes of their own; the worker's modules are looked for, not imported.
    """
    try:
        found = find(str(where))
    except PluginUnavailable as error:
        return [Finding("error", "manifest", str(error))]
    if found.manifest is None or found.error is not None:
        return [Finding("error", "manifest", line) for line in (found.error or "is missing").splitlines()]
    said = Finding("ok", "manifest", f"{found.name} {found.manifest.version}, {found.source}")
    return [said, *_targets(found, found.manifest), *_inspect(found)]


def _targets(found: Found, manifest: Manifest) -> Iterator[Finding]:
    try:
        worker = Plugin.of(found).worker()
    except PluginUnavailable as error:
        yield Finding("error", "worker", str(error))
    else:
        yield _look("worker", str(worker.python or sys.executable), worker.target, found)
    for command in manifest.commands:
        yield _look("commands", sys.executable, command.target, found)


def _look(check: str, python: str, target: str, found: Found) -> Finding:
    module = target.partition(":")[0]
    result = _run([python, "-c", _FIND, module], found)
    if result.returncode == 0:
        return Finding("ok", check, f"{target}: the module is there")
    return Finding("error", check, f"{target}: {_last_line(result.stderr)}")


def _inspect(found: Found) -> Iterator[Finding]:
    where = found.name if found.distribution else str(found.folder)
    result = _run([sys.executable, "-m", "fairlead_agent.plugin.inspection", where], found)
    for line in result.stdout.splitlines():
        # A plugin may print as well.
        if line.startswith('{"level"'):
            yield Finding(**json.loads(line))
    if result.returncode != 0:
        yield Finding("error", "light", f"ended with status {result.returncode}: {_last_line(result.stderr)}")


def _run(command: list[str], found: Found) -> subprocess.CompletedProcess[str]:
    roots = [*map(str, found.sys_path), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(roots))}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, check=False, cwd="/"
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"did not end within {TIMEOUT_S:g} s")


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "said nothing")
