"""Keys and values on disk, so that a conversation goes on after a restart without being computed again."""

from .keeper import SessionKeeper
from .session_file import DamagedSession, Session, read_session, write_session
from .store import SessionStore

__all__ = ["DamagedSession", "Session", "SessionKeeper", "SessionStore", "read_session", "write_session"]
