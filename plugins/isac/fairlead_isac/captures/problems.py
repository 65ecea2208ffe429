"""What is wrong with a file, in one shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import IsacError, NotFound


class BadCapture(IsacError):
    """A file that is no capture, or a damaged one: the message names file, field, value and what is accepted."""

    def __init__(self, path: Path, field: str, value: Any, accepted: str) -> None:
        super().__init__(f"{path}: {field} = {value}; accepted: {accepted}")
        self.path, self.field = path, field


def content(path: Path, most_bytes: int = 1 << 30) -> bytes:
    """Bytes of a file.

    Raises:
        NotFound: there is no such file.
        BadCapture: it cannot be read, is empty or is larger than ``most_bytes``.
    """
    try:
        size = path.stat().st_size
        if not 0 < size <= most_bytes:
            raise BadCapture(path, "size", f"{size} bytes", f"1 to {most_bytes} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file; accepted: a recorded capture") from None
    except OSError as error:
        raise BadCapture(path, "file", error.strerror or str(error), "a file that can be read") from error
