"""Errors in the form that the client of a route expects: OpenAI's under /v1, ``{"detail"}`` elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import JSONResponse

_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large"}


def error_response(
    path: str,
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error.

    Args:
        path: the request's path: it decides the form.
        status: HTTP status.
        message: one line.
        code: a word for programs, under /v1.
        param: the field that is wrong, under /v1.
        headers: to add; 503 brings its Retry-After along.
    """
    sent = {**({"Retry-After": "2"} if status == 503 else {}), **(headers or {})}
    if not (path == "/v1" or path.startswith("/v1/")):
        return JSONResponse({"detail": message}, status, sent)
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status, sent)
