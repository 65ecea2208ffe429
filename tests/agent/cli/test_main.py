"""The command group: light, complete, and helpful about slips of the pen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import Result

from fairlead_agent.cli import main as main_module
from fairlead_agent.cli.main import COMMANDS, main
from tests.patience import patient

Run = Callable[..., Result]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(fairlead: Run, name: str) -> None:
    pytest.importorskip(COMMANDS[name][0].partition(".")[0])
    result = fairlead(name, "--help")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: fairlead {name}")


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"up", "agent", "control-plane", "authority", "completion"}))
def test_every_command_that_shows_something_has_json(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    commands = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    bare = [each.name for each in commands if not any("--json" in parameter.opts for parameter in each.params)]
    assert bare in ([], ["new"])


def test_help_lists_all_commands_without_importing_them() -> None:
    code = (
        "import sys; from fairlead_agent.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith(('fairlead_agent.cli.', 'rich', 'httpcore'))], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=patient(60), check=True)
    assert all(name in done.stdout for name in COMMANDS)
    assert done.stderr.strip() == "['fairlead_agent.cli.errors', 'fairlead_agent.cli.main']"


def test_a_slip_of_the_pen(fairlead: Run) -> None:
    result = fairlead("explian", "w")
    assert result.exit_code == 2
    assert "No such command 'explian'" in result.output
    assert "'explain'" in result.output
    assert "mean" not in fairlead("zzzzzz").output


def test_a_command_whose_package_is_missing_names_it(fairlead: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main_module.COMMANDS, "far", ("no_such_package.commands:far", "Far."))
    result = fairlead("far")
    assert result.exit_code == 1
    assert result.output == "Error: fairlead far: needs the package 'no_such_package', which is not installed\n"


def test_version(fairlead: Run) -> None:
    import fairlead_agent

    assert fairlead_agent.__version__ in fairlead("--version").output
