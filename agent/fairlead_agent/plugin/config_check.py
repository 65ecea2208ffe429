"""A workload's config against the schema that the manifest names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from fairlead_agent.messages.envelope import describe
from fairlead_agent.plugin.errors import PluginUnavailable
from fairlead_agent.plugin.light_module import load_light

ConfigCheck = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns the config with its defaults filled in; ValueError names the field, the value and what is accepted."""


def config_check(schema: str | dict[str, Any] | None, sys_path: Iterable[Path] = ()) -> ConfigCheck:
    """The check that a manifest's ``config_schema`` asks for.

    Raises:
        PluginUnavailable: the model is missing or is none, or the JSON Schema is none or cannot be checked here.
    """
    if schema is None:
        return dict
    return _schema_check(schema) if isinstance(schema, dict) else _model_check(config_model(schema, sys_path))


def config_model(target: str, sys_path: Iterable[Path] = ()) -> type[BaseModel]:
    """The pydantic model that ``config_schema`` names.

    Raises:
        PluginUnavailable: it cannot be imported or is no model.
    """
    model = load_light(target, sys_path)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise PluginUnavailable(f"config_schema: {target} is no pydantic model")
    return model


def _model_check(model: type[BaseModel]) -> ConfigCheck:
    def check(config: dict[str, Any]) -> dict[str, Any]:
        try:
            return model.model_validate(config).model_dump(mode="json")
        except ValidationError as error:
            unknown = [item["loc"] for item in error.errors() if item["type"] == "extra_forbidden"]
            if unknown and len(unknown[0]) == 1:
                keys = ", ".join(model.model_fields)
                raise ValueError(f"{unknown[0][0]}: no such key; accepted: {keys}") from None
            raise ValueError(describe(error)) from None

    return check


def _schema_check(schema: dict[str, Any]) -> ConfigCheck:
    try:
        validators: Any = importlib.import_module("jsonschema.validators")
    except ImportError:
        raise PluginUnavailable("config_schema: a JSON Schema needs the package jsonschema") from None
    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except Exception as error:
        raise PluginUnavailable(f"config_schema: {str(error).splitlines()[0]}") from None
    validator = kind(schema)

    def check(config: dict[str, Any]) -> dict[str, Any]:
        errors = sorted(validator.iter_errors(config), key=lambda error: [str(level) for level in error.absolute_path])
        if errors:
            raise ValueError("; ".join(_sentence(error) for error in errors[:3]))
        return config

    return check


def _sentence(error: Any) -> str:
    where = ".".join(str(level) for level in error.absolute_path) or "config"
    return f"{where}: {str(error.message)[:300]}"
