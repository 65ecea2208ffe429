"""Errors in one shape: what is wrong, in which field, what stood there and what is accepted."""

from __future__ import annotations

import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..errors import IsacError, MissingExtra, NotFound, RadioUnavailable

#: The first that fits.
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotFound, 404),
    (RadioUnavailable, 503),
    (MissingExtra, 501),
    (IsacError, 400),
)


def body_of(error: Exception) -> tuple[int, dict[str, Any]]:
    """Return an error's status and its JSON."""
    if isinstance(error, HTTPException):
        return error.status_code, {"error": {"type": "bad_request", "message": str(error.detail)}}
    status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
    return status, {"error": {"type": "bad_request" if kind == "isac_error" else kind, "message": str(error)}}


def answer(request: Request, error: Exception) -> Response:
    """Answer with an error; Starlette's handler."""
    status, body = body_of(error)
    return JSONResponse(body, status, {"Retry-After": "1"} if status == 503 else None)


def unexpected(request: Request, error: Exception) -> Response:
    """Answer for what is a bug here; the traceback is the host's to log."""
    text = f"{type(error).__name__}: {error}"
    return JSONResponse({"error": {"type": "internal", "message": f"internal error: {text}"}}, 500)
