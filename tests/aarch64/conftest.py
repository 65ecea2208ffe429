"""A fleet of this machine, and one agent that is emulated aarch64."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fairlead_agent.runtime.files import write_private
from tests.fleet.conftest import Fleet, make_fleet

__all__ = ["make_fleet"]

RUN = Path(__file__).parents[2] / "tools/aarch64/run"

EmulatedAgent = Callable[[Fleet, str, str], subprocess.Popen[bytes]]


@pytest.fixture
def start_emulated(tmp_path: Path) -> Iterator[EmulatedAgent]:
    """Start an agent in the aarch64 root: ``start_emulated(fleet, node, profile)``; it is ended before the fleet."""
    if "FAIRLEAD_AARCH64_ROOT" not in os.environ:
        pytest.skip("needs an aarch64 root: `tools/aarch64/run join` makes this test run")
    with ExitStack() as started:

        def start(fleet: Fleet, node: str, profile: str) -> subprocess.Popen[bytes]:
            settings = _settings(fleet, node, profile, tmp_path / node)
            log = started.enter_context((tmp_path / f"{node}.log").open("wb"))
            process = subprocess.Popen(
                [str(RUN), "exec", "python", "-m", "fairlead_agent.daemon", "--settings", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "FAIRLEAD_AARCH64_BIND": str(tmp_path)},
                start_new_session=True,
            )
            started.callback(_end, process)
            return process

        yield start


def _settings(fleet: Fleet, node: str, profile: str, folder: Path) -> Path:
    """What :class:`LocalFleet` writes for its own agents; the control plane's file knows the broker."""
    folder.mkdir(mode=0o700)
    plane = json.loads((fleet.folder / "control-plane/settings.json").read_text())
    broker = fleet.local.broker
    assert broker is not None
    username, password = broker.credentials(node)
    write_private(folder / "password", password)
    settings = {
        "site": plane["site"],
        "node": node,
        "profile": profile,
        "state_dir": str(folder),
        "broker": {
            "host": plane["broker_host"],
            "port": plane["broker_port"],
            "username": username,
            "password_file": str(folder / "password"),
        },
        "site_keys": fleet.local.site_keys(),
        "lease_ttl_s": plane["lease_ttl_s"],
    }
    write_private(folder / "settings.json", json.dumps(settings))
    return folder / "settings.json"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
