"""OpenAI-compatible routes: the model's id is the workload's name."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from fairlead_cloud.api.auth import Client
from fairlead_cloud.api.workloads import Plane
from fairlead_cloud.gateway.forward import NobodyServes
from fairlead_cloud.gateway.respond import ask_of, respond
from fairlead_cloud.plane import ControlPlane

router = APIRouter(prefix="/v1", tags=["openai"])


def error_response(status: int, message: str, code: str | None = None, param: str | None = None) -> JSONResponse:
    """An error in OpenAI's form."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return JSONResponse(body, status, {"Retry-After": "2"} if status == 503 else None)


@router.get("/models")
async def models(plane: Plane, _: Client) -> dict[str, Any]:
    """The workloads that answer this API."""
    return {"object": "list", "data": [_model(name) for name in plane.openai_workloads()]}


@router.get("/models/{name}", response_model=None)
async def model(name: str, plane: Plane, _: Client) -> dict[str, Any] | Response:
    """One of them."""
    return _model(name) if name in plane.openai_workloads() else _unknown(plane, name)


@router.post("/completions", response_model=None)
async def completions(request: Request, plane: Plane, _: Client) -> Response:
    """Complete a prompt; see OpenAI's reference for the fields."""
    return await _pass_on(request, plane)


@router.post("/chat/completions", response_model=None)
async def chat_completions(request: Request, plane: Plane, _: Client) -> Response:
    """Answer in a conversation; see OpenAI's reference for the fields."""
    return await _pass_on(request, plane)


async def _pass_on(request: Request, plane: ControlPlane) -> Response:
    body = await request.body()
    try:
        name = json.loads(body)["model"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return error_response(400, "body: a JSON object with a field 'model' is expected", param="model")
    if not isinstance(name, str) or name not in plane.openai_workloads():
        return _unknown(plane, name)
    try:
        return respond(await plane.forwarder.forward(name, await ask_of(request, request.url.path, body)))
    except NobodyServes as error:
        return error_response(503, str(error), code="nobody_serves")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "fairlead"}


def _unknown(plane: ControlPlane, name: object) -> Response:
    known = ", ".join(plane.openai_workloads()) or "none"
    message = f"model: {str(name)[:80]!r} is not a workload that answers this API; these are: {known}"
    return error_response(404, message, code="model_not_found", param="model")
