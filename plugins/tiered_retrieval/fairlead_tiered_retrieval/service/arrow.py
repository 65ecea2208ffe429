"""Apache Arrow IPC streams: documents and queries in, results out, without a copy through text.

A column `vector` is a (fixed-size) list of numbers, `id` a text or a whole number, `text` a text; `metadata` is JSON in
a text, and every other column is one field of the metadata.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ApiError, bad_field

CONTENT_TYPE = "application/vnd.apache.arrow.stream"
INSTALL = "pip install 'fairlead-tiered-retrieval[arrow]'"
_OWN = frozenset({"id", "vector", "text", "metadata"})


def installed() -> Any:
    """Return pyarrow.

    Raises:
        ApiError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise ApiError(501, f"pyarrow is not installed here: {INSTALL}; accepted: JSON", kind="no_arrow") from None
    return pyarrow


def read_table(body: bytes) -> Any:
    """Read a stream.

    Raises:
        ApiError: it is none.
    """
    pyarrow = installed()
    try:
        return pyarrow.ipc.open_stream(body).read_all()
    except pyarrow.ArrowInvalid as error:
        raise ApiError(400, f"body: no Arrow IPC stream ({error}); accepted: {CONTENT_TYPE}") from None


def upsert_fields(table: Any) -> dict[str, Any]:
    """Return a table's documents as the fields of an upsert."""
    if "id" not in table.column_names:
        raise bad_field("columns", table.column_names, "id, and vector or text")
    found: dict[str, Any] = {"ids": ids_of(table.column("id"))}
    if "vector" in table.column_names:
        found["vectors"] = vectors_of(table.column("vector"))
    if "text" in table.column_names:
        found["texts"] = table.column("text").to_pylist()
    metadata = _metadata(table)
    if metadata is not None:
        found["metadata"] = metadata
    return found


def query_fields(table: Any) -> dict[str, Any]:
    """Return a table's rows as the queries of a search."""
    found: dict[str, Any] = {}
    if "vector" in table.column_names:
        found["vectors"] = vectors_of(table.column("vector"))
    if "text" in table.column_names:
        found["texts"] = table.column("text").to_pylist()
    if not found:
        raise bad_field("columns", table.column_names, "vector or text")
    return found


def vectors_of(column: Any) -> NDArray:
    """Return a column of lists as an array [n, dim]."""
    pyarrow = installed()
    whole = column.combine_chunks()
    whole = whole.chunk(0) if isinstance(whole, pyarrow.ChunkedArray) else whole
    if not (pyarrow.types.is_fixed_size_list(whole.type) or pyarrow.types.is_list(whole.type)):
        raise bad_field("vector", str(whole.type), "a list of numbers in each row")
    if whole.null_count:
        raise bad_field("vector", "null", "a list of numbers in each row")
    values = whole.flatten()
    if values.null_count or len(whole) == 0 or len(values) % len(whole):
        raise bad_field("vector", f"{len(values)} numbers in {len(whole)} rows", "as many numbers in each row")
    if pyarrow.types.is_list(whole.type) and len(set(np.diff(whole.offsets.to_numpy()).tolist())) > 1:
        raise bad_field("vector", "rows of different length", "as many numbers in each row")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(whole), -1)


def vector_column(vectors: NDArray) -> Any:
    """Return an array [n, dim] as a column of fixed-size lists."""
    pyarrow = installed()
    values = pyarrow.array(np.ascontiguousarray(vectors).reshape(-1))
    return pyarrow.FixedSizeListArray.from_arrays(values, vectors.shape[1])


def write_table(columns: dict[str, Any], about: dict[str, str] | None = None) -> bytes:
    """Return columns as a stream; `about` goes into the schema's metadata."""
    pyarrow = installed()
    table = pyarrow.table(columns)
    if about:
        table = table.replace_schema_metadata(about)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def id_column(ids: Sequence[str | int]) -> Any:
    """Return ids as a column: of whole numbers, of texts, or where there are both as JSON (then a dictionary)."""
    pyarrow = installed()
    kinds = {type(each) for each in ids}
    if len(kinds) > 1:
        texts = [json.dumps(each) for each in ids]
        return pyarrow.DictionaryArray.from_arrays(np.arange(len(ids), dtype=np.int32), texts)
    return pyarrow.array(ids, pyarrow.int64() if kinds == {int} else pyarrow.string())


def ids_of(column: Any) -> list[str | int]:
    """Return what `id_column` wrote."""
    found = column.to_pylist()
    return [json.loads(each) for each in found] if installed().types.is_dictionary(column.type) else found


def json_column(rows: Sequence[Any]) -> Any:
    """Return objects as a column of JSON texts; None stays null."""
    texts = [None if row is None else json.dumps(row, ensure_ascii=False) for row in rows]
    return installed().array(texts, installed().string())


def _metadata(table: Any) -> list[dict[str, Any] | None] | None:
    names = [name for name in table.column_names if name not in _OWN]
    if "metadata" not in table.column_names and not names:
        return None
    rows = table.select(names).to_pylist() if names else [{} for _ in range(table.num_rows)]
    given = table.column("metadata").to_pylist() if "metadata" in table.column_names else [None] * table.num_rows
    return [{**_object(text), **_present(row)} for text, row in zip(given, rows, strict=True)]


def _present(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _object(text: Any) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text) if isinstance(text, str) else dict(text)
    except (TypeError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise bad_field("metadata", text, "an object in JSON")
    return value
