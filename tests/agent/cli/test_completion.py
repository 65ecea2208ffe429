"""What a shell offers at the tab key."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from click.shell_completion import ShellComplete
from click.testing import Result

from fairlead_agent.bus.broker.process import free_port
from fairlead_agent.cli.main import COMMANDS, main
from tests.agent.cli.conftest import Canned, text_of


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    shell = ShellComplete(main, {}, "fairlead", "_FAIRLEAD_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_commands_and_options() -> None:
    assert set(offered("")) >= set(COMMANDS)
    assert offered("ex") == ["explain"]
    assert "--json" in offered("get", "--j")
    assert offered("get", "no") == ["nodes"]


def test_a_command_without_its_package_is_offered_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fairlead_cloud", None)
    monkeypatch.delitem(sys.modules, "fairlead_cloud.commands", raising=False)
    assert offered("a") == ["agent", "authority", "apply"]


@pytest.mark.parametrize("command", ["explain", "chat", "logs", "delete"])
def test_names_of_workloads(canned: Canned, command: str) -> None:
    views = [{"name": name, "ready": 1, "workload": {"replicas": 2}} for name in ("tiny-chat", "tiny-two", "other")]
    canned.answers["/api/v1/workloads"] = (200, text_of(views))
    assert offered(command, "tiny") == ["tiny-chat", "tiny-two"]


def test_without_a_control_plane_nothing_is_offered_and_nothing_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered("explain", "") == []
    monkeypatch.setenv("FAIRLEAD_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("FAIRLEAD_TOKEN", "t")
    assert offered("explain", "") == []
    assert capsys.readouterr() == ("", "")


def test_shipped_files() -> None:
    assert "tiny-chat" in offered("apply", "tin")
    assert "local" in offered("up", "--fleet", "lo")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(fairlead: Callable[..., Result], shell: str) -> None:
    result = fairlead("completion", shell)
    assert result.exit_code == 0
    assert "_FAIRLEAD_COMPLETE" in result.output
