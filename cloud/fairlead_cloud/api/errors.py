"""Every error is one line: the field, its value, and what is accepted."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException

from fairlead_cloud.gateway.errors import error_response
from fairlead_cloud.store import DatabaseError


def add_error_handlers(app: FastAPI) -> None:
    """Answer errors in the form of the route: OpenAI's under /v1, ``{"detail"}`` elsewhere."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DatabaseError, _database)
    app.add_exception_handler(IntegrityError, _conflict)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    lines = "; ".join(_line(item) for item in error.errors()[:5])
    return error_response(request.url.path, 422, lines)


def _line(item: dict[str, Any]) -> str:
    if item["type"] == "json_invalid":
        return f"body: not JSON: {item.get('ctx', {}).get('error', item['msg'])} at character {item['loc'][-1]}"
    where = ".".join(str(level) for level in item["loc"] if level not in ("body", "query", "path", "header"))
    said = item["msg"].removeprefix("Value error, ")
    got = "" if item["type"] == "missing" else f" (got {_cut(item.get('input'))})"
    return f"{where or 'body'}: {said}{got}"


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, param = getattr(error, "code", None), getattr(error, "param", None)
    return error_response(
        request.url.path, error.status_code, str(error.detail), code=code, param=param, headers=error.headers
    )


async def _database(request: Request, error: Exception) -> Response:
    return error_response(request.url.path, 503, str(error), code="database")


async def _conflict(request: Request, _: Exception) -> Response:
    return error_response(request.url.path, 409, "the same was changed by another request at the same time; repeat it")
