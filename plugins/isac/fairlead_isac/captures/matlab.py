"""Numeric arrays of MATLAB files, level 5 (MathWorks, MAT-File Format, R2019b)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .problems import BadCapture, content

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX = 0x0800
_MOST_BYTES = 1 << 28


def read_matlab(path: Path) -> dict[str, NDArray[np.generic]]:
    """Numeric variables of a file by name; cells, structures and text are left out.

    Raises:
        BadCapture: the file is of another level, cut off or damaged.
    """
    data = content(path)
    if data[:8] == b"\x89HDF\r\n\x1a\n" or b"MATLAB 7.3" in data[:20]:
        raise BadCapture(path, "format", "MATLAB 7.3 (HDF5)", "level 5 (save with -v7 or -v6)")
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise BadCapture(path, "header", repr(data[:16]), "a MATLAB level 5 file")
    order = "<" if data[126:128] == b"IM" else ">"
    found: dict[str, NDArray[np.generic]] = {}
    try:
        for kind, body in _elements(path, data[_HEADER:], order):
            found.update(_variables(path, kind, body, order))
    except (struct.error, ValueError, IndexError, zlib.error) as error:
        if isinstance(error, BadCapture):
            raise
        raise BadCapture(path, "element", error, "a whole MATLAB level 5 element") from error
    return found


def _variables(path: Path, kind: int, body: bytes, order: str) -> Iterator[tuple[str, NDArray[np.generic]]]:
    if kind == _COMPRESSED:
        unpacker = zlib.decompressobj()
        inner = unpacker.decompress(body, _MOST_BYTES)
        if not unpacker.eof:
            raise BadCapture(path, "compressed element", f"{len(body)} bytes", f"whole, at most {_MOST_BYTES} unpacked")
        for inner_kind, inner_body in _elements(path, inner, order):
            yield from _variables(path, inner_kind, inner_body, order)
    elif kind == _MATRIX:
        read = _matrix(path, body, order)
        if read is not None:
            yield read


def _elements(path: Path, data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each element in turn."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        begin = at + 8
        if kind >> 16:
            # Up to four bytes lie in the tag itself.
            kind, size, begin = kind & 0xFFFF, kind >> 16, at + 4
        if begin + size > len(data):
            raise BadCapture(path, f"element at byte {at}", f"{size} bytes", f"at most the {len(data) - begin} left")
        yield kind, data[begin : begin + size]
        end = at + 8 if begin == at + 4 else begin + size
        at = end if kind == _COMPRESSED else -(-end // 8) * 8


def _matrix(path: Path, body: bytes, order: str) -> tuple[str, NDArray[np.generic]] | None:
    parts = list(_elements(path, body, order))
    if len(parts) < 4:
        return None
    flags = struct.unpack_from(order + "I", parts[0][1])[0]
    shape = tuple(np.frombuffer(parts[1][1], order + "i4").tolist())
    name = parts[2][1].decode("ascii", "replace")
    kind = _CLASSES.get(flags & 0xFF)
    if kind is None:
        return None
    real = _numbers(path, name, parts[3], shape, order)
    if flags & _COMPLEX:
        if len(parts) < 5:
            raise BadCapture(path, name, "no imaginary part", "a whole complex array")
        return name, real + 1j * _numbers(path, name, parts[4], shape, order)
    return name, real.astype(kind)


def _numbers(path: Path, name: str, part: tuple[int, bytes], shape: tuple[int, ...], order: str) -> NDArray[np.generic]:
    kind, data = part
    if kind not in _TYPES:
        raise BadCapture(path, f"{name}.type", kind, f"one of {sorted(_TYPES)}")
    values = np.frombuffer(data, order + _TYPES[kind])
    if values.size != np.prod(shape, dtype=np.int64) or min(shape, default=0) < 0:
        raise BadCapture(path, name, f"{values.size} values for shape {list(shape)}", "as many as the shape says")
    return values.reshape(shape, order="F")
