"""What there is: nodes, graph, placements, leases, health."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException

from fairlead_agent.messages import PlacementRecord
from fairlead_cloud.api.auth import Viewer
from fairlead_cloud.api.views import ErrorView, HealthView, LeaseView, NodeView
from fairlead_cloud.api.workloads import Plane

router = APIRouter(prefix="/api/v1", tags=["site"])


@router.get("/health")
async def health(plane: Plane) -> HealthView:
    """Whether the control plane works; needs no token and tells no secret."""
    return plane.health()


@router.get("/nodes")
async def list_nodes(plane: Plane, _: Viewer) -> list[NodeView]:
    """All nodes that were ever seen, online or not."""
    return plane.report.nodes()


@router.get("/nodes/{name}", responses={404: {"model": ErrorView}})
async def get_node(name: str, plane: Plane, _: Viewer) -> NodeView:
    """One node."""
    found = next((view for view in plane.report.nodes() if view.status.node == name), None)
    if found is None:
        raise HTTPException(404, f"no node {name!r}")
    return found


@router.get("/graph")
async def graph(plane: Plane, _: Viewer) -> dict[str, Any]:
    """The resource graph as cytoscape.js elements: ``nodes`` and ``edges``, each with its ``data``; units are in names.

    ``data`` of both has ``id``, ``kind``, ``simulated``, ``properties`` and ``measured`` (by attribute: ``value``,
    ``measured_at`` in Unix seconds, ``uncertainty``); of nodes also ``label``, ``node`` and ``parent``, of edges
    ``source`` and ``target``.
    """
    return plane.report.graph()


@router.get("/placements")
async def placements(plane: Plane, _: Viewer) -> list[PlacementRecord]:
    """The stewards' latest decisions with all bids."""
    return plane.report.placements()


@router.get("/leases")
async def leases(plane: Plane, _: Viewer) -> list[LeaseView]:
    """The authority's rows."""
    return plane.report.leases()
