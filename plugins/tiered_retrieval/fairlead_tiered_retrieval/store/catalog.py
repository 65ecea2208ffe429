"""Documents, metadata and texts in SQLite, with a full-text index.

What is here follows from the log: every transaction carries the number of the log's last entry that it holds, so that
an entry is never applied twice and never left out.
"""

from __future__ import annotations

import json
import queue
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptFile, StoreFull
from .documents import Id

_FORMAT = 1
_SCHEMA = """
create table if not exists state(name text primary key, value integer not null) without rowid;
create table if not exists documents(
  slot integer primary key, id not null unique, entry integer not null, sum integer not null, metadata text);
create index if not exists documents_by_entry on documents(entry);
create table if not exists gone(id not null primary key, at integer not null) without rowid;
create index if not exists gone_by_time on gone(at);
create table if not exists clock(start integer primary key, entry integer not null);
create virtual table if not exists texts using fts5(text, tokenize = "unicode61 remove_diacritics 2");
"""
_SAVED = "vectors can be saved from vectors.rows, documents from the newest snapshot"
_WORD = re.compile(r"\w+")
#: Rows that one statement asks for.
_MANY = 500
#: Milliseconds whose entries share a line of the clock.
_TICK_MS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """A document as it is kept."""

    slot: int
    id: Id
    entry: int
    sum: int
    metadata: dict[str, Any]


class Catalog:
    """The database of one collection. Methods that change it are for one thread; any number may read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        with self._named_errors():
            self._writer = self._connected()
            self._writer.executescript("pragma journal_mode=wal; pragma synchronous=normal;" + _SCHEMA)
            self._writer.execute(
                "insert or ignore into state values ('format', ?), ('applied', 0), ('durable', 0)", (_FORMAT,)
            )
        if self.state("format") != _FORMAT:
            raise CorruptFile(path, 0, f"format {self.state('format')}; accepted: {_FORMAT}", _SAVED)
        self._tick_start = self.written_last()
        self._graves = bool(self.graves(0, 1))

    @contextmanager
    def transaction(self, applied: int, at: int = 0) -> Iterator[None]:
        """Change documents; on leaving, together with the number of the last entry that this applies.

        Args:
            applied: that number.
            at: when it was written, in milliseconds of Unix time; 0: not known.

        Raises:
            StoreFull: the disk has no room; nothing was changed.
        """
        with self._named_errors():
            self._writer.execute("begin immediate")
            try:
                yield
                self._tick(applied, at)
                self._writer.execute("update state set value = ? where name = 'applied'", (applied,))
                self._writer.execute("commit")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("rollback")
                raise

    def insert(self, rows: Sequence[tuple[int, Id, int, int, str | None]], texts: Iterable[tuple[int, str]]) -> None:
        """Insert documents (slot, id, entry, sum, metadata) and texts (slot, text); in a transaction."""
        self._writer.executemany("insert into documents values (?, ?, ?, ?, ?)", rows)
        if self._graves:
            self._writer.executemany("delete from gone where id = ?", ((row[1],) for row in rows))
        self._writer.executemany("insert into texts(rowid, text) values (?, ?)", texts)

    def delete(self, slots: Sequence[int]) -> None:
        """Delete documents by slot; in a transaction."""
        self._writer.executemany("delete from documents where slot = ?", ((slot,) for slot in slots))
        self._writer.executemany("delete from texts where rowid = ?", ((slot,) for slot in slots))

    def bury(self, slots: Sequence[int], at: int) -> None:
        """Note when documents were deleted, for replicas that miss it; in a transaction, before `delete`."""
        self._graves = self._graves or len(slots) > 0
        self._writer.executemany(
            "insert or replace into gone select id, ? from documents where slot = ?", ((at, slot) for slot in slots)
        )

    def forget_graves(self, before: int) -> None:
        """Forget what was deleted before a time, and note that: whoever was away since then asks for everything."""
        with self._named_errors():
            self._writer.execute("begin immediate")
            if self._writer.execute("delete from gone where at < ?", (before,)).rowcount > 0:
                self._writer.execute("insert or replace into state values ('gone_since', ?)", (before,))
            # The last line before that time still says which documents are older.
            older = "select max(start) from clock where start < ?"
            self._writer.execute(f"delete from clock where start < ({older})", (before,))
            self._writer.execute("commit")

    def _tick(self, applied: int, at: int) -> None:
        if at - self._tick_start >= _TICK_MS:
            self._tick_start = at
            self._writer.execute("insert or replace into clock values (?, ?)", (at, applied))
        elif at > 0:
            self._writer.execute("update clock set entry = ? where start = ?", (applied, self._tick_start))

    def set_metadata(self, rows: Iterable[tuple[str | None, int]]) -> None:
        """Set metadata (metadata, slot); in a transaction."""
        self._writer.executemany("update documents set metadata = ? where slot = ?", rows)

    def set_texts(self, rows: Sequence[tuple[int, str]]) -> None:
        """Set texts (slot, text); in a transaction."""
        self._writer.executemany("delete from texts where rowid = ?", ((slot,) for slot, _ in rows))
        self._writer.executemany("insert into texts(rowid, text) values (?, ?)", rows)

    def own_rows(self, ids: Sequence[Id]) -> dict[Id, Row]:
        """Return documents by id, as the transaction sees them."""
        return _rows_by_id(self._writer, ids)

    def own_texts(self, slots: Sequence[int]) -> dict[int, str]:
        """Return texts by slot, as the transaction sees them."""
        return dict(_in_parts(self._writer, "select rowid, text from texts where rowid in ({})", slots))

    def made_durable(self, number: int) -> None:
        """Note that entries up to a number need no log any more, in a way that survives a power cut."""
        with self._named_errors():
            # A commit in full mode writes the database's own log through, with all commits before it.
            self._writer.execute("pragma synchronous=full")
            try:
                self._writer.execute("update state set value = ? where name = 'durable'", (number,))
            finally:
                self._writer.execute("pragma synchronous=normal")

    def state(self, name: str) -> int:
        """Return a number that is kept: format, applied or durable."""
        with self._reader() as reader:
            found = reader.execute("select value from state where name = ?", (name,)).fetchone()
        if found is None or not isinstance(found[0], int):
            raise CorruptFile(self.path, 0, f"it does not say {name}", _SAVED)
        return found[0]

    def rows(self, ids: Sequence[Id]) -> dict[Id, Row]:
        """Return documents by id."""
        with self._reader() as reader:
            return _rows_by_id(reader, ids)

    def graves(self, after: int, count: int) -> list[tuple[Id, int]]:
        """Return ids of deleted documents and when that was (Unix ms), the first first, those beyond `after`."""
        with self._reader() as reader:
            return reader.execute("select id, at from gone order by at, id limit ? offset ?", (count, after)).fetchall()

    def graves_since(self) -> int:
        """Return the time (Unix ms) since which no deletion was forgotten; 0: none ever was."""
        with self._reader() as reader:
            found = reader.execute("select value from state where name = 'gone_since'").fetchone()
            return 0 if found is None else int(found[0])

    def written_last(self) -> int:
        """Return when anything was written last (Unix ms, to a second below); 0: that is not known."""
        with self._reader() as reader:
            return reader.execute("select coalesce(max(start), 0) from clock").fetchone()[0]

    def written_before(self, ids: dict[Id, int]) -> list[Id]:
        """Return those of some documents that were written before a time of each (Unix ms), those there alone.

        Times are kept to a second: what was written in the same second counts as before.
        """
        with self._reader() as reader:
            rows = _rows_by_id(reader, list(ids))
            old = "select coalesce(max(entry), 0) from clock where start <= ?"
            return [key for key, row in rows.items() if row.entry <= reader.execute(old, (ids[key],)).fetchone()[0]]

    def metadata(self, slots: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return metadata by slot."""
        with self._reader() as reader:
            found = _in_parts(reader, "select slot, metadata from documents where slot in ({})", slots)
            return {slot: json.loads(text) if text else {} for slot, text in found}

    def texts(self, slots: Sequence[int]) -> dict[int, str]:
        """Return texts by slot, of those that have one."""
        with self._reader() as reader:
            return dict(_in_parts(reader, "select rowid, text from texts where rowid in ({})", slots))

    def all_rows(self) -> Iterator[Row]:
        """Yield every document, by slot."""
        with self._reader() as reader:
            for found in reader.execute("select slot, id, entry, sum, metadata from documents order by slot"):
                yield _row(found)

    def entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return slots and the entries that filled them, by slot."""
        with self._reader() as reader:
            found = reader.execute("select slot, entry from documents order by slot").fetchall()
        both = np.array(found, np.int64).reshape(-1, 2)
        return both[:, 0].copy(), both[:, 1].copy()

    def filled_by(self, entry: int) -> dict[Id, int]:
        """Return the slots that one entry filled and that are still of these documents, by id."""
        with self._reader() as reader:
            return dict(reader.execute("select id, slot from documents where entry = ?", (entry,)).fetchall())

    def matching(self, text: str, keep: Callable[[int], bool], count: int) -> list[tuple[int, float]]:
        """Return the slots and BM25 scores (larger is better) of the best texts, of those that are to be kept.

        Words are or-ed (Robertson and Zaragoza, The probabilistic relevance framework: BM25 and beyond, 2009).
        """
        words = " OR ".join(f'"{word}"' for word in dict.fromkeys(_WORD.findall(text)))
        if not words:
            return []
        best: list[tuple[int, float]] = []
        with self._reader() as reader:
            for slot, rank in reader.execute(
                "select rowid, rank from texts where texts match ? order by rank, rowid", (words,)
            ):
                if keep(slot):
                    best.append((slot, -rank))
                    if len(best) >= count:
                        break
        return best

    def copy(self, path: Path) -> None:
        """Copy the database as it is at one moment; writes go on."""
        with self._reader() as reader, self._named_errors():
            target = sqlite3.connect(path)
            try:
                reader.backup(target)
            finally:
                target.close()

    def problems(self) -> list[str]:
        """Check the whole database; return what is wrong."""
        with self._reader() as reader:
            return [text for (text,) in reader.execute("pragma integrity_check") if text != "ok"]

    def close(self) -> None:
        """Close all connections that nobody uses."""
        while not self._readers.empty():
            self._readers.get_nowait().close()
        self._writer.close()

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        with self._named_errors():
            try:
                reader = self._readers.get_nowait()
            except queue.Empty:
                reader = self._connected()
                reader.execute("pragma query_only=1")
            try:
                yield reader
            finally:
                self._readers.put(reader)

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("pragma cell_size_check=1")
        return connection

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error) or "disk I/O" in str(error):
                raise StoreFull(f"{self.path}: {error}; accepted: writes while the disk has room") from error
            if "malformed" in str(error) or "no such" in str(error):
                raise CorruptFile(self.path, 0, str(error), _SAVED) from error
            raise
        except (sqlite3.DatabaseError, json.JSONDecodeError, UnicodeDecodeError) as error:
            if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
                raise
            raise CorruptFile(self.path, 0, str(error), _SAVED) from error


def _rows_by_id(connection: sqlite3.Connection, ids: Sequence[Id]) -> dict[Id, Row]:
    statement = "select slot, id, entry, sum, metadata from documents where id in ({})"
    return {row.id: row for row in map(_row, _in_parts(connection, statement, ids))}


def _in_parts(connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> Iterator[tuple]:
    for start in range(0, len(values), _MANY):
        part = values[start : start + _MANY]
        yield from connection.execute(statement.format(",".join("?" * len(part))), part).fetchall()


def _row(found: tuple) -> Row:
    slot, key, entry, total, metadata = found
    return Row(slot, key, entry, total, json.loads(metadata) if metadata else {})
