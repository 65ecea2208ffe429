"""What can go wrong here, by name."""

from __future__ import annotations

from pathlib import Path


class TieredRetrievalError(ValueError):
    """Base of this plugin's errors: the message names the field, the value and what is accepted."""


class BadVectors(TieredRetrievalError):
    """Vectors that cannot be kept or compared."""


class BadFilter(TieredRetrievalError):
    """A filter that says nothing that can be answered."""


class BadDocument(TieredRetrievalError):
    """An id, metadata or a text that cannot be kept."""


class NotFound(TieredRetrievalError, KeyError):
    """A collection, a document or a snapshot that is not there."""

    def __str__(self) -> str:
        return str(self.args[0])


class BudgetExceeded(TieredRetrievalError):
    """Memory that is asked for and that the budget does not leave; nothing was changed.

    Attributes:
        needed: bytes in all, with what is asked for.
        budget: bytes that there may be.
    """

    def __init__(self, what: str, needed: int, budget: int) -> None:
        super().__init__(f"{what} needs {needed} bytes of memory in all; accepted: at most {budget} (memory_bytes)")
        self.needed, self.budget = needed, budget


class StoreFull(TieredRetrievalError):
    """The disk has no room: the write did not happen, searches go on."""


class StoreClosed(TieredRetrievalError):
    """A collection was closed, or its writer has stopped on an error that it cannot undo."""


class CorruptFile(TieredRetrievalError):
    """A file is not what was written.

    Attributes:
        path: of the file.
        offset: in bytes, where the damage begins.
        saved: what can be saved, in words.
    """

    def __init__(self, path: Path, offset: int, problem: str, saved: str) -> None:
        super().__init__(f"{path}: damaged at byte {offset}: {problem}; {saved}")
        self.path, self.offset, self.saved = path, offset, saved
