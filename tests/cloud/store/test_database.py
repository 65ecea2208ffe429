"""Databases that cannot be used say so in one line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from fairlead_cloud.store import Database, DatabaseError, EventLog
from tests.patience import patient


def url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.mark.parametrize("bad", ["nonsense", "mysql://x", "sqlite:///x.db"])
def test_bad_url(bad: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        Database(bad)
    assert "\n" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    database = Database("postgresql+asyncpg://me:hunter2@localhost/x")
    assert "hunter2" not in database.shown


async def test_a_server_that_is_away() -> None:
    database = Database("postgresql+asyncpg://me:hunter2@127.0.0.1:1/x")
    with pytest.raises(DatabaseError) as caught:
        await database.open()
    assert "hunter2" not in str(caught.value) and "127.0.0.1:1" in str(caught.value)


async def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="unable to open"):
        await Database(url(tmp_path / "nowhere" / "x.db")).open()


async def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"this is text and no database" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        await Database(url(path)).open()


async def fill(database: Database) -> None:
    """As far as SQLite can tell, the disk is full from here on."""
    async with database.engine.connect() as connection:
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
        await connection.execute(text(f"PRAGMA max_page_count={pages}"))


async def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path) -> None:
    database = Database(url(tmp_path / "x.db"))
    await database.open()
    log = EventLog(database)
    await log.append("kept", "s", {}, 0.0)
    await fill(database)
    with pytest.raises(DatabaseError, match="full"):
        for _ in range(100):
            await log.append("lost", "s", {"much": "x" * 4096}, 0.0)
    assert (await log.after(0, 1))[0].type == "kept"
    await database.close()


async def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    database = Database(url(tmp_path / "x.db"))
    await database.open()
    log = EventLog(database)
    await log.append("one", "s", {}, 0.0)
    async with asyncio.timeout(patient(60)), database.transaction() as session:
        await session.execute(text("DELETE FROM events"))
        assert [event.type for event in await log.after(0)] == ["one"]
    assert await log.after(0) == []
    await database.close()
