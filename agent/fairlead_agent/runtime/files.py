"""Small files that survive a crash half way: written beside their place, then renamed into it."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` with mode 0600, so that a reader sees the old or the new text and nothing between."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(beside, path)


def tail_lines(path: Path, count: int, *, limit_bytes: int = 65536) -> list[str]:
    """The last ``count`` lines of a log, read from at most its last ``limit_bytes`` bytes; [] where there is none."""
    try:
        with open(path, "rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(0, size_bytes - limit_bytes))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    lines = text.splitlines()
    return lines[-count:] if count > 0 else []
