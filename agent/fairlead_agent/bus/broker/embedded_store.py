"""What the embedded broker remembers over a restart: retained state, persistent sessions and their queues."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS retained (topic TEXT PRIMARY KEY, payload BLOB NOT NULL, qos INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS subscription (client TEXT, pattern TEXT, qos INTEGER, PRIMARY KEY (client, pattern));
CREATE TABLE IF NOT EXISTS queue (
    number INTEGER PRIMARY KEY AUTOINCREMENT, client TEXT NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS queue_client ON queue (client, number);
"""


@dataclass(slots=True)
class Queued:
    """A message for one client. ``number`` is its row while it must survive, ``sent`` that it went out before."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    number: int | None = None
    sent: bool = False


class EmbeddedStore:
    """An SQLite file. It survives the death of the process, not that of the machine: nothing waits for the disk."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(SCHEMA)

    def retain(self, topic: str, payload: bytes, qos: int) -> None:
        """Keep a topic's state; an empty payload clears it."""
        if payload:
            self._database.execute("INSERT OR REPLACE INTO retained VALUES (?, ?, ?)", (topic, payload, qos))
        else:
            self._database.execute("DELETE FROM retained WHERE topic = ?", (topic,))

    def retained(self) -> Iterator[Queued]:
        """All state."""
        for topic, payload, qos in self._database.execute("SELECT topic, payload, qos FROM retained ORDER BY rowid"):
            yield Queued(topic, payload, qos, retain=True)

    def subscribe(self, client: str, pattern: str, qos: int) -> None:
        """A persistent client has subscribed."""
        self._database.execute("INSERT OR REPLACE INTO subscription VALUES (?, ?, ?)", (client, pattern, qos))

    def unsubscribe(self, client: str, pattern: str) -> None:
        """A persistent client has unsubscribed."""
        self._database.execute("DELETE FROM subscription WHERE client = ? AND pattern = ?", (client, pattern))

    def subscriptions(self) -> list[tuple[str, str, int]]:
        """(client, pattern, qos) of all persistent clients."""
        return list(self._database.execute("SELECT client, pattern, qos FROM subscription ORDER BY rowid"))

    def enqueue(self, client: str, message: Queued) -> None:
        """Keep ``message`` until :meth:`acknowledged`."""
        row = (client, message.topic, message.payload)
        cursor = self._database.execute("INSERT INTO queue (client, topic, payload) VALUES (?, ?, ?)", row)
        message.number = cursor.lastrowid

    def acknowledged(self, message: Queued) -> None:
        """The client has it."""
        if message.number is not None:
            self._database.execute("DELETE FROM queue WHERE number = ?", (message.number,))

    def queued(self, client: str) -> list[Queued]:
        """What a client has not acknowledged, in order."""
        rows = self._database.execute(
            "SELECT topic, payload, number FROM queue WHERE client = ? ORDER BY number", (client,)
        )
        return [Queued(topic, payload, 1, False, number, True) for topic, payload, number in rows]

    def forget(self, client: str) -> None:
        """The client's session is over."""
        self._database.execute("DELETE FROM subscription WHERE client = ?", (client,))
        self._database.execute("DELETE FROM queue WHERE client = ?", (client,))

    def close(self) -> None:
        """Close the file."""
        self._database.close()
