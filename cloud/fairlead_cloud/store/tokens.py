"""Access tokens: shown once, stored as a digest."""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum

from sqlalchemy import select

from fairlead_cloud.store.database import Database
from fairlead_cloud.store.tables import TokenRow


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
    """Creates, checks and revokes tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Role] = {}

    async def create(self, name: str, role: Role, now: float, token: str | None = None) -> str:
        """Store a token under ``name`` (an older one of that name is void) and return it: it is shown only here."""
        token = token or f"fl_{secrets.token_urlsafe(32)}"
        async with self._database.transaction() as session:
            for old in await session.scalars(select(TokenRow).where(TokenRow.name == name)):
                await session.delete(old)
            await session.flush()
            session.add(TokenRow(digest=digest(token), name=name, role=role.value, created_at=now))
        self._known.clear()
        return token

    async def role(self, token: str) -> Role | None:
        """The role of a token, or None where it is unknown or revoked."""
        key = digest(token)
        if key not in self._known:
            async with self._database.transaction() as session:
                row = await session.get(TokenRow, key)
                if row is None or row.revoked:
                    return None
                self._known[key] = Role(row.role)
        return self._known[key]

    async def revoke(self, name: str) -> bool:
        """Make the token of that name void."""
        async with self._database.transaction() as session:
            row = await session.scalar(select(TokenRow).where(TokenRow.name == name))
            if row is None:
                return False
            row.revoked = True
        self._known.clear()
        return True

    async def names(self) -> list[tuple[str, Role, bool]]:
        """All tokens: name, role, whether revoked."""
        async with self._database.transaction() as session:
            rows = await session.scalars(select(TokenRow).order_by(TokenRow.name))
            return [(row.name, Role(row.role), row.revoked) for row in rows]


def digest(token: str) -> str:
    """SHA-256 of a token: tokens carry 256 random bits, so no salt or stretching is needed."""
    return hashlib.sha256(token.encode()).hexdigest()
