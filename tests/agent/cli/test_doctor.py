"""Every self-check says what it finds and what to do about it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import Result

from fairlead_agent.bus.broker.process import free_port
from fairlead_agent.cli.doctor.check import Check, Finding
from fairlead_agent.cli.doctor.checks import kernels
from fairlead_agent.cli.doctor.checks.broker import BrokerProgram
from fairlead_agent.cli.doctor.checks.clock import BoottimeClock
from fairlead_agent.cli.doctor.checks.control_plane import ControlPlaneReachable
from fairlead_agent.cli.doctor.checks.disk import DiskRoom
from fairlead_agent.cli.doctor.checks.kernels import Kernels
from fairlead_agent.cli.doctor.checks.memory_limits import MemoryLimits
from fairlead_agent.cli.doctor.checks.plugins import InstalledPlugins
from fairlead_agent.cli.doctor.checks.python import PythonVersion
from fairlead_agent.cli.doctor.command import all_checks, run
from tests.agent.cli.conftest import Canned, text_of
from tests.patience import patient


def test_all_checks_run_and_the_exit_status_says_whether_there_is_a_problem(fairlead: Callable[..., Result]) -> None:
    result = fairlead("doctor", "--json")
    found = json.loads(result.output)
    assert {item["name"] for item in found} == {check.name for check in all_checks()}
    assert len(found) == 8
    assert not [item for item in found if "the check itself failed" in item["what"]]
    assert result.exit_code == int(any(item["level"] == "problem" for item in found))
    assert all(item["mend"] for item in found if item["level"] in ("warning", "problem"))


def test_a_check_that_breaks_is_a_problem_of_its_own() -> None:
    class Broken(Check):
        name = question = "broken"

        def run(self) -> Finding:
            raise RuntimeError("out of luck")

    assert run(Broken()) == Finding("problem", "the check itself failed: RuntimeError: out of luck", "report this")


def test_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert BrokerProgram().run() == Finding("ok", f"mosquitto at {program}")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert BrokerProgram().run().level == "warning"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert BrokerProgram().run().level == "problem"


def test_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BoottimeClock().run().level == "ok"
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert BoottimeClock().run().level == "problem"


def test_control_plane(monkeypatch: pytest.MonkeyPatch, canned: Canned) -> None:
    health = {"bus_connected": True, "site": "home", "nodes_online": 3}
    canned.answers |= {"/api/v1/health": (200, text_of(health)), "/api/v1/nodes": (200, b"[]")}
    assert ControlPlaneReachable().run() == Finding("ok", f"{canned.url}, site home, 3 nodes online")
    canned.answers["/api/v1/health"] = (200, text_of({**health, "bus_connected": False}))
    assert "has lost its broker" in ControlPlaneReachable().run().what
    canned.answers["/api/v1/nodes"] = (401, text_of({"detail": "unknown token"}))
    assert "unknown token" in ControlPlaneReachable().run().what
    monkeypatch.setenv("FAIRLEAD_URL", f"http://127.0.0.1:{free_port()}")
    assert ControlPlaneReachable().run().level == "problem"
    monkeypatch.delenv("FAIRLEAD_URL")
    assert ControlPlaneReachable().run().level == "skipped"


def test_a_fleet_that_is_not_up_is_no_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "client.json").write_text(json.dumps({"url": f"http://127.0.0.1:{free_port()}", "token": "t"}))
    monkeypatch.setenv("FAIRLEAD_STATE_DIR", str(tmp_path))
    found = ControlPlaneReachable().run()
    assert (found.level, found.what) == ("skipped", "the fleet of this folder is not up")


@pytest.mark.parametrize(("free", "level"), [(1 << 20, "problem"), (200 << 20, "warning"), (5 << 30, "ok")])
def test_disk(monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free))
    assert DiskRoom().run().level == level


@pytest.fixture
def patient_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that imports them may take its time."""
    monkeypatch.setattr(kernels, "TIMEOUT_S", patient(kernels.TIMEOUT_S))


def test_kernels_as_they_are_here(patient_kernels: None) -> None:
    pytest.importorskip("fairlead_kernels")
    found = Kernels().run()
    assert found.level in ("ok", "warning")
    assert "kernels" in found.what


def test_numpy_kernels_are_told(monkeypatch: pytest.MonkeyPatch, patient_kernels: None) -> None:
    pytest.importorskip("fairlead_kernels")
    monkeypatch.setenv("FAIRLEAD_KERNELS", "numpy")
    found = Kernels().run()
    assert (found.level, found.what.startswith("NumPy kernels (")) == ("warning", True)
    monkeypatch.setenv("FAIRLEAD_KERNELS", "nonsense")
    found = Kernels().run()
    assert found.level == "problem"
    assert "nonsense" in found.what


def test_missing_kernels_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "ModuleNotFoundError: No module named 'fairlead_kernels'\n")

    monkeypatch.setattr(subprocess, "run", asked)
    assert Kernels().run() == Finding("warning", "fairlead-kernels is not installed", "pip install fairlead-kernels")


def test_kernels_that_take_too_long_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "TIMEOUT_S", 1e-3)
    found = Kernels().run()
    assert (found.level, "within 0.001 s" in found.what) == ("problem", True)


def test_memory_limits_say_what_enforces_them() -> None:
    found = MemoryLimits().run()
    assert found.level in ("ok", "warning")
    assert "cgroup" in found.what or "watchdog" in found.what


def test_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    from fairlead_agent.plugin import discovery

    class Found(NamedTuple):
        manifest: Any
        error: Any

    monkeypatch.setattr(discovery, "discover", list)
    assert InstalledPlugins().run().level == "warning"
    monkeypatch.setattr(discovery, "discover", lambda: [Found(None, "manifest.yaml:3: name: is missing")])
    assert InstalledPlugins().run() == Finding(
        "problem", "manifest.yaml:3: name: is missing", "mend the manifest or uninstall the plugin"
    )


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PythonVersion().run().level == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    assert PythonVersion().run().level == "problem"
    assert os.name == "posix"
