"""What a plugin author uses: the template, `fairlead plugins`, the schema and the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairlead_agent.plugin import validation
from fairlead_agent.plugin.commands import plugins
from fairlead_agent.plugin.manifest import Manifest
from fairlead_agent.plugin.new import new_plugin
from fairlead_agent.plugin.schema import manifest_schema
from fairlead_agent.plugin.validation import Finding, validate_plugin
from tests.agent.plugin.authors import hook, write_plugin
from tests.patience import patient

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(autouse=True)
def patient_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that looks at a plugin may take its time."""
    monkeypatch.setattr(validation, "TIMEOUT_S", patient(validation.TIMEOUT_S))


def _errors(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.message) for finding in findings if finding.level == "error"]


def test_a_new_plugin_works_as_it_is(tmp_path: Path) -> None:
    root = new_plugin("my-echo", tmp_path)
    findings = validate_plugin(root)
    assert {finding.level for finding in findings} == {"ok"}
    assert {finding.check for finding in findings} == {"manifest", "worker", "light", "validate", "estimate"}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(root / "tests")],
        capture_output=True,
        text=True,
        timeout=patient(100),
        env=environment,
        cwd=root,
    )
    assert tests.returncode == 0, tests.stdout
    assert "3 passed" in tests.stdout


@pytest.mark.parametrize("name", ["", "My", "a b", "1st", "class", "../up", "-x", "é"])
def test_a_new_plugin_needs_a_name_that_can_be_used(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="accepted: lower-case"):
        new_plugin(name, tmp_path)


def test_a_new_plugin_overwrites_nothing(tmp_path: Path) -> None:
    new_plugin("echo", tmp_path)
    with pytest.raises(FileExistsError, match="not empty"):
        new_plugin("echo", tmp_path)


@pytest.mark.parametrize(
    ("light", "check", "said"),
    [
        ("import numpy\nplugin = 1", "light", "pulled in numpy"),
        ("1 +", "light", "SyntaxError"),
        ("import os\nos._exit(7)", "light", "status 7"),
        (hook("raise OSError('gone')"), "estimate", "OSError: gone"),
        (hook("return 'fast'"), "estimate", "returned str"),
        (hook("raise OSError('gone')", "probe", "self, facts"), "probe", "OSError: gone"),
        (hook("return 3", "describe", "self"), "describe", "returned int"),
        (hook("return 3", "validate", "self, config"), "validate", "returned int"),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, light: str, check: str, said: str) -> None:
    errors = _errors(validate_plugin(write_plugin(tmp_path, "bad", light)))
    assert any(found == check and said in message for found, message in errors), errors


def test_missing_modules_of_worker_and_commands_are_found(tmp_path: Path) -> None:
    commands = [{"name": "style", "target": "no_such.module:command", "summary": "s"}]
    root = write_plugin(tmp_path, "bad", worker="json.no_such:worker", commands=commands)
    assert {check for check, _ in _errors(validate_plugin(root))} == {"worker", "commands"}


def test_foreign_imports_are_warned_of(tmp_path: Path) -> None:
    light = hook("return None").replace("import asyncio, ", "import yaml, asyncio, ")
    findings = validate_plugin(write_plugin(tmp_path, "wide", light))
    assert not _errors(findings)
    assert [finding.message for finding in findings if finding.level == "warning"] == []
    # PyYAML is the agent's own already; a package that is not is named.
    (tmp_path / "wide" / "fl_friend.py").touch()
    light_file = next((tmp_path / "wide").glob("fl_wide*/light.py"))
    light_file.write_text("import fl_friend\n" + light_file.read_text())
    warnings = [item.message for item in validate_plugin(tmp_path / "wide") if item.level == "warning"]
    assert warnings == ["imports fl_friend; every agent pays for that"]


def test_what_is_no_plugin_is_said(tmp_path: Path) -> None:
    ((check, message),) = _errors(validate_plugin("no-such-plugin"))
    assert check == "manifest" and "no-such-plugin" in message and "found: none" in message
    assert "holds no plugin.yaml" in _errors(validate_plugin(tmp_path))[0][1]


def test_the_commands_print_json_and_set_the_exit_status(tmp_path: Path) -> None:
    run = CliRunner().invoke
    made = run(plugins, ["new", "echo", "--folder", str(tmp_path)])
    assert made.exit_code == 0 and "fairlead plugins validate" in made.output
    again = run(plugins, ["new", "echo", "--folder", str(tmp_path)])
    assert again.exit_code == 1 and "not empty" in again.output
    write_plugin(tmp_path, "bad", quality="diamond")
    listed = json.loads(run(plugins, ["list", "--json", "--path", str(tmp_path)]).stdout)
    mine = {item["name"]: item["error"] for item in listed if not item["distribution"]}
    assert mine["echo"] is None and "diamond" in mine[f"folder {tmp_path / 'bad'}"]
    table = run(plugins, ["list", "--path", str(tmp_path)])
    assert table.exit_code == 0 and "Sends back what it is sent" in table.output and "diamond" in table.output
    good = run(plugins, ["validate", "--json", str(tmp_path / "echo")])
    assert good.exit_code == 0 and json.loads(good.stdout)[str(tmp_path / "echo")][0]["level"] == "ok"
    bad = run(plugins, ["validate", str(tmp_path / "bad")])
    assert bad.exit_code == 1 and "diamond" in bad.output


def test_the_schema_in_the_docs_is_the_models() -> None:
    assert (DOCS / "schemas/manifest.json").read_text() == manifest_schema()


def test_the_page_for_authors_names_every_key_of_the_manifest() -> None:
    page = (DOCS / "plugins.md").read_text()
    assert [name for name in Manifest.model_fields if f"`{name}`" not in page] == []
