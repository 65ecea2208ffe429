"""Access tokens, for administrators."""

from __future__ import annotations

import time

from fastapi import APIRouter, HTTPException

from fairlead_cloud.api.auth import Admin
from fairlead_cloud.api.views import ErrorView, TokenRequest, TokenView
from fairlead_cloud.api.workloads import Plane

router = APIRouter(prefix="/api/v1", tags=["tokens"])


@router.post("/tokens", responses={422: {"model": ErrorView}})
async def create_token(body: TokenRequest, plane: Plane, _: Admin) -> TokenView:
    """Make a token. Its text is in this answer and nowhere else."""
    token = await plane.tokens.create(body.name, body.role, time.time())
    return TokenView(name=body.name, role=body.role, token=token)


@router.get("/tokens")
async def list_tokens(plane: Plane, _: Admin) -> list[TokenView]:
    """All tokens by name, without their texts."""
    return [TokenView(name=name, role=role, revoked=revoked) for name, role, revoked in await plane.tokens.names()]


@router.delete("/tokens/{name}", responses={404: {"model": ErrorView}})
async def revoke_token(name: str, plane: Plane, _: Admin) -> TokenView:
    """Make a token void."""
    role = await plane.tokens.revoke(name)
    if role is None:
        raise HTTPException(404, f"no token {name!r}")
    return TokenView(name=name, role=role, revoked=True)
