"""Desired state: apply, get, list, delete, explain."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request

from fairlead_agent.messages import Workload
from fairlead_cloud.api.auth import Operator, Viewer
from fairlead_cloud.api.views import AppliedView, ErrorView, ExplainView, LogView, WorkloadView
from fairlead_cloud.plane import ControlPlane, WorkloadRefused

router = APIRouter(prefix="/api/v1", tags=["workloads"])

REFUSED: dict[int | str, dict[str, object]] = {
    404: {"model": ErrorView},
    422: {"model": ErrorView, "description": "The workload does not fit; the detail says where and why."},
}


def plane_of(request: Request) -> ControlPlane:
    """The control plane behind the application."""
    return request.app.state.plane


Plane = Annotated[ControlPlane, Depends(plane_of)]


@router.put("/workloads/{name}", responses=REFUSED)
async def apply_workload(name: str, workload: Workload, plane: Plane, _: Operator) -> AppliedView:
    """Apply a workload: create it, or change it into this."""
    if name != workload.name:
        raise HTTPException(422, f"name: the path says {name!r}, the workload {workload.name!r}; both must be the same")
    try:
        stored = await plane.apply(workload)
    except WorkloadRefused as error:
        raise HTTPException(422, str(error)) from None
    return AppliedView(name=name, generation=stored.desired.generation, changed=stored.changed)


@router.get("/workloads")
async def list_workloads(plane: Plane, _: Viewer) -> list[WorkloadView]:
    """All workloads."""
    return [plane.report.workload(stored) for stored in await plane.workloads.all()]


@router.get("/workloads/{name}", responses=REFUSED)
async def get_workload(name: str, plane: Plane, _: Viewer) -> WorkloadView:
    """One workload and how it stands."""
    stored = await plane.workloads.get(name)
    if stored is None or stored.desired.deleted:
        raise HTTPException(404, f"no workload {name!r}")
    return plane.report.workload(stored)


@router.delete("/workloads/{name}", responses=REFUSED)
async def delete_workload(name: str, plane: Plane, _: Operator) -> AppliedView:
    """Delete a workload: its instances drain and its leases are released."""
    stored = await plane.delete(name)
    if stored is None:
        raise HTTPException(404, f"no workload {name!r}")
    return AppliedView(name=name, generation=stored.desired.generation, changed=True)


@router.get("/workloads/{name}/explain", responses=REFUSED)
async def explain_workload(name: str, plane: Plane, _: Viewer) -> ExplainView:
    """Why each bid won or lost."""
    if await plane.workloads.get(name) is None:
        raise HTTPException(404, f"no workload {name!r}")
    return plane.report.explain(name)


@router.get("/workloads/{name}/logs", responses=REFUSED)
async def workload_logs(
    name: str, plane: Plane, _: Operator, lines: Annotated[int, Query(ge=1, le=2000)] = 50
) -> list[LogView]:
    """The last lines that each instance wrote, asked of its node."""
    if not plane.knows_workload(name):
        raise HTTPException(404, f"no workload {name!r}")
    return await plane.logs(name, lines)
