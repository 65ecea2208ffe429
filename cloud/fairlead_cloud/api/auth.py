"""Who calls: a bearer token on every request, from day one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fairlead_cloud.store import Role, TokenStore

_bearer = HTTPBearer(auto_error=False, description="A token of `fairlead token create`.")


async def authorize(tokens: TokenStore, authorization: str | None, needed: Role) -> Role:
    """Let only tokens of at least the role ``needed`` pass.

    Args:
        tokens: the known ones.
        authorization: the request's Authorization header.
        needed: the least role.

    Raises:
        HTTPException: 401 without a known token, 403 where its role is too low.
    """
    scheme, _, token = (authorization or "").partition(" ")
    role = await tokens.role(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
    if role is None:
        raise HTTPException(401, "missing or unknown bearer token", {"WWW-Authenticate": "Bearer"})
    if not role.allows(needed):
        raise HTTPException(403, f"this token's role is {role.value}; {needed.value} is needed")
    return role


def require(needed: Role) -> Callable[..., Awaitable[Role]]:
    """A dependency that lets only tokens of at least the role ``needed`` pass."""

    async def check(
        request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
    ) -> Role:
        return await authorize(request.app.state.plane.tokens, request.headers.get("authorization"), needed)

    return check


Viewer = Annotated[Role, Depends(require(Role.VIEWER))]
Client = Annotated[Role, Depends(require(Role.CLIENT))]
Operator = Annotated[Role, Depends(require(Role.OPERATOR))]
Admin = Annotated[Role, Depends(require(Role.ADMIN))]
