"""The manifest of a plugin, ``plugin.yaml``. The descriptions of the fields are the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from fairlead_agent.config.load import Strict, load_yaml
from fairlead_agent.messages.base import Name
from fairlead_agent.plugin.api_range import admits, clauses
from fairlead_agent.plugin.hookspecs import API_VERSION

FILE_NAME = "plugin.yaml"

#: ``module:object``, as entry points write it.
Target = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]
Quality = Literal["experimental", "bronze", "silver", "gold", "platinum"]
Summary = Annotated[str, Field(min_length=1, max_length=200)]


class Variant(Strict):
    """One way in which the plugin can serve a workload."""

    name: Name = Field(description="What workloads and placements call it, e.g. q8-sparse-native.")
    summary: Summary = Field(description="One line: how it serves, and what for.")
    needs_real: tuple[str, ...] = Field(
        default=(), description="Kinds of hardware that must not be simulated, e.g. [gpu]; added to each estimate."
    )


class Command(Strict):
    """A command of the plugin's own, as ``fairlead NAME``."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{1,31}$", description="What the user types.")
    target: Target = Field(description="A click command, module:object. Imported when it is called.")
    summary: Summary = Field(description="One line for `fairlead --help`.")


class Manifest(Strict):
    """Says what a plugin is and where its code lies, so that nobody has to import it to find out."""

    schema_version: Literal[1] = Field(description="Version of this file's form. This page describes 1.")
    name: Name = Field(description="What workloads call it. Lower case, digits, '-' and '_'.")
    version: str = Field(pattern=r"^\d+(\.\d+)*([a-z0-9.+-]*)$", max_length=32, description="The plugin's version.")
    summary: Summary = Field(description="One line: what it can do.")
    api: str = Field(
        default=">=1.0,<2",
        max_length=64,
        description=f"Versions of the contract that it was written for; this agent has {API_VERSION}.",
    )
    quality: Quality = Field(
        default="experimental",
        description=(
            "experimental: try it; bronze: `fairlead plugins validate` finds nothing; silver: and it keeps its budget "
            "and drains; gold: and its estimates hold within their p10 to p90 on the devices that it names; platinum: "
            "and it checkpoints and restores."
        ),
    )
    light: Target = Field(
        description="The light hooks, module:object. The agent imports this module: standard library, pydantic and "
        "fairlead_agent.plugin only."
    )
    worker: Target = Field(description="The worker hooks, module:object. Imported in a worker process only.")
    python: str | None = Field(
        default=None,
        description="Interpreter of the worker, if it is another than the agent's, e.g. of a virtual environment. "
        "Relative to this file.",
    )
    variants: tuple[Variant, ...] = Field(min_length=1, description="The ways in which it can serve, best first.")
    config_schema: Target | dict[str, Any] | None = Field(
        default=None,
        description="What a workload's config must look like: a pydantic model, module:Model, of the light part; or a "
        "JSON Schema written out here (the plugin then depends on the package jsonschema).",
    )
    commands: tuple[Command, ...] = Field(default=(), description="Commands of its own under `fairlead`.")
    throughput_unit: str = Field(
        default="request", max_length=32, description="What it does per second: token, image, query, request."
    )
    openai: bool = Field(
        default=False,
        description="Whether its application serves the OpenAI API, so that the gateway offers it on /v1.",
    )

    @field_validator("api")
    @classmethod
    def _is_range(cls, value: str) -> str:
        clauses(value)
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for what, names in (
            ("variants", [variant.name for variant in self.variants]),
            ("commands", [command.name for command in self.commands]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what}: {', '.join(twice)} stands twice; every one has a name of its own")
        return self

    def variant(self, name: str) -> Variant | None:
        """The variant of that name."""
        return next((variant for variant in self.variants if variant.name == name), None)

    def fits(self) -> bool:
        """Whether it was written for this agent's version of the contract."""
        return admits(self.api, API_VERSION)


def load_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        ConfigError: file, line, key, value and what is accepted; one line for each thing that is wrong.
    """
    return load_yaml(path, Manifest)
