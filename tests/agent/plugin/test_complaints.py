"""One line for each bad field: its name, its value, what is accepted."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fairlead_agent.plugin import checked


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    size: int = Field(default=1, ge=1)
    kind: str = Field(default="", alias="class")


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")

    part: Part | None = None
    parts: tuple[Part, ...] = ()
    named: dict[str, Part] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _few(self) -> Whole:
        if len(self.parts) > 2:
            raise ValueError("parts: accepted: two at most")
        return self


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"prt": 1}, "prt = 1: unknown; accepted: part, parts, named"),
        ({"part": {"sise": 2}}, "part.sise = 2: unknown; accepted: size, class"),
        ({"parts": [{}, {"x": 1}]}, "parts.1.x = 1: unknown; accepted: size, class"),
        ({"named": {"a": {"x": 1}}}, "named.a.x = 1: unknown; accepted: size, class"),
        ({"part": {"size": 0}}, "part.size = 0: Input should be greater than or equal to 1"),
        ({"parts": [{}] * 3}, "parts: accepted: two at most"),
        ([], "config = []: Input should be a valid dictionary"),
        ({"part": {"size": "a" * 500}}, "part.size = '" + "a" * 99 + ": "),
        ({"part": {"size": 0}, "x": 1}, "; x = 1: unknown"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(value: Any, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        checked(Whole, value)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_error_is_the_callers() -> None:
    with pytest.raises(KeyError, match=r"control = None"):
        checked(Whole, None, "control", KeyError)
    assert checked(Whole, {"part": {"class": "x"}}).part == Part(kind="x")
