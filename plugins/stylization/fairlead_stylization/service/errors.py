"""Errors in one shape: what is wrong, and a word for programs."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..errors import BadCheckpoint, BadPicture, BadSetting, MissingExtra, StylizationError


class Refused(StylizationError):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        kind: a word for programs.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


#: The first that fits.
_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (BadPicture, 400, "bad_picture"),
    (BadSetting, 400, "bad_setting"),
    (MissingExtra, 501, "not_installed"),
    (BadCheckpoint, 500, "bad_weights"),
    (StylizationError, 400, "refused"),
)


async def of_stylization(request: Request, error: Exception) -> Response:
    """Answer with a refusal."""
    if isinstance(error, Refused):
        status, kind = error.status, error.kind
    else:
        status, kind = next((status, kind) for known, status, kind in _STATUS if isinstance(error, known))
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return JSONResponse({"error": {"kind": kind, "message": str(error)}}, status, headers)


async def of_http(request: Request, error: Exception) -> Response:
    """Answer for a route that is not there, or not for this method."""
    assert isinstance(error, HTTPException)
    body = {"error": {"kind": "http", "message": f"{request.method} {request.url.path}: {error.detail}"}}
    return JSONResponse(body, error.status_code, error.headers)
