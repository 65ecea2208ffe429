"""Access tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead_cloud.store import Database, Role, TokenStore
from fairlead_cloud.store.tokens import CACHE_S


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}")
    await made.open()
    yield made
    await made.close()


async def test_roles_include_the_lower_ones() -> None:
    allowed = {role: [needed for needed in Role if role.allows(needed)] for role in Role}
    assert allowed[Role.VIEWER] == [Role.VIEWER]
    assert allowed[Role.CLIENT] == [Role.VIEWER, Role.CLIENT]
    assert allowed[Role.ADMIN] == list(Role)


async def test_token_is_known_until_revoked(database: Database) -> None:
    store = TokenStore(database)
    token = await store.create("ci", Role.CLIENT, 0.0)
    assert await store.role(token) is Role.CLIENT
    assert await store.role(token + "x") is None
    assert await store.revoke("ci") is Role.CLIENT
    assert await store.role(token) is None
    assert await store.revoke("nobody") is None


async def test_a_new_token_of_a_name_voids_the_old_one(database: Database) -> None:
    store = TokenStore(database)
    old = await store.create("ci", Role.ADMIN, 0.0)
    assert await store.role(old) is Role.ADMIN
    new = await store.create("ci", Role.VIEWER, 1.0)
    assert (await store.role(old), await store.role(new)) == (None, Role.VIEWER)
    assert await store.names() == [("ci", Role.VIEWER, False)]


async def test_revocation_by_another_process_is_seen(database: Database) -> None:
    now = [0.0]
    here, elsewhere = TokenStore(database, lambda: now[0]), TokenStore(database)
    token = await here.create("ci", Role.CLIENT, 0.0)
    assert await here.role(token) is Role.CLIENT
    await elsewhere.revoke("ci")
    now[0] = CACHE_S
    assert await here.role(token) is None


async def test_the_text_of_a_token_is_not_stored(database: Database, tmp_path: Path) -> None:
    token = await TokenStore(database).create("ci", Role.CLIENT, 0.0)
    await database.close()
    assert contains(tmp_path, b"ci") and not contains(tmp_path, token.encode())


def contains(folder: Path, text: bytes) -> bool:
    return any(text in path.read_bytes() for path in folder.glob("test.db*"))
