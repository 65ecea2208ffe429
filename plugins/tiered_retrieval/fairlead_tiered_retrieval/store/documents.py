"""What a document may be: an id, a vector, metadata and a text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BadDocument

Id = str | int
Scalar = str | int | float | bool
Metadata = Mapping[str, Scalar | list[Scalar]]
LONGEST_ID = 1024
LONGEST_NAME = 256
#: Above it, neighbouring whole numbers are one and the same as float64.
MOST_WHOLE = 1 << 53


def check_ids(ids: Sequence[Any]) -> list[Id]:
    """Return ids as plain values; raises BadDocument for one that is none, and for one that is given twice."""
    seen: dict[Id, int] = {}
    for row, given in enumerate(ids):
        key = _checked_id(given.item() if hasattr(given, "item") else given, row)
        if (before := seen.setdefault(key, row)) != row:
            raise BadDocument(f"ids: {key!r} is given twice, in rows {before} and {row}; accepted: each id once")
    return list(seen)


def check_metadata(metadata: Sequence[Metadata | None] | None, count: int, unset: bool = False) -> list[dict] | None:
    """Return metadata as plain dictionaries, without the fields that are None unless those are to be unset."""
    if metadata is None:
        return None
    _check_length("metadata", metadata, count)
    return [_checked_fields(fields or {}, row, unset) for row, fields in enumerate(metadata)]


def check_texts(texts: Sequence[str | None] | None, count: int) -> list[str | None] | None:
    """Return texts; raises BadDocument for what is no text, or cannot be written as UTF-8."""
    if texts is None:
        return None
    _check_length("texts", texts, count)
    for row, text in enumerate(texts):
        if text is not None and not (isinstance(text, str) and _writable(text)):
            raise BadDocument(f"texts: row {row} is {type(text).__name__}; accepted: text in UTF-8, or null")
    return list(texts)


def check_scalar(value: Any, where: str) -> Scalar:
    """Return one value of metadata or of a filter."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or (isinstance(value, str) and _writable(value)):
        return value
    if isinstance(value, int) and abs(value) <= MOST_WHOLE:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise BadDocument(f"{where} = {value!r:.80}; accepted: text, true or false, finite numbers, whole up to 2**53")


def _checked_id(key: Any, row: int) -> Id:
    if isinstance(key, int) and not isinstance(key, bool) and -(1 << 63) <= key < 1 << 63:
        return key
    if isinstance(key, str) and _writable(key) and 1 <= len(key.encode()) <= LONGEST_ID:
        return key
    raise BadDocument(
        f"ids: row {row} is {key!r:.80}; accepted: whole numbers of 64 bits, text of 1 to {LONGEST_ID} bytes in UTF-8"
    )


def _checked_fields(fields: Metadata, row: int, unset: bool) -> dict:
    if not isinstance(fields, Mapping):
        raise BadDocument(f"metadata: row {row} is {type(fields).__name__}; accepted: an object of fields")
    checked: dict[str, Any] = {}
    for name, value in fields.items():
        if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or name[0] == "$" or not _writable(name):
            raise BadDocument(f"metadata: row {row} has a field {name!r:.80}; accepted: names that begin without '$'")
        where = f"metadata: row {row}: {name}"
        if isinstance(value, (list, tuple)):
            checked[name] = [check_scalar(item, where) for item in value]
        elif value is not None:
            checked[name] = check_scalar(value, where)
        elif unset:
            checked[name] = None
    return checked


def _check_length(what: str, given: Sequence[Any], count: int) -> None:
    if isinstance(given, (str, Mapping)) or len(given) != count:
        raise BadDocument(f"{what}: {len(given)} entries for {count} ids; accepted: one for each id")


def _writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
