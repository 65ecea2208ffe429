"""Reads one safetensors file through a memory map; nothing but the header is read until a tensor is asked for.

The library's own NumPy loader has no bfloat16, and gives no view of the mapped bytes, so the header is read here.
Format: eight bytes of header length (little-endian), a JSON header, the data.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .errors import CheckpointError, one_of, shown
from .narrowing import as_list, as_object
from .tensor_entry import TensorEntry

# The format's own limit (the reference implementation refuses more).
_LONGEST_HEADER_BYTES = 100_000_000
_TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


class SafetensorsFile:
    """The tensors of one safetensors file, by name. Raises CheckpointError for a damaged file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = map_file(path)
        self._base, header = self._read_header()
        self.entries: Mapping[str, TensorEntry] = {
            name: self._entry(name, value) for name, value in header.items() if name != "__metadata__"
        }
        self._refuse_overlaps()

    def raw(self, name: str) -> NDArray[Any]:
        """Return a read-only view [shape] in the stored type; bfloat16 as uint16 bit patterns."""
        entry = self.entries[name]
        stored = self._data[entry.start : entry.end].view(_TYPES[entry.dtype])
        return stored.reshape(entry.shape)

    def float32(self, name: str, rows: slice | None = None) -> NDArray[np.float32]:
        """Return a floating-point tensor as float32: a view where it is stored so, else a copy.

        `rows` asks for some rows [rows, columns] of the tensor, taken as a matrix.
        """
        entry, stored = self.entries[name], self.raw(name)
        if rows is not None:
            stored = stored.reshape(-1, entry.shape[-1])[rows]
        if entry.dtype == "BF16":
            return widen_bfloat16(stored)
        if entry.dtype not in ("F64", "F32", "F16"):
            raise CheckpointError(self.path, f"is {entry.dtype}; accepted: BF16, F16, F32, F64", name)
        # A header of odd length leaves the data misaligned, which native kernels do not take.
        return np.require(stored, dtype=np.float32, requirements=["C", "A"])

    def _read_header(self) -> tuple[int, dict[str, Any]]:
        if self._data.size < 8:
            raise CheckpointError(self.path, f"is {self._data.size} bytes long: no room for a safetensors header")
        length = int.from_bytes(self._data[:8].tobytes(), "little")
        room = self._data.size - 8
        if length > min(room, _LONGEST_HEADER_BYTES):
            raise CheckpointError(self.path, f"header length {length} exceeds {min(room, _LONGEST_HEADER_BYTES)} bytes")
        return 8 + length, self._parse(self._data[8 : 8 + length].tobytes())

    def _parse(self, text: bytes) -> dict[str, Any]:
        try:
            header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(self.path, f"header is not JSON: {error}") from error
        if not isinstance(header, dict):
            raise CheckpointError(self.path, "header must be a JSON object")
        return cast("dict[str, Any]", header)

    def _entry(self, name: str, value: Any) -> TensorEntry:
        fields = as_object(value) or {}
        dtype: Any = fields.get("dtype")
        shape: Any = fields.get("shape")
        offsets: Any = fields.get("data_offsets")
        if not isinstance(dtype, str) or dtype not in _TYPES:
            raise CheckpointError(self.path, f"dtype {shown(dtype)}; accepted: {one_of(_TYPES)}", name)
        if not _naturals(shape) or len(shape) > 8:
            raise CheckpointError(self.path, f"shape {shown(shape)}; accepted: a list of at most 8 sizes", name)
        if not _naturals(offsets) or len(offsets) != 2:
            raise CheckpointError(self.path, f"data_offsets {shown(offsets)}; accepted: [start, end]", name)
        start, end = self._base + offsets[0], self._base + offsets[1]
        if not start <= end <= self._data.size:
            raise CheckpointError(self.path, f"bytes {shown(offsets)} lie outside the file: truncated?", name)
        if end - start != prod(shape) * _TYPES[dtype].itemsize:
            raise CheckpointError(self.path, f"shape {shape} of {dtype} does not fill {end - start} bytes", name)
        return TensorEntry(name, dtype, tuple(shape), start, end)

    def _refuse_overlaps(self) -> None:
        filled = sorted((e for e in self.entries.values() if e.end > e.start), key=lambda entry: entry.start)
        for before, after in itertools.pairwise(filled):
            if after.start < before.end:
                raise CheckpointError(self.path, f"its bytes overlap those of {before.name}", after.name)


def map_file(path: Path) -> NDArray[np.uint8]:
    """Map a file read-only as bytes; raises CheckpointError."""
    try:
        if path.stat().st_size == 0:
            raise CheckpointError(path, "is empty")
        return np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    except FileNotFoundError:
        raise CheckpointError(path, "no such file") from None
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror}") from error


def widen_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return bfloat16 bit patterns as float32: they are its upper sixteen bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"{key!r} appears twice")
        result[key] = value
    return result


def _naturals(value: Any) -> bool:
    sizes = as_list(value)
    return sizes is not None and all(type(size) is int and size >= 0 for size in sizes)
