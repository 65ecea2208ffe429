"""The control plane's own numbers, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from fairlead_cloud.api.auth import Viewer
from fairlead_cloud.api.workloads import Plane

router = APIRouter(tags=["site"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(plane: Plane, _: Viewer) -> Response:
    """Requests, failed attempts, requests in flight, placements, leases, nodes online.

    Protected like all the rest, because workload names stand in it: give Prometheus a viewer's token
    (``authorization.credentials_file`` in its scrape configuration).
    """
    return Response(plane.meter.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
