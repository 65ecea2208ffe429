"""The manifest says what is there."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

import fairlead_sparse_inference
from fairlead_agent.plugin import Estimate, Refusal, Workload
from fairlead_agent.plugin.manifest import Manifest, load_manifest

from .test_light import facts

PACKAGE = Path(fairlead_sparse_inference.__file__).parent


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest(PACKAGE / "plugin.yaml")


def target(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def test_every_target_can_be_imported(manifest: Manifest) -> None:
    for hook in ("describe", "probe", "estimate", "validate"):
        assert callable(getattr(target(manifest.light), hook))
    for hook in ("prepare", "application", "reconfigure", "drain", "checkpoint", "restore", "measurements"):
        assert callable(getattr(target(manifest.worker), hook))
    assert all(isinstance(target(command.target), click.Command) for command in manifest.commands)
    assert isinstance(manifest.config_schema, str) and target(manifest.config_schema)


def test_every_variant_is_estimated_or_refused_with_a_reason(manifest: Manifest, checkpoint: Path) -> None:
    workload = Workload(name="chat", plugin=manifest.name, config={"model": str(checkpoint)})
    for variant in manifest.variants:
        answer = target(manifest.light).estimate(workload, variant.name, facts())
        assert isinstance(answer, Estimate) or (isinstance(answer, Refusal) and answer.reason)


def test_it_is_found_by_its_entry_point(manifest: Manifest) -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["fairlead.plugins"] == {manifest.name: PACKAGE.name}
    assert project["version"] == manifest.version
    assert manifest.fits()
