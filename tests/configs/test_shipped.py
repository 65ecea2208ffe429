"""The shipped files load, name each other rightly, and every key is documented."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from fairlead_agent.config import config_path, known_configs, load_fleet, load_profile, load_workloads, schema
from fairlead_agent.config.found import shipped_folder

ROOT = Path(__file__).parents[2]
KINDS = {"profiles": "profile", "workloads": "workload", "fleets": "fleet"}
FILES = [(folder, name) for folder in KINDS for name in known_configs(folder)]


def test_there_are_files_of_every_kind() -> None:
    assert shipped_folder() == ROOT / "configs"
    assert {folder for folder, _ in FILES} == set(KINDS)
    assert not list((ROOT / "configs").rglob("*.yml")), "shipped files end in .yaml"


@pytest.mark.parametrize("name", known_configs("profiles"))
def test_profiles_load_under_their_own_name(name: str) -> None:
    assert load_profile(name).name == name
    assert load_profile(name).summary


@pytest.mark.parametrize("name", known_configs("workloads"))
def test_workloads_load(name: str) -> None:
    assert name in [workload.name for workload in load_workloads(name)]


@pytest.mark.parametrize("name", known_configs("fleets"))
def test_fleets_load_and_what_they_name_is_there(name: str) -> None:
    fleet = load_fleet(name)
    assert [load_profile(agent.profile).name for agent in fleet.agents]
    assert all(load_workloads(workload) for workload in fleet.workloads)


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_the_published_schema_agrees_with_the_loader(folder: str, name: str) -> None:
    published = json.loads((ROOT / "docs" / "schemas" / f"{KINDS[folder]}.json").read_text())
    validator = jsonschema.Draft202012Validator(published)
    jsonschema.Draft202012Validator.check_schema(published)
    for document in yaml.safe_load_all(config_path(folder, name).read_text()):
        validator.validate(document)
        assert not validator.is_valid({**document, "no-such-key": 1})


def test_published_schemas_are_up_to_date() -> None:
    assert schema.stale(ROOT / "docs" / "schemas") == [], "run: python -m fairlead_agent.config.schema --write"


def test_the_schema_command_writes_what_it_finds_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main(["--folder", str(tmp_path)]) == 1
    assert schema.main(["--folder", str(tmp_path), "--write"]) == 0
    assert schema.main(["--folder", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"fleet.json", "profile.json", "workload.json"}
    assert "stale: " in capsys.readouterr().out


def keys(part: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema with its own schema."""
    for found in [part, *part.get("$defs", {}).values()]:
        yield from found.get("properties", {}).items()


@pytest.mark.parametrize("folder", KINDS)
def test_every_key_is_documented_in_the_schema(folder: str) -> None:
    bare = [name for name, part in keys(schema.schema(KINDS[folder])) if not part.get("description")]
    assert bare == []


@pytest.mark.parametrize("folder", KINDS)
def test_every_key_stands_in_a_shipped_file(folder: str) -> None:
    """As an example, in force or in a comment, so that nobody has to read the code."""
    text = "\n".join(path.read_text() for path in (ROOT / "configs" / folder).glob("*.yaml"))
    missing = [name for name, _ in keys(schema.schema(KINDS[folder])) if not re.search(rf"\b{name}:", text)]
    assert missing == []
