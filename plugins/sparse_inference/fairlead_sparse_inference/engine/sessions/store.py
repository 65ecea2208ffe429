"""The sessions of one model in a directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Condition, Thread

from .session_file import DamagedSession, Session, read_session, write_session

SUFFIX = ".session"
_CLOSE_S = 10.0


class SessionStore:
    """Writes sessions in a thread of its own, so that nobody waits for the disk; reads them in the caller's.

    Of a session that changes while it waits only the last state is written; its keys and values are fetched when its
    turn comes, so that only one session's are in memory twice. What cannot be read or written is told to
    `warn(event, **values)` and costs nothing but the time to compute it again.
    """

    def __init__(self, directory: Path, fingerprint: str, *, limit_bytes: int, warn: Callable[..., object]) -> None:
        """Begin; the directory is made where it is missing. Raises OSError where it cannot be."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.limit_bytes = directory, limit_bytes
        self.saved = self.failed = self.ignored = self.recalled_tokens = 0
        self._fingerprint, self._warn = fingerprint, warn
        self._changed = Condition()
        self._waiting: dict[str, Callable[[], Session | None]] = {}
        self._writing = self._closed = False
        self._thread = Thread(target=self._run, name="sessions", daemon=True)
        self._thread.start()

    def load(self, name: str) -> Session | None:
        """Return a session, or None where there is none that can be used."""
        try:
            return read_session(self._path(name), self._fingerprint)
        except FileNotFoundError:
            return None
        except DamagedSession as error:
            self.ignore(str(error))
            return None

    def ignore(self, reason: str) -> None:
        """Say why a session is not used; it is written over when its request ends."""
        self.ignored += 1
        self._warn("session ignored, it is computed again", reason=reason)

    def save(self, name: str, fetch: Callable[[], Session | None]) -> None:
        """Have a session written soon; `fetch` is called in the writing thread; None is nothing to write."""
        with self._changed:
            # At the end: the last to be asked for is the last to be written.
            self._waiting.pop(name, None)
            self._waiting[name] = fetch
            self._changed.notify_all()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until everything is written; false when time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._writing), timeout_s)

    def close(self) -> None:
        """Write what waits, and end the thread; a disk that hangs is not waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}{SUFFIX}"

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                name = next(iter(self._waiting))
                fetch, self._writing = self._waiting.pop(name), True
            try:
                session = fetch()
                if session is not None:
                    self._write(name, session)
            except Exception as error:
                # The thread goes on whatever it is: who flushes waits for it.
                self.failed += 1
                trace = None if isinstance(error, OSError) else error
                self._warn("session not saved, generation goes on", session=name, reason=str(error), exc_info=trace)

    def _write(self, name: str, session: Session) -> None:
        if session.bytes > self.limit_bytes:
            self._warn("session not saved", session=name, bytes=session.bytes, limit_bytes=self.limit_bytes)
            return
        self._make_room(session.bytes, self._path(name))
        write_session(self._path(name), session, self._fingerprint)
        self.saved += 1

    def _make_room(self, wanted: int, own: Path) -> None:
        """Remove the sessions that were saved longest ago, until a new one fits within the limit."""
        files = [(file.stat(), file) for file in self.directory.glob(f"*{SUFFIX}") if file != own]
        held = sum(stat.st_size for stat, _ in files)
        for stat, file in sorted(files, key=lambda pair: pair[0].st_mtime_ns):
            if held + wanted <= self.limit_bytes:
                return
            file.unlink(missing_ok=True)
            held -= stat.st_size
