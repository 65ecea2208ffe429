"""Files with vectors or texts, read piece by piece: .npy, .fvecs, .bvecs, .ivecs, .parquet, .jsonl, and plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import TieredRetrievalError
from ..service import arrow

#: Documents at once.
BATCH = 1000
TEXT_SUFFIXES = (".txt", ".md", ".text")
_VECS = {".fvecs": ("<f4", 4), ".ivecs": ("<i4", 4), ".bvecs": ("u1", 1)}
_PARAGRAPHS = re.compile(r"\n\s*\n")


class BadFile(TieredRetrievalError):
    """A file that cannot be read: names it, the place and what is accepted."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some documents. Where there are no vectors, they are made of the texts."""

    ids: list[str | int]
    vectors: NDArray | None = None
    texts: list[str | None] | None = None
    metadata: list[dict[str, Any] | None] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What a file holds.

    Attributes:
        count: documents; None: not known before they are read.
        dim: of its vectors; None: it has none.
        element: of its vectors.
        batches: reads it.
    """

    count: int | None
    dim: int | None
    element: str | None
    batches: Callable[[], Iterator[Batch]] = field(repr=False)


def open_source(path: Path, *, words: int = 100, lines: bool = False, prefix: str | None = None) -> Source:
    """Look at a file.

    Args:
        path: of the file; its ending says what it is.
        words: of a passage of plain text, at most.
        lines: plain text has a document in each line.
        prefix: of the ids of documents that have none in the file; default: whole numbers for vectors, the file's name
            for texts.

    Raises:
        BadFile: it cannot be read.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise BadFile(f"{path}: no such file")
    if suffix == ".npy":
        return _npy(path, prefix)
    if suffix in _VECS:
        return _vecs(path, prefix)
    if suffix == ".parquet":
        return _parquet(path, prefix)
    if suffix in (".jsonl", ".ndjson"):
        return Source(None, *_jsonl_space(path), lambda: _jsonl(path, prefix))
    if suffix in TEXT_SUFFIXES:
        passages = _passages(path, words, lines)
        return Source(len(passages), None, None, lambda: _texts(path, passages, prefix))
    accepted = ", ".join((".npy", *_VECS, ".parquet", ".jsonl", *TEXT_SUFFIXES))
    raise BadFile(f"{path}: ending {suffix or 'missing'}; accepted: {accepted}")


def read_queries(path: Path) -> NDArray:
    """Return all vectors of a file [n, dim]."""
    source = open_source(path)
    rows = [batch.vectors for batch in source.batches()]
    if not rows or any(row is None for row in rows):
        raise BadFile(f"{path}: it has no vectors; accepted: .npy, .fvecs, .parquet or .jsonl with a column vector")
    return np.concatenate(rows)  # type: ignore[arg-type]


def _npy(path: Path, prefix: str | None) -> Source:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: {error}; accepted: an array [n, dim] of numbers") from None
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        raise BadFile(f"{path}: shape {rows.shape} of {rows.dtype}; accepted: an array [n, dim] of numbers")
    return _array_source(rows, prefix)


def _vecs(path: Path, prefix: str | None) -> Source:
    """Each row: dim as int32, then dim numbers (corpus-texmex.irisa.fr)."""
    dtype, size = _VECS[path.suffix.lower()]
    raw = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
    dim = int(raw[:4].view("<i4")[0]) if len(raw) >= 4 else 0
    width = 4 + dim * size
    if not 0 < dim <= 65_536 or len(raw) % width:
        raise BadFile(f"{path}: {len(raw)} bytes in rows of {dim} numbers; accepted: rows of int32 dim and dim numbers")
    rows = raw.reshape(-1, width)
    wrong = np.flatnonzero(np.ascontiguousarray(rows[:, :4]).view("<i4")[:, 0] != dim)
    if len(wrong):
        raise BadFile(f"{path}: row {wrong[0]} is of another dimension; accepted: {dim}, as row 0")
    return _array_source(rows[:, 4:], prefix, np.dtype(dtype), dim)


def _array_source(rows: NDArray, prefix: str | None, dtype: np.dtype | None = None, dim: int | None = None) -> Source:
    kind = dtype or rows.dtype

    def batches() -> Iterator[Batch]:
        for start in range(0, len(rows), BATCH):
            part = np.ascontiguousarray(rows[start : start + BATCH])
            part = part if dtype is None else part.view(dtype)
            yield Batch(_numbered(range(start, start + len(part)), prefix), _plain(part))

    return Source(len(rows), dim or rows.shape[1], _element(kind), batches)


def _parquet(path: Path, prefix: str | None) -> Source:
    arrow.installed()
    from pyarrow import ArrowInvalid, parquet

    try:
        file = parquet.ParquetFile(path)
    except (ArrowInvalid, OSError) as error:
        raise BadFile(f"{path}: {error}; accepted: a Parquet file") from None
    names = file.schema_arrow.names
    vector, text = (_column(names, wanted) for wanted in (_VECTOR_NAMES, _TEXT_NAMES))
    if vector is None and text is None:
        raise BadFile(f"{path}: columns {', '.join(names)}; accepted: {_VECTOR_NAMES[0]} or {_TEXT_NAMES[0]}, and id")
    first = next(file.iter_batches(1), None)
    rows = None if first is None or vector is None else arrow.vectors_of(_chunked(first, vector))
    space = (None, None) if rows is None else (rows.shape[1], _element(rows.dtype))
    return Source(file.metadata.num_rows, *space, lambda: _parquet_batches(file, vector, text, prefix))


_VECTOR_NAMES = ("vector", "embedding", "emb", "vec")
_TEXT_NAMES = ("text", "document", "passage", "content")


def _column(names: list[str], wanted: tuple[str, ...]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _chunked(batch: Any, name: str) -> Any:
    return arrow.installed().table(batch).column(name)


def _parquet_batches(file: Any, vector: str | None, text: str | None, prefix: str | None) -> Iterator[Batch]:
    start = 0
    for part in file.iter_batches(BATCH):
        names = part.schema.names
        ids = part.column("id").to_pylist() if "id" in names else _numbered(range(start, start + len(part)), prefix)
        rest = [name for name in names if name not in ("id", vector, text)]
        start += len(part)
        yield Batch(
            ids,
            None if vector is None else _plain(arrow.vectors_of(_chunked(part, vector))),
            None if text is None else part.column(text).to_pylist(),
            part.select(rest).to_pylist() if rest else None,
        )


def _jsonl_space(path: Path) -> tuple[int | None, str | None]:
    first = next(iter(_objects(path)), (0, {}))[1]
    vector = first.get("vector")
    return (len(vector), "float32") if isinstance(vector, list) else (None, None)


def _jsonl(path: Path, prefix: str | None) -> Iterator[Batch]:
    """A line is {"id", "vector", "text", "metadata"}; other fields are metadata too."""
    pending: list[tuple[int, dict[str, Any]]] = []
    for row in _objects(path):
        pending.append(row)
        if len(pending) == BATCH:
            yield _jsonl_batch(path, pending, prefix)
            pending = []
    if pending:
        yield _jsonl_batch(path, pending, prefix)


def _jsonl_batch(path: Path, rows: list[tuple[int, dict[str, Any]]], prefix: str | None) -> Batch:
    ids = [row.get("id", _number(number - 1, prefix)) for number, row in rows]
    vectors = [row.get("vector") for _, row in rows]
    texts = [row.get("text") for _, row in rows]
    rest = [{**row.get("metadata", {}), **{name: row[name] for name in row.keys() - _JSONL}} for _, row in rows]
    there = [vector is not None for vector in vectors]
    if any(there) and not all(there):
        raise BadFile(f"{path}: line {rows[there.index(False)][0]} has no vector; accepted: one in each line, or none")
    try:
        made = np.array(vectors, np.float32) if all(there) else None
    except (TypeError, ValueError):
        raise BadFile(f"{path}: vectors in lines {rows[0][0]} to {rows[-1][0]} differ in length") from None
    if made is None and any(text is None for text in texts):
        raise BadFile(f"{path}: line {rows[texts.index(None)][0]} has neither vector nor text; accepted: one of them")
    return Batch(ids, made, texts if any(text is not None for text in texts) else None, rest if any(rest) else None)


_JSONL = frozenset({"id", "vector", "text", "metadata"})


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise BadFile(f"{path}: line {number}: {error}; accepted: one object in JSON a line") from None
            if not isinstance(row, dict):
                raise BadFile(f"{path}: line {number} is {type(row).__name__}; accepted: one object in JSON a line")
            yield number, row


def _passages(path: Path, words: int, lines: bool) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadFile(f"{path}: byte {error.start} is no UTF-8; accepted: text in UTF-8") from None
    if lines:
        return [line.strip() for line in text.splitlines() if line.strip()]
    return list(_packed(_PARAGRAPHS.split(text), words))


def _packed(paragraphs: list[str], words: int) -> Iterator[str]:
    """Paragraphs of up to `words` words: short neighbours together, long ones cut."""
    held: list[str] = []
    for paragraph in paragraphs:
        found = paragraph.split()
        if held and len(held) + len(found) > words:
            yield " ".join(held)
            held = []
        held += found
        while len(held) > words:
            yield " ".join(held[:words])
            held = held[words:]
    if held:
        yield " ".join(held)


def _texts(path: Path, passages: list[str], prefix: str | None) -> Iterator[Batch]:
    name = prefix or path.stem
    for start in range(0, len(passages), BATCH):
        part: list[str | None] = [*passages[start : start + BATCH]]
        numbers = range(start, start + len(part))
        ids: list[str | int] = [f"{name}:{number}" for number in numbers]
        yield Batch(ids, None, part, [{"source": path.name, "passage": number} for number in numbers])


def _numbered(numbers: range, prefix: str | None) -> list[str | int]:
    return [_number(number, prefix) for number in numbers]


def _number(number: int, prefix: str | None) -> str | int:
    return number if prefix is None else f"{prefix}:{number}"


def _element(dtype: np.dtype) -> str:
    """What a collection made for such numbers holds; wider ones are narrowed to float32."""
    names = {"f2": "float16", "u1": "uint8", "i1": "int8"}
    return names.get(np.dtype(dtype).str[1:], "float32")


def _plain(rows: NDArray) -> NDArray:
    return rows if _element(rows.dtype) != "float32" else rows.astype(np.float32, copy=False)
