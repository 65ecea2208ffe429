"""Who calls: a bearer token on every request, from day one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fairlead_cloud.store import Role, TokenStore

_bearer = HTTPBearer(auto_error=False, description="A token of `fairlead token create`.")


def require(needed: Role) -> Callable[..., Awaitable[Role]]:
    """A dependency that lets only tokens of at least the role ``needed`` pass."""

    async def check(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Role:
        tokens: TokenStore = request.app.state.plane.tokens
        role = await tokens.role(credentials.credentials) if credentials is not None else None
        if role is None:
            raise HTTPException(401, "missing or unknown bearer token", {"WWW-Authenticate": "Bearer"})
        if not role.allows(needed):
            raise HTTPException(403, f"this token's role is {role.value}; {needed.value} is needed")
        return role

    return check


Viewer = Annotated[Role, Depends(require(Role.VIEWER))]
Client = Annotated[Role, Depends(require(Role.CLIENT))]
Operator = Annotated[Role, Depends(require(Role.OPERATOR))]
Admin = Annotated[Role, Depends(require(Role.ADMIN))]
