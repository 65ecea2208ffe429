"""JSON Schemas of the configuration files, for editors.

``python -m fairlead_agent.config.schema`` says whether the files in ``docs/schemas`` are up to date; ``--write`` writes
them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fairlead_agent.config.fleet import FleetConfig
from fairlead_agent.config.profile import AgentProfile
from fairlead_agent.config.workload import WorkloadFile

FOLDER = Path("docs/schemas")
MODELS: dict[str, type[BaseModel]] = {"fleet": FleetConfig, "profile": AgentProfile, "workload": WorkloadFile}


def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a kind of file: fleet, profile or workload."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return head | MODELS[kind].model_json_schema(mode="validation")


def texts() -> dict[str, str]:
    """The text of every schema file, by its name."""
    return {f"{kind}.json": json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n" for kind in MODELS}


def stale(folder: Path) -> list[str]:
    """The files in ``folder`` that are missing or differ."""
    return [name for name, text in texts().items() if _read(folder / name) != text]


def write(folder: Path) -> list[str]:
    """Bring the files in ``folder`` up to date; return the names of those that changed."""
    changed = stale(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        (folder / name).write_text(texts()[name], encoding="utf-8")
    return changed


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 where a file is out of date and was not written."""
    parser = argparse.ArgumentParser(prog="python -m fairlead_agent.config.schema", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the files (default: only compare)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"the folder (default: {FOLDER})")
    options = parser.parse_args(arguments)
    changed = write(options.folder) if options.write else stale(options.folder)
    for name in changed:
        print(f"{'wrote' if options.write else 'stale'}: {options.folder / name}")
    return 1 if changed and not options.write else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
