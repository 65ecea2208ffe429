"""The file of one session: a safetensors file with a checksum, replaced as a whole or not at all."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...whole_file import whole_file

FORMAT = "fairlead-session-1"

Arrays = Mapping[str, NDArray[Any]]


class DamagedSession(Exception):
    """A session's file cannot be used: names the file and what is wrong with it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True, eq=False, slots=True)
class Session:
    """Tokens, and what is computed of them: arrays [layers, tokens, ...] by name."""

    tokens: list[int]
    arrays: Arrays

    @property
    def bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())


def write_session(path: Path, session: Session, fingerprint: str) -> None:
    """Write a session; a file that was there is replaced once the new one is whole. Raises OSError."""
    arrays = {name: np.ascontiguousarray(array) for name, array in session.arrays.items()}
    metadata = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "tokens": json.dumps(session.tokens),
        "crc32": str(_checksum(session.tokens, arrays)),
    }
    with whole_file(path) as file:
        save_file(arrays, file, metadata)


def read_session(path: Path, fingerprint: str) -> Session:
    """Read a session.

    Raises:
        DamagedSession: the file is damaged, or belongs to another model.
        FileNotFoundError: there is none.
    """
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise DamagedSession(path, f"is not a safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise DamagedSession(path, f"format = {metadata.get('format')!r}: accepted: {FORMAT}")
    if metadata.get("fingerprint") != fingerprint:
        raise DamagedSession(path, "was written with another model")
    return Session(_tokens(path, metadata, arrays), arrays)


def _tokens(path: Path, metadata: Mapping[str, str], arrays: Arrays) -> list[int]:
    try:
        tokens = [int(token) for token in json.loads(metadata["tokens"])]
        expected = int(metadata["crc32"])
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedSession(path, f"its tokens or its checksum cannot be read: {error}") from error
    if _checksum(tokens, arrays) != expected:
        raise DamagedSession(path, "the checksum does not fit what it holds")
    if not arrays or any(array.ndim < 2 or array.shape[1] != len(tokens) for array in arrays.values()):
        raise DamagedSession(path, f"its arrays do not hold {len(tokens)} tokens")
    return tokens


def _checksum(tokens: list[int], arrays: Arrays) -> int:
    checksum = zlib.crc32(json.dumps(tokens).encode())
    for name in sorted(arrays):
        described = f"{name}:{arrays[name].dtype.str}:{arrays[name].shape}"
        checksum = zlib.crc32(arrays[name].tobytes(), zlib.crc32(described.encode(), checksum))
    return checksum
