"""Errors in one shape: what is wrong, in which field, what stood there and what is accepted."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..embedding.encoder import EmbeddingUnavailable
from ..errors import BudgetExceeded, CorruptFile, NotFound, StoreClosed, StoreFull, TieredRetrievalError
from ..tiers.region import TierError

#: The first that fits.
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotFound, 404),
    (StoreFull, 507),
    (BudgetExceeded, 507),
    (StoreClosed, 503),
    (CorruptFile, 500),
    (EmbeddingUnavailable, 501),
    (TieredRetrievalError, 400),
    (TierError, 503),
)
_SHOWN = 200


class ApiError(TieredRetrievalError):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        field, value, accepted: where one field is wrong.
        kind: a word for programs.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str | None = None,
        value: Any = None,
        accepted: str | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.field, self.value, self.accepted, self.kind = status, field, value, accepted, kind


def bad_field(field: str, value: Any, accepted: str) -> ApiError:
    """Return the error for one field of a request."""
    message = f"{field} = {_short(value)}: accepted: {accepted}"
    return ApiError(400, message, field=field, value=value, accepted=accepted)


def of_validation(error: ValidationError) -> ApiError:
    """Return pydantic's first complaint in this API's shape; the message has all of them."""
    problems = error.errors(include_url=False)
    lines = [f"{_path(problem)} = {_short(problem['input'])}: {_said(problem)}" for problem in problems]
    first = problems[0]
    return ApiError(400, "; ".join(lines), field=_path(first), value=first["input"], accepted=_said(first))


def body_of(error: Exception) -> tuple[int, dict[str, Any]]:
    """Return an error's status and its JSON."""
    status = getattr(error, "status", None) or next((code for kind, code in STATUS if isinstance(error, kind)), 500)
    kind = getattr(error, "kind", None) or _kind(type(error).__name__, status)
    said: dict[str, Any] = {"type": kind, "message": str(error)}
    for name in ("field", "accepted"):
        if getattr(error, name, None) is not None:
            said[name] = getattr(error, name)
    if "field" in said:
        said["value"] = _short(getattr(error, "value", None))
    return status, {"error": said}


def answer(request: Request, error: Exception) -> Response:
    """Answer with an error; Starlette's handler."""
    if isinstance(error, HTTPException):
        error = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    status, body = body_of(error)
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return JSONResponse(body, status, headers)


def unexpected(request: Request, error: Exception) -> Response:
    """Answer for what is a bug here; the traceback is the host's to log."""
    text = f"{type(error).__name__}: {error}"
    return JSONResponse({"error": {"type": "internal", "message": f"internal error: {text}"}}, 500)


def _kind(name: str, status: int) -> str:
    if name == "ApiError":
        return {404: "not_found", 413: "too_large", 429: "too_many", 503: "unavailable"}.get(status, "bad_request")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _path(problem: Any) -> str:
    return ".".join(map(str, problem["loc"])) or "body"


def _said(problem: Any) -> str:
    return problem["msg"].removeprefix("Value error, ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
