"""`fairlead up` as a user runs it: a real fleet, every command against it, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fairlead_agent.cli.main import main
from fairlead_agent.runtime.process_facts import command_line
from tests.patience import patient

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]

for package in ("fairlead_cloud", "fairlead_sparse_inference"):
    pytest.importorskip(package, reason=f"{package} is not installed")

FAIRLEAD = [sys.executable, "-c", "from fairlead_agent.cli.main import main; main(prog_name='fairlead')"]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start ``fairlead up`` with its state in ``folder``."""
    return subprocess.Popen(
        [*FAIRLEAD, "up", "--port", "0", "--state-dir", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "100", "PYTHONUNBUFFERED": "1"},
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The output up to the line that holds ``text``."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(f"{text!r} was not said:\n{said}")


def running(folder: Path) -> list[list[str]]:
    """The command lines of all processes that name the folder."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    return [found for found in map(command_line, pids) if any(str(folder) in part for part in found)]


def wait_until_nothing_runs(folder: Path) -> None:
    """Processes may take a moment to end."""
    deadline = time.monotonic() + patient(60)
    while running(folder):
        assert time.monotonic() < deadline, running(folder)
        time.sleep(0.1)


class Up:
    """A fleet that is up, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, ""
        self.start()

    def start(self) -> None:
        """Bring it up."""
        self.process = start(self.folder)
        self.said = read_until(self.process, "Dashboard: ")

    def stop(self) -> None:
        """Ctrl-C: it says goodbye and leaves nothing."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=patient(60))
        assert self.process.returncode == 0, rest
        assert running(self.folder) == []


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One fleet for most of these tests."""
    made = Up(tmp_path_factory.mktemp("up"))
    yield made
    made.stop()


@pytest.fixture
def ask(fleet: Up, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command against the fleet; it must succeed."""
    monkeypatch.setenv("FAIRLEAD_STATE_DIR", str(fleet.folder))

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(main, list(arguments))
        assert result.exit_code == 0, result.output
        return result

    return run


def test_up_shows_nodes_placements_bids_a_completion_and_how_to_go_on(fleet: Up) -> None:
    said = fleet.said
    parts = ["Nodes", "Workloads", "Why tiny-chat runs where it runs", "Bids", "tiny-chat: It was a dark", "curl -N"]
    places = [said.index(part) for part in parts]
    assert places == sorted(places)
    assert "simulated GPU" in said
    assert "fairlead chat tiny-chat" in said
    assert f"export FAIRLEAD_STATE_DIR={fleet.folder}" in said
    assert "fl_" not in said, "no token is shown"


def test_every_command_speaks_json(ask: Callable[..., Result]) -> None:
    def json_of(*arguments: str) -> Any:
        return json.loads(ask(*arguments, "--json").output)

    assert {node["status"]["node"] for node in json_of("get", "nodes")} >= {"phone", "edge", "gpu"}
    assert json_of("get", "workloads", "tiny-chat")[0]["ready"] == 2
    assert len(json_of("get", "leases")) == 2
    assert json_of("get", "placements")[0]["workload"] == "tiny-chat"
    assert json_of("explain", "tiny-chat")["record"]["bids"]
    assert {vertex["data"]["kind"] for vertex in json_of("graph")["nodes"]} >= {"node", "memory", "instance"}
    assert len(json_of("logs", "tiny-chat")) == 2
    assert json_of("events")[-1]["seq"] > 3
    assert json_of("apply", "tiny-chat")[0]["changed"] is False
    assert json_of("chat", "tiny-chat", "hi", "--max-tokens", "2")["usage"]["completion_tokens"] <= 2
    assert json_of("token", "create", "a-token", "--role", "viewer")["token"].startswith("fl_")
    assert {token["name"] for token in json_of("token", "list")} >= {"admin", "a-token"}
    assert json_of("token", "revoke", "a-token")["revoked"]
    assert any(check["name"] == "control plane" and check["level"] == "ok" for check in json_of("doctor"))


@pytest.mark.parametrize("width", [60, 80, 140])
def test_no_table_is_wider_than_the_terminal(
    ask: Callable[..., Result], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for arguments in (["get", "nodes"], ["get", "placements"], ["get", "leases"], ["token", "list"], ["graph"]):
        assert all(len(line) <= width for line in ask(*arguments).output.splitlines()), arguments
    for line in ask("get", "workloads").output.splitlines():
        assert "…" not in line or width < 80, "nothing is cut off at 80 columns"


def test_an_answer_is_streamed(ask: Callable[..., Result]) -> None:
    assert len(ask("chat", "tiny-chat", "Once upon a time", "--complete", "--max-tokens", "8").output.strip()) > 3


def test_unknown_workloads_are_errors(fleet: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_STATE_DIR", str(fleet.folder))
    for arguments in (["explain", "nope"], ["logs", "nope"], ["delete", "nope"], ["chat", "nope", "hi"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        assert "nope" in result.output
        assert len(result.output.splitlines()) == 1


def test_a_wrong_token_is_refused(fleet: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_STATE_DIR", str(fleet.folder))
    result = CliRunner().invoke(main, ["get", "--token", "wrong"])
    assert result.exit_code == 1
    assert "does not accept the token of --token" in result.output


def test_a_second_up_in_the_same_folder_says_what_runs_there(fleet: Up) -> None:
    before = running(fleet.folder)
    process = start(fleet.folder, "--once")
    said, _ = process.communicate(timeout=patient(60))
    assert process.returncode == 1
    assert said.count("\n") == 1
    assert f"Error: a fleet runs in {fleet.folder} already (process " in said
    assert running(fleet.folder) == before


def test_a_port_in_use_is_told_before_anything_starts(fleet: Up, tmp_path: Path) -> None:
    port = json.loads((fleet.folder / "client.json").read_text())["url"].rpartition(":")[2]
    process = start(tmp_path / "other", "--port", port)
    said, _ = process.communicate(timeout=patient(60))
    assert (process.returncode, said.splitlines()[-1]) == (
        1,
        f"Error: port {port} of 127.0.0.1 is in use; choose another one, or 0 for any that is free",
    )
    assert "starting" not in said


@pytest.mark.parametrize("when", ["starting control plane", "starting agent gpu"])
def test_ctrl_c_while_it_comes_up_leaves_nothing(tmp_path: Path, when: str) -> None:
    process = start(tmp_path)
    read_until(process, when)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=patient(60))
    assert process.returncode == 130
    assert running(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fleet", "lcal"], "fleet 'lcal': not found; did you mean 'local'?"),
        (["--fleet", "./nowhere.yaml"], "nowhere.yaml: No such file or directory"),
        (["--state-dir", "/dev/null"], "/dev/null: is no folder"),
    ],
)
def test_what_cannot_start_is_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["up", "--port", "0", "--state-dir", str(tmp_path), *arguments])
    assert result.exit_code == 1
    assert said in result.output
    assert len(result.output.splitlines()) == 1


def test_a_killed_up_leaves_nothing_and_the_next_one_works(fleet: Up) -> None:
    fleet.process.kill()
    fleet.process.communicate()
    wait_until_nothing_runs(fleet.folder)
    fleet.start()
    assert "through the gateway" in fleet.said
