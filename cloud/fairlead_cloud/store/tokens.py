"""Access tokens: shown once, stored as a digest."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from enum import StrEnum

from sqlalchemy import select

from fairlead_cloud.store.database import Database
from fairlead_cloud.store.tables import TokenRow

#: A token that another process on the same database has revoked is void here after this long at the latest.
CACHE_S = 5.0


class Role(StrEnum):
    """What a token may do: viewers look, clients call workloads too, operators change them, admins make tokens."""

    VIEWER = "viewer"
    CLIENT = "client"
    OPERATOR = "operator"
    ADMIN = "admin"

    def allows(self, needed: Role) -> bool:
        """Whether this role includes ``needed``."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class TokenStore:
    """Creates, checks and revokes tokens.

    Args:
        database: where the digests lie.
        clock: monotonic seconds, for the cache of checked tokens.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._known: dict[str, tuple[Role, float]] = {}
        self._changes = 0

    async def create(self, name: str, role: Role, now: float, token: str | None = None) -> str:
        """Store a token under ``name`` (an older one of that name is void) and return it: it is shown only here."""
        token = token or f"fl_{secrets.token_urlsafe(32)}"
        async with self._database.transaction() as session:
            for old in await session.scalars(select(TokenRow).where(TokenRow.name == name)):
                await session.delete(old)
            await session.flush()
            session.add(TokenRow(digest=digest(token), name=name, role=role.value, created_at=now))
        self._forget()
        return token

    async def role(self, token: str) -> Role | None:
        """The role of a token, or None where it is unknown or revoked."""
        key = digest(token)
        known = self._known.get(key)
        if known is not None and self._clock() < known[1]:
            return known[0]
        changes = self._changes
        async with self._database.reading() as session:
            row = await session.get(TokenRow, key)
        if row is None or row.revoked:
            self._known.pop(key, None)
            return None
        # A token that was revoked while it was being read must not come back through the cache.
        if changes == self._changes:
            self._known[key] = (Role(row.role), self._clock() + CACHE_S)
        return Role(row.role)

    async def revoke(self, name: str) -> Role | None:
        """Make the token of that name void and return its role; None where there is no such token."""
        async with self._database.transaction() as session:
            row = await session.scalar(select(TokenRow).where(TokenRow.name == name))
            if row is None:
                return None
            row.revoked = True
        self._forget()
        return Role(row.role)

    async def names(self) -> list[tuple[str, Role, bool]]:
        """All tokens: name, role, whether revoked."""
        async with self._database.reading() as session:
            rows = await session.scalars(select(TokenRow).order_by(TokenRow.name))
            return [(row.name, Role(row.role), row.revoked) for row in rows]

    def _forget(self) -> None:
        self._known.clear()
        self._changes += 1


def digest(token: str) -> str:
    """SHA-256 of a token: tokens carry 256 random bits, so no salt or stretching is needed."""
    return hashlib.sha256(token.encode()).hexdigest()
