"""YAML into pydantic models, with the line of every error."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from fairlead_agent.config.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)

#: Larger files are no configuration.
MAX_FILE_BYTES = 1 << 20


class Strict(BaseModel):
    """A part of a configuration file: unknown keys are errors, because most of them are slips of the pen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read one YAML document.

    Raises:
        ConfigError: names file, line, key, value and what is accepted.
    """
    documents = load_documents(path, model)
    if len(documents) != 1:
        raise ConfigError(f"{path}: {len(documents)} documents; exactly one is accepted")
    return documents[0]


def load_documents(path: Path, model: type[Model]) -> list[Model]:
    """Read all YAML documents of a file; empty ones are passed over."""
    return [_validate(path, node, model) for node in _compose(path)]


def _compose(path: Path) -> list[yaml.Node]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes, which no configuration file is")
        text = path.read_text()
        nodes: list[Any] = list(yaml.compose_all(text, Loader=yaml.SafeLoader))  # pyright: ignore
        return [node for node in nodes if node is not None]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}{_mark(error)}: not YAML: {_problem(error)}") from None


def _mark(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark is not None else ""


def _problem(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]


def _validate(path: Path, node: yaml.Node, model: type[Model]) -> Model:
    try:
        value: Any = yaml.SafeLoader("").construct_document(node)  # pyright: ignore
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}{_mark(error)}: not YAML: {_problem(error)}") from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines = [_line(path, node, item, model) for item in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None


def _line(path: Path, node: yaml.Node, item: ErrorDetails, model: type[BaseModel]) -> str:
    key = ".".join(str(level) for level in item["loc"])
    where = f"{path}:{_line_number(node, item['loc'])}"
    if item["type"] == "extra_forbidden":
        return f"{where}: {key}: no such key{_meant(item['loc'], model)}"
    if item["type"] == "missing":
        return f"{where}: {key}: is missing"
    said = item["msg"].removeprefix("Value error, ")
    return f"{where}: {key or 'document'}: {said[0].lower()}{said[1:]} (got {str(item.get('input'))[:80]!r})"


def _line_number(node: yaml.Node, place: tuple[int | str, ...]) -> int:
    """The line of a place in a document, or of the nearest thing around it."""
    for level in place:
        below = _below(node, level)
        if below is None:
            break
        node = below
    return node.start_mark.line + 1


def _below(node: yaml.Node, level: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        pairs: list[tuple[Any, Any]] = node.value
        return next((value for key, value in pairs if key.value == str(level)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(level, int) and level < len(node.value):
        return node.value[level]
    return None


def _meant(place: tuple[int | str, ...], model: type[BaseModel]) -> str:
    names = _names(model, place[:-1])
    close = difflib.get_close_matches(str(place[-1]), names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
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
