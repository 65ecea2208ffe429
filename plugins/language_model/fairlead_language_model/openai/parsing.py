"""From a request's body to a request object, or to one clear error."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import ApiError, invalid_request

RequestT = TypeVar("RequestT", bound=BaseModel)


def parse_request(kind: type[RequestT], body: bytes | str) -> RequestT:
    """Parse a JSON body; raises ApiError with status 400, which names the first field that is wrong.

    Fields that the API does not know are ignored, as clients send many.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise _as_api_error(problems[0]) from error


def _as_api_error(problem: Any) -> ApiError:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {message}", code="invalid_json")
    if not problem["loc"] and problem["type"] != "value_error":
        return ApiError(400, "the body must be a JSON object", code="invalid_json")
    # A rule over several fields starts its message with the field that breaks it.
    name = ".".join(map(str, problem["loc"])) or message.split(" ", 1)[0]
    value = problem["input"] if problem["loc"] else problem["input"].get(name)
    if problem["type"] == "missing":
        return ApiError(400, f"{name} is missing: it is required", param=name, code="missing_required_parameter")
    return invalid_request(name, value, message)
