"""OpenAI-compatible routes: the model's id is the workload's name."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, HTTPException
from starlette.types import Receive, Scope

from fairlead_cloud.api.auth import Client
from fairlead_cloud.api.workloads import Plane
from fairlead_cloud.gateway.answer import Ask
from fairlead_cloud.gateway.endpoint import GatewayEndpoint
from fairlead_cloud.gateway.request import ask_of, read_body
from fairlead_cloud.plane import ControlPlane

router = APIRouter(prefix="/v1", tags=["openai"])

#: What is passed on to a workload.
PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/embeddings")


class OpenAIError(HTTPException):
    """An error with OpenAI's ``code`` and ``param``."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(status, message)
        self.code, self.param = code, param


@router.get("/models")
async def models(plane: Plane, _: Client) -> dict[str, Any]:
    """The workloads that answer this API."""
    return {"object": "list", "data": [_model(name) for name in plane.openai_workloads()]}


@router.get("/models/{name}")
async def model(name: str, plane: Plane, _: Client) -> dict[str, Any]:
    """One of them."""
    if name not in plane.openai_workloads():
        raise _unknown(plane, name)
    return _model(name)


class OpenAIEndpoint(GatewayEndpoint):
    """Passes a request on to the workload that its body names as ``model``."""

    async def target(self, scope: Scope, receive: Receive) -> tuple[str, Ask]:
        """The workload and the request for it. What it does costs work and changes nothing, so it may be repeated."""
        body = await read_body(scope, receive)
        name = _named(body)
        if name not in self._plane.openai_workloads():
            raise _unknown(self._plane, name)
        return name, ask_of(scope, scope["path"], body, repeatable=True)


def _named(body: bytes) -> str:
    try:
        name = json.loads(body)["model"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise OpenAIError(400, "body: a JSON object with a field 'model' is expected", param="model") from None
    if not isinstance(name, str):
        raise OpenAIError(400, f"model: {str(name)[:80]!r}; the name of a workload is expected", param="model")
    return name


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "fairlead"}


def _unknown(plane: ControlPlane, name: str) -> OpenAIError:
    known = ", ".join(plane.openai_workloads()) or "none"
    message = f"model: {name[:80]!r} is not a workload that answers this API; these are: {known}"
    return OpenAIError(404, message, code="model_not_found", param="model")
