"""The shipped files are in what is installed, whichever way it is built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling is not installed")

AGENT = Path(__file__).parents[2] / "agent"

ASK = """
import json, fairlead_agent
from fairlead_agent.config import *
names = {kind: known_configs(kind) for kind in ("profiles", "workloads", "fleets")}
load_fleet("local"), load_profile("phone"), load_workloads("tiny-chat")
print(json.dumps([fairlead_agent.__file__, str(config_path("fleets", "local")), names]))
"""


def build(project: Path, kind: str, into: Path) -> Path:
    """A wheel or an sdist of a project, by its own build backend."""
    code = f"import sys, hatchling.build; print(hatchling.build.build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(into)], cwd=project, capture_output=True, text=True, timeout=60, check=True
    )
    return into / done.stdout.split()[-1]


@pytest.mark.parametrize("way", ["wheel", "wheel of an sdist"])
def test_an_installed_agent_finds_the_shipped_files(way: str, tmp_path: Path) -> None:
    project = AGENT
    if way == "wheel of an sdist":
        with tarfile.open(build(AGENT, "sdist", tmp_path)) as archive:
            archive.extractall(tmp_path / "source", filter="data")
        (project,) = (tmp_path / "source").iterdir()
    target = tmp_path / "site"
    with zipfile.ZipFile(build(project, "wheel", tmp_path)) as wheel:
        wheel.extractall(target)

    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    module, fleet, names = json.loads(done.stdout)
    assert Path(module).is_relative_to(target)
    assert fleet == str(target / "fairlead_agent" / "config" / "shipped" / "fleets" / "local.yaml")
    for kind, found in names.items():
        assert found == sorted(path.stem for path in (AGENT.parent / "configs" / kind).glob("*.yaml"))
