"""Changes of a collection, and their form in the log."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..space import Space
from .documents import Id
from .filters import Filter, parse_filter, to_json

_HEAD = struct.Struct("<cI")


@dataclass(frozen=True, slots=True, eq=False)
class Upsert:
    """Documents as they are to be: others of these ids are replaced.

    Attributes:
        ids: each once.
        vectors: [ids, columns].
        metadata: of each; None: none has any.
        texts: of each; None: none has one.
        at: when it was asked for, in milliseconds of Unix time; 0: not known. So of all operations.
    """

    ids: list[Id]
    vectors: NDArray
    metadata: list[dict] | None = None
    texts: list[str | None] | None = None
    at: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """Parts of documents that are there: fields are set, or unset where they are None; other parts stay.

    Attributes:
        ids: each once.
        vectors: [ids, columns]; None: they stay.
        metadata: fields of each; None: they stay.
        texts: of each; None, for all or for one: it stays.
    """

    ids: list[Id]
    vectors: NDArray | None = None
    metadata: list[dict] | None = None
    texts: list[str | None] | None = None
    at: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Documents that are to be there no more, by id or by a filter."""

    ids: list[Id] | None = None
    where: Filter | None = None
    at: int = 0


Operation = Upsert | Update | Delete


def encode(operation: Operation) -> bytes:
    """Return an operation as bytes."""
    vectors = b""
    if isinstance(operation, Delete):
        kind = b"D"
        body: dict[str, Any] = {"ids": operation.ids}
        if operation.where is not None:
            body["where"] = to_json(operation.where)
    else:
        kind = b"U" if isinstance(operation, Upsert) else b"P"
        body = {"ids": operation.ids, "metadata": operation.metadata, "texts": operation.texts}
        if operation.vectors is not None:
            vectors = operation.vectors.tobytes()
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    body["at"] = operation.at
    return _HEAD.pack(kind, len(text)) + text + vectors


def decode(entry: bytes, space: Space) -> Operation:
    """Read an operation; raises ValueError where it is none of the space."""
    try:
        kind, length = _HEAD.unpack_from(entry)
        body = json.loads(entry[_HEAD.size : _HEAD.size + length])
        at = int(body.get("at", 0))
        if kind == b"D":
            return Delete(body["ids"], parse_filter(body.get("where")), at)
        rest = entry[_HEAD.size + length :]
        count = len(body["ids"])
        vectors = np.frombuffer(rest, space.dtype).reshape(count, space.columns) if rest else None
        if kind == b"P":
            return Update(body["ids"], vectors, body["metadata"], body["texts"], at)
        if kind != b"U" or vectors is None:
            raise ValueError(f"kind {kind!r}")
        return Upsert(body["ids"], vectors, body["metadata"], body["texts"], at)
    except (KeyError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"an entry of {len(entry)} bytes is no operation: {error}") from error
