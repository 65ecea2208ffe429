"""Errors in OpenAI's shape."""

from __future__ import annotations

from pydantic import BaseModel

from ..errors import shown


class ErrorDetail(BaseModel):
    """What went wrong; `param` names the request's field."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every response that is not a success."""

    error: ErrorDetail


class ApiError(Exception):
    """An error to answer a request with: an HTTP status and a body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = ErrorBody(error=ErrorDetail(message=message, type=type, param=param, code=code))


def invalid_request(param: str, value: object, accepted: str, *, code: str | None = "invalid_value") -> ApiError:
    """Return the error, status 400, for a field that cannot be accepted; names it, its value and what is accepted."""
    return ApiError(400, f"{param} = {shown(value)}: accepted: {accepted}", param=param, code=code)
