"""YAML into pydantic models, with the line of every error."""

from __future__ import annotations

from pathlib import Path
from reprlib import Repr
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from fairlead_agent.config.closest import closest
from fairlead_agent.config.document import construct, line_of, read_nodes
from fairlead_agent.config.errors import ConfigError
from fairlead_agent.messages.base import NAME_PATTERN

Model = TypeVar("Model", bound=BaseModel)

#: Only the first errors of a document are shown: where everything is wrong, the rest tells nothing new.
MAX_ERRORS = 20

_NUMERIC = (int, float)


class Strict(BaseModel):
    """A part of a configuration file: unknown keys are errors, because most of them are slips of the pen."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads `yes` and `on` as true, and true would count as 1.
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and _takes_number(field.annotation):
            raise ValueError("a number is accepted here, not true or false")
        return value


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read one YAML document.

    Raises:
        ConfigError: names file, line, key, value and what is accepted.
    """
    documents = load_documents(path, model)
    if len(documents) != 1:
        raise ConfigError(f"{path}: {len(documents) or 'no'} documents; exactly one is accepted")
    return documents[0]


def load_documents(path: Path, model: type[Model]) -> list[Model]:
    """Read all YAML documents of a file; empty ones are passed over.

    Raises:
        ConfigError: as for :func:`load_yaml`.
    """
    return [_validate(path, node, model) for node in read_nodes(path)]


def _validate(path: Path, node: yaml.Node, model: type[Model]) -> Model:
    value = construct(path, node)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        items = error.errors(include_url=False)
        lines = [_line(path, node, item, model) for item in items[:MAX_ERRORS]]
        if len(items) > MAX_ERRORS:
            lines.append(f"{path}: and {len(items) - MAX_ERRORS} more")
        raise ConfigError("\n".join(lines)) from None


def _line(path: Path, node: yaml.Node, item: ErrorDetails, model: type[BaseModel]) -> str:
    place = item["loc"]
    if place[-1:] == ("[key]",) and item["type"] != "extra_forbidden":
        place = place[:-1]  # pydantic's mark for a key that does not fit, and no key of the document
    key = ".".join(str(level) for level in place) or "document"
    where = f"{path}:{line_of(node, place)}: {key}"
    if item["type"] == "extra_forbidden":
        return f"{where}: no such key{_meant(place, model)}"
    if item["type"] == "missing":
        return f"{where}: is missing"
    return f"{where}: {_said(item)} (got {_SHORT.repr(item.get('input'))})"


def _said(item: ErrorDetails) -> str:
    """What is accepted, in the words of somebody who writes YAML."""
    if item["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return "keys with values are accepted here"
    if item["type"] in ("tuple_type", "list_type"):
        return "a list is accepted here"
    if item["type"] == "string_pattern_mismatch" and item.get("ctx", {}).get("pattern") == NAME_PATTERN:
        return "a name is made of small letters, digits, - and _, at most 63, with a letter or digit at both ends"
    said = item["msg"].removeprefix("Value error, ")
    return said[0].lower() + said[1:]


class _ShortRepr(Repr):
    """Values in errors are cut: what is wrong may be a whole document."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlist = 2, 4, 6
        self.maxstring = self.maxother = self.maxlong = 80


_SHORT = _ShortRepr()


def _meant(place: tuple[int | str, ...], model: type[BaseModel]) -> str:
    names = _names(model, place[:-1])
    close = closest(str(place[-1]), names)
    if close:
        return f"; did you mean {close!r}?"
    return f"; the keys here are {', '.join(names)}" if names else ""


def _names(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys that a model accepts at a place."""
    found: Any = model
    for level in place:
        if isinstance(level, int):
            continue
        field = found.model_fields.get(level) if _is_model(found) else None
        found = _inner_model(field.annotation) if field is not None else None
    return list(found.model_fields) if _is_model(found) else []


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _inner_model(annotation: Any) -> Any:
    if _is_model(annotation):
        return annotation
    inner = (_inner_model(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)


def _takes_number(annotation: Any) -> bool:
    return annotation in _NUMERIC or any(kind in getattr(annotation, "__args__", ()) for kind in _NUMERIC)
