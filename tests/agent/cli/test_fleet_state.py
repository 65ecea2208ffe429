"""What a fleet leaves in its folder, and who may use that."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead_agent.daemon import fleet_state
from fairlead_agent.daemon.fleet_state import FleetBusyError, FleetState
from tests.patience import patient

SLEEP = "import time, sys; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP


class Sleeper:
    """A process that waits, with an argument of our choice."""

    def __init__(self, code: str, argument: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", code, argument], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are gone at the end."""
    made: list[subprocess.Popen[str]] = []
    yield made
    for process in made:
        process.kill()
        process.communicate()


def test_one_fleet_a_folder(tmp_path: Path) -> None:
    first, second = FleetState(tmp_path), FleetState(tmp_path)
    first.open()
    (tmp_path / "client.json").write_text(json.dumps({"url": "http://127.0.0.1:8470", "token": "t"}))
    with pytest.raises(FleetBusyError, match=r"a fleet runs in .* already \(process \d+, at http://127.0.0.1:8470\)"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_the_lock_ends_with_its_holder(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    code = (
        "import sys, time; from pathlib import Path; from fairlead_agent.daemon.fleet_state import FleetState\n"
        "state = FleetState(Path(sys.argv[1])); state.open(); print('up', flush=True); time.sleep(600)"
    )
    started.append(Sleeper(code, str(tmp_path)).process)
    with pytest.raises(FleetBusyError, match=f"process {started[0].pid}"):
        FleetState(tmp_path).open()
    started[0].kill()
    started[0].wait()
    state = FleetState(tmp_path)
    state.open()
    state.close()


@pytest.mark.parametrize("code", [SLEEP, STUBBORN], ids=["obedient", "stubborn"])
async def test_leftovers_end(
    tmp_path: Path, started: list[subprocess.Popen[str]], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_state, "GRACE_S", 0.3)
    started.append(Sleeper(code, str(tmp_path / "settings.json")).process)
    FleetState(tmp_path).note("agent", started[0].pid)
    assert await FleetState(tmp_path).end_leftovers() == ["agent"]
    assert await asyncio.to_thread(started[0].wait, patient(60)) != 0
    assert await FleetState(tmp_path).end_leftovers() == []


async def test_strangers_are_left_alone(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    """A process of another folder, and one that has got an ended process's number."""
    started.append(Sleeper(SLEEP, "/elsewhere").process)
    started.append(Sleeper(SLEEP, str(tmp_path)).process)
    state = FleetState(tmp_path)
    for process in started:
        state.note(str(process.pid), process.pid)
    marks = json.loads((tmp_path / "processes.json").read_text())
    marks[str(started[1].pid)]["start_ticks"] -= 1
    (tmp_path / "processes.json").write_text(json.dumps(marks))
    assert await FleetState(tmp_path).end_leftovers() == []
    assert [process.poll() for process in started] == [None, None]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}'])
async def test_a_broken_record_is_no_trouble(tmp_path: Path, text: str) -> None:
    (tmp_path / "processes.json").write_text(text)
    assert await FleetState(tmp_path).end_leftovers() == []
