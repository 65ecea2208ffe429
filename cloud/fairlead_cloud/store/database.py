"""The database engine: SQLite in WAL mode by default, Postgres by URL."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from fairlead_cloud.store.tables import Base

ACCEPTED = "sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER:PASSWORD@HOST/NAME"


class DatabaseError(RuntimeError):
    """The database cannot be opened, read or written; one line that names the URL without its password."""


class Database:
    """An engine and its sessions.

    Args:
        url: ``sqlite+aiosqlite:///path`` or ``postgresql+asyncpg://user:password@host/name``.

    Raises:
        DatabaseError: the URL does not fit, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError:
            raise DatabaseError(f"database URL: not of the form {ACCEPTED}") from None
        self.sqlite = self.url.get_backend_name() == "sqlite"
        options: dict[str, Any] = {} if self.sqlite else {"pool_pre_ping": True}
        try:
            self.engine: AsyncEngine = create_async_engine(self.url, **options)
        except ModuleNotFoundError as error:
            raise DatabaseError(f"database {self.shown}: driver {error.name!r} is not installed") from None
        except SQLAlchemyError:
            raise DatabaseError(f"database {self.shown}: not of the form {ACCEPTED}") from None
        if self.sqlite:
            event.listen(self.engine.sync_engine, "connect", _configure_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @property
    def shown(self) -> str:
        """The URL as it may be logged."""
        return self.url.render_as_string(hide_password=True)

    async def open(self) -> None:
        """Create what is missing.

        Raises:
            DatabaseError: the file or server cannot be used.
        """
        folder = Path(self.url.database or ".").parent
        if self.sqlite and not os.access(folder, os.W_OK | os.X_OK):
            # Said here, because a driver that cannot open its file leaves a thread behind.
            raise DatabaseError(f"database {self.shown}: unable to open: {folder} is no folder that can be written to")
        try:
            async with self.engine.execution_options(writes=True).begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
        except (SQLAlchemyError, OSError) as error:
            raise self._failed(error) from None

    async def close(self) -> None:
        """Give all connections back."""
        await self.engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSession]:
        """A session whose changes are durable when the block ends, or undone when it raises.

        Raises:
            DatabaseError: the disk is full, the file read-only, the server away.
            IntegrityError: another writer was first.
        """
        async with self._session(writes=True) as session:
            yield session

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncSession]:
        """A session that only reads, of one consistent state; it waits for no writer. Raises DatabaseError."""
        async with self._session(writes=False) as session:
            yield session

    @asynccontextmanager
    async def _session(self, *, writes: bool) -> AsyncGenerator[AsyncSession]:
        try:
            async with self._sessions() as session, session.begin():
                await session.connection(execution_options={"writes": writes})
                yield session
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError) as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> DatabaseError:
        cause = getattr(error, "orig", None) or error
        return DatabaseError(f"database {self.shown}: {' '.join(str(cause).split())[:300]}")


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not open transactions of its own: _begin below decides which kind it is.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA busy_timeout=5000")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()
    except Exception:
        connection.close()  # else its thread keeps the process from ending
        raise


def _begin(connection: Any) -> None:
    # IMMEDIATE makes a read-then-write one atomic step; readers must not take the writer's lock.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
