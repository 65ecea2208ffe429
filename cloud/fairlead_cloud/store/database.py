"""The database engine: SQLite in WAL mode by default, Postgres by URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from fairlead_cloud.store.tables import Base


class DatabaseError(RuntimeError):
    """The database cannot be opened; the text names the URL without its password."""


class Database:
    """An engine and its sessions.

    Args:
        url: ``sqlite+aiosqlite:///path`` or ``postgresql+asyncpg://user:password@host/name``.
    """

    def __init__(self, url: str) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError:
            accepted = "sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER:PASSWORD@HOST/NAME"
            raise DatabaseError(f"database URL: not of the form {accepted}") from None
        self._sqlite = self.url.get_backend_name() == "sqlite"
        options: dict[str, Any] = {} if self._sqlite else {"pool_pre_ping": True}
        try:
            self.engine: AsyncEngine = create_async_engine(self.url, **options)
        except ModuleNotFoundError as error:
            raise DatabaseError(f"database {self.shown}: driver {error.name!r} is not installed") from None
        if self._sqlite:
            event.listen(self.engine.sync_engine, "connect", _configure_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_immediate)
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
        try:
            async with self.engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
        except (DBAPIError, OperationalError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            raise DatabaseError(f"database {self.shown}: {cause}") from None

    async def close(self) -> None:
        """Give all connections back."""
        await self.engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session whose changes are durable when the block ends, or undone when it raises."""
        async with self._sessions() as session, session.begin():
            yield session


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not open transactions of its own: BEGIN IMMEDIATE below makes a read-then-write one atomic step.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
