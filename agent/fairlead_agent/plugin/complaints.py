"""What is wrong with a config, a request or a control, in the words that all plugins use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)

#: Characters of a bad value that are shown.
MOST_SHOWN = 100


def checked(model: type[M], value: Any, what: str = "config", error: Callable[[str], Exception] = ValueError) -> M:
    """Make a model of a value that somebody wrote.

    Args:
        model: of what is accepted.
        value: as it was written, mostly a mapping.
        what: it is, where no field can be named.
        error: what is raised, from a text.

    Raises:
        ValueError: or what ``error`` makes: one line that names each bad field, its value and what is accepted.
    """
    try:
        return model.model_validate(value)
    except ValidationError as found:
        raise error(complaint(found, model, what)) from None


def complaint(error: ValidationError, model: type[BaseModel], what: str = "config") -> str:
    """One line that names each bad field, its value and what is accepted.

    Args:
        error: that validation raised.
        model: that was validated; where a key is not known, the keys that its part accepts are told.
        what: was validated, where no field can be named.
    """
    return "; ".join(_line(problem, model, what) for problem in error.errors(include_url=False))


def _line(problem: Any, model: type[BaseModel], what: str) -> str:
    field = ".".join(map(str, problem["loc"])) or what
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = f"unknown; accepted: {', '.join(_keys(model, problem['loc'][:-1]))}"
    return f"{field} = {repr(problem['input'])[:MOST_SHOWN]}: {message}"


def _keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Keys that are accepted at a place inside of a model, as they are written."""
    parts: list[type[BaseModel]] = [model]
    for step in place:
        # A number is an element's, and other steps that are no field name a member of a union or a key of a mapping.
        inner = [
            model
            for part in parts
            for name, field in part.model_fields.items()
            if step in (name, field.alias)
            for model in _models(field.annotation)
        ]
        parts = inner or parts
    return list(dict.fromkeys(field.alias or name for part in parts for name, field in part.model_fields.items()))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models that an annotation names, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
