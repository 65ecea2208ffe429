"""How requests ask for an answer of a given form."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..guide import Guide
from ..narrowing import as_object


class JsonSchemaFormat(BaseModel):
    """What `response_format` of type "json_schema" carries; the schema's field is called "schema"."""

    model_config = ConfigDict(extra="ignore", strict=True)

    name: str | None = None
    json_schema: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """OpenAI's `response_format`."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _schema_is_there(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError('{"type": "json_schema", "json_schema": {"schema": ...}}')
        return self


class GuidedRequest(BaseModel):
    """Fields that give the answer a form; at most one. `guided_...` are vLLM's names, `grammar` is llama.cpp's."""

    model_config = ConfigDict(extra="ignore", strict=True)

    response_format: ResponseFormat | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = Field(default=None, min_length=1)
    guided_choice: list[str] | None = Field(default=None, min_length=1)
    guided_grammar: str | None = Field(default=None, min_length=1)
    grammar: str | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        fields = as_object(value)
        return value if fields is None else {key: item for key, item in fields.items() if item is not None}

    @field_validator("guided_json")
    @classmethod
    def _a_schema(cls, value: dict[str, Any] | str | None) -> dict[str, Any] | str | None:
        if isinstance(value, str):
            try:
                parsed = json.loads(value)
            except json.JSONDecodeError:
                parsed = None
            if not isinstance(parsed, dict):
                raise ValueError("a JSON schema, as an object or as its text")
        return value

    @model_validator(mode="after")
    def _one_form(self) -> GuidedRequest:
        given = [guide.field.split(".")[0] for guide in self._guides()]
        if len(given) > 1:
            raise ValueError(f"{given[1]} is not accepted together with {given[0]}")
        return self

    @property
    def guide(self) -> Guide | None:
        """The form that the answer must have, if any."""
        return next(iter(self._guides()), None)

    def _guides(self) -> list[Guide]:
        found = [*self._of_response_format()]
        if self.guided_json is not None:
            text = self.guided_json if isinstance(self.guided_json, str) else json.dumps(self.guided_json)
            found.append(Guide("json_schema", text, "guided_json"))
        if self.guided_regex is not None:
            found.append(Guide("regex", self.guided_regex, "guided_regex"))
        if self.guided_choice is not None:
            found.append(Guide("choice", json.dumps(self.guided_choice), "guided_choice"))
        for field, text in (("guided_grammar", self.guided_grammar), ("grammar", self.grammar)):
            if text is not None:
                found.append(Guide("grammar", text, field))
        return found

    def _of_response_format(self) -> list[Guide]:
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return []
        if wanted.type == "json_object":
            return [Guide("json_schema", '{"type": "object"}', "response_format")]
        assert wanted.json_schema is not None
        return [Guide("json_schema", json.dumps(wanted.json_schema.json_schema), "response_format.json_schema.schema")]
