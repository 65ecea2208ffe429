"""Any HTTP of a workload, under ``/workloads/NAME/...``."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from fairlead_cloud.api.auth import Client
from fairlead_cloud.api.workloads import Plane
from fairlead_cloud.gateway.forward import NobodyServes
from fairlead_cloud.gateway.respond import ask_of, respond

router = APIRouter(tags=["gateway"])

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


@router.api_route("/workloads/{name}/{path:path}", methods=METHODS, include_in_schema=False)
async def proxy(name: str, path: str, request: Request, plane: Plane, _: Client) -> Response:
    """Pass a request on to a holder of the workload."""
    if not plane.knows_workload(name):
        raise HTTPException(404, f"no workload {name!r}")
    try:
        return respond(await plane.forwarder.forward(name, await ask_of(request, f"/{path}")))
    except NobodyServes as error:
        raise HTTPException(503, str(error), {"Retry-After": "2"}) from None
