"""Discovery: everything that is there is listed, what does not fit with its reason, and nothing is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead_agent.plugin.discovery import GROUP, PATH_VARIABLE, discover
from tests.agent.plugin.authors import write_plugin


def _install(site: Path, name: str, value: str) -> None:
    """What pip leaves behind for a distribution with one entry point."""
    info = site / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value}\n")


def _package(site: Path, folder: str, name: str) -> None:
    """An installed plugin; importing any of it is an error."""
    root = write_plugin(site / "made", name)
    target = site / folder
    target.mkdir(parents=True)
    for package in [target, *list(target.relative_to(site).parents)[:-1]]:
        (site / package / "__init__.py").write_text("raise AssertionError('imported')")
    manifest = (root / "plugin.yaml").read_text()
    (target / "plugin.yaml").write_text(manifest)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    return folder


def test_installed_plugins_are_found_without_importing_them(site: Path) -> None:
    _package(site, "flat_one", "one")
    _install(site, "one", "flat_one")
    _package(site, "deep/two", "two")
    _install(site, "two", "deep.two")
    found = {record.name: record for record in discover() if record.distribution in ("one 1.2", "two 1.2")}
    assert {name: record.error for name, record in found.items()} == {"one": None, "two": None}
    assert found["two"].folder == site / "deep/two" and found["two"].sys_path == ()
    assert "flat_one" not in sys.modules and "deep" not in sys.modules


@pytest.mark.parametrize("value", ["no_such_package_here", "json", "not a name", "os.path", "a..b", ".."])
def test_an_entry_point_that_leads_nowhere_is_a_record_with_a_reason(site: Path, value: str) -> None:
    _install(site, "broken", value)
    (record,) = [record for record in discover() if record.distribution == "broken 1.2"]
    assert record.manifest is None and record.error is not None
    assert "entry point broken" in record.error and value in record.error


def test_folders_are_searched_from_the_environment_and_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write_plugin(tmp_path / "a", "one")
    write_plugin(tmp_path / "b", "two")
    write_plugin(tmp_path / "b", "three")
    monkeypatch.setenv(PATH_VARIABLE, os.pathsep.join([str(one), str(tmp_path / "none"), ""]))
    found = [record for record in discover([tmp_path / "b"]) if not record.distribution]
    assert [record.name for record in found] == ["three", "two", "one", f"folder {tmp_path / 'none'}"]
    assert found[-1].error == f"{tmp_path / 'none'}: is no folder"


def test_the_manifest_may_lie_in_the_package(tmp_path: Path) -> None:
    root = write_plugin(tmp_path, "inside")
    package = next(root.glob("fl_*"))
    (root / "plugin.yaml").rename(package / "plugin.yaml")
    (record,) = [record for record in discover([tmp_path]) if not record.distribution]
    assert record.name == "inside" and record.sys_path == (root,)


def test_of_two_plugins_of_one_name_the_second_is_an_error(tmp_path: Path) -> None:
    first, second = write_plugin(tmp_path / "a", "same"), write_plugin(tmp_path / "b", "same")
    found = [record for record in discover([tmp_path / "a", tmp_path / "b"]) if record.name == "same"]
    assert found[0].error is None
    assert found[1].error == f"folder {second}: the name 'same' is taken by folder {first}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"summary": None}, "summary: is missing"),
        ({"lihgt": "a:b"}, "lihgt: no such key; did you mean 'light'?"),
        ({"name": "Two Words"}, "name: "),
        ({"light": "module.without.object"}, "light: "),
        ({"variants": []}, "variants: "),
        ({"variants": [{"name": "a", "summary": "s"}] * 2}, "variants: a stands twice"),
        ({"api": "about 1"}, "api: 'about 1' is no comparison; a range is written as in '>=1.0,<2'"),
        ({"api": ">=2"}, "api: '>=2' does not admit 1.0"),
        ({"quality": "diamond"}, "platinum"),
        ({"schema_version": 2}, "schema_version: "),
        ({"commands": [{"name": "Style", "target": "a:b", "summary": "s"}]}, "commands.0.name: "),
    ],
)
def test_a_bad_manifest_names_file_key_and_what_is_accepted(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    root = write_plugin(tmp_path, "bad", **changes)
    (record,) = [record for record in discover([root]) if not record.distribution]
    assert record.error is not None and record.error.startswith(f"{root / 'plugin.yaml'}:")
    assert said in record.error and len(record.error.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "a: [", "\x00", "- 1", "!!python/object:os.system x", "&a [*a]"])
def test_any_file_is_a_record(tmp_path: Path, text: str) -> None:
    root = write_plugin(tmp_path, "odd")
    (root / "plugin.yaml").write_text(text)
    (record,) = [record for record in discover([root]) if not record.distribution]
    assert record.manifest is None and str(root) in (record.error or "")


def test_discovery_is_light() -> None:
    """Neither the contract nor discovery import what an idle agent has no use for."""
    code = (
        "import sys; from fairlead_agent.plugin.registry import Registry; Registry.discover();"
        "from fairlead_agent.plugin.light_module import HEAVY;"
        "print(sorted((HEAVY | {'click', 'rich', 'jsonschema'}) & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"
