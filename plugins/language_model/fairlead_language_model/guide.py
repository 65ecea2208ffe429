"""What a request says about the form of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GuideKind = Literal["json_schema", "regex", "grammar", "choice"]


@dataclass(frozen=True, slots=True)
class Guide:
    """A form that the answer must have.

    Attributes:
        kind: what `text` is written in: a JSON schema (JSON), a regular expression, a grammar (Lark or GBNF), or
            a JSON list of the texts to choose from.
        text: the form.
        field: the field of the request that it comes from, for errors.
    """

    kind: GuideKind
    text: str
    field: str
