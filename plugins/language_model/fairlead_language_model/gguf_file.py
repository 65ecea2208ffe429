"""Reads one GGUF file (versions 2 and 3, little-endian) through a memory map.

The `gguf` package's reader walks an array element by element without a bound, so that a forged length makes it run
for ever; the header is therefore read here, with every length checked first. The package dequantizes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import CheckpointError, shown
from .safetensors_file import map_file
from .tensor_entry import TensorEntry

_SCALARS: dict[int, np.dtype[Any]] = {
    0: np.dtype("u1"),
    1: np.dtype("i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    7: np.dtype("?"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
_MAGIC, _POWERINFER_MAGIC = b"GGUF", b"PWRI"
_ALL = slice(None)
_STRING, _ARRAY = 8, 9
_DEFAULT_ALIGNMENT = 32
# A key or name, a type and a value take at least this many bytes, which bounds the counts in the header.
_SMALLEST_RECORD_BYTES = 13


class GgufFile:
    """Metadata and tensors of one GGUF file. Raises CheckpointError for a damaged file.

    `metadata` maps keys to Python numbers and strings, and to lists of either. `powerinfer` tells PowerInfer's files of
    sparse models, which differ in their first four bytes, from others.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = map_file(path)
        self._at = 0
        tensors, keys = self._counts()
        self.metadata: Mapping[str, Any] = self._read_metadata(keys)
        records = [self._tensor_record() for _ in range(tensors)]
        self._base = self._align(self._at)
        self.entries: Mapping[str, TensorEntry] = self._locate(records)

    def raw(self, name: str) -> NDArray[np.uint8]:
        """Return a tensor's stored bytes as rows [rows, bytes of a row]."""
        entry = self.entries[name]
        rows = prod(entry.shape[:-1])
        return self._data[entry.start : entry.end].reshape(rows, -1)

    def float32(self, name: str, rows: slice = _ALL) -> NDArray[np.float32]:
        """Return rows of a tensor as float32 [rows, columns], dequantized: a view where it is stored so."""
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import dequantize

        entry = self.entries[name]
        try:
            values = dequantize(self.raw(name)[rows], GGMLQuantizationType[entry.dtype])
        except NotImplementedError as error:
            raise CheckpointError(self.path, f"type {entry.dtype} cannot be dequantized", name) from error
        return np.require(values, dtype=np.float32, requirements=["C", "A"])

    def _counts(self) -> tuple[int, int]:
        magic = self._take(4)
        if magic not in (_MAGIC, _POWERINFER_MAGIC):
            raise CheckpointError(self.path, "is not a GGUF file (its first four bytes differ)")
        self.powerinfer = magic == _POWERINFER_MAGIC
        version = self._number(4)
        if version not in (2, 3):
            raise CheckpointError(self.path, f"GGUF version {version}; accepted: 2, 3 (little-endian)")
        tensors, keys = self._number(8), self._number(8)
        room = (self._data.size - self._at) // _SMALLEST_RECORD_BYTES
        if tensors + keys > room:
            raise CheckpointError(self.path, f"{tensors} tensors and {keys} keys do not fit into the file")
        return tensors, keys

    def _read_metadata(self, keys: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = self._string("a key")
            if key in metadata:
                raise CheckpointError(self.path, f"key {shown(key)} appears twice")
            metadata[key] = self._value(self._number(4), key)
        return metadata

    def _value(self, kind: int, key: str) -> Any:
        if kind in _SCALARS:
            return np.frombuffer(self._take(_SCALARS[kind].itemsize), _SCALARS[kind])[0].item()
        if kind == _STRING:
            return self._string(key)
        if kind != _ARRAY:
            raise CheckpointError(self.path, f"key {shown(key)} has the unknown value type {kind}")
        return self._array(key)

    def _array(self, key: str) -> Any:
        kind, length = self._number(4), self._number(8)
        if kind in _SCALARS:
            dtype = _SCALARS[kind]
            return np.frombuffer(self._take(length * dtype.itemsize), dtype).tolist()
        if kind != _STRING:
            raise CheckpointError(self.path, f"key {shown(key)} is an array of the unsupported type {kind}")
        if length > (self._data.size - self._at) // 8:
            raise CheckpointError(self.path, f"key {shown(key)}: {length} strings do not fit into the file")
        return [self._string(key) for _ in range(length)]

    def _tensor_record(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string("a tensor's name")
        dimensions = self._number(4)
        if not 1 <= dimensions <= 4:
            raise CheckpointError(self.path, f"has {dimensions} dimensions; accepted: 1 to 4", name)
        # GGUF names the contiguous dimension first.
        shape = tuple(self._number(8) for _ in range(dimensions))[::-1]
        return name, shape, self._number(4), self._number(8)

    def _locate(self, records: list[tuple[str, tuple[int, ...], int, int]]) -> dict[str, TensorEntry]:
        entries: dict[str, TensorEntry] = {}
        size_of = _type_sizes()
        for name, shape, kind, offset in records:
            if name in entries:
                raise CheckpointError(self.path, "appears twice", name)
            dtype, size_bytes = self._measure(name, shape, kind, size_of)
            start = self._base + offset
            if start + size_bytes > self._data.size:
                raise CheckpointError(self.path, "lies outside the file: truncated?", name)
            entries[name] = TensorEntry(name, dtype, shape, start, start + size_bytes)
        return entries

    def _measure(
        self, name: str, shape: tuple[int, ...], kind: int, size_of: Callable[[int], tuple[str, int, int] | None]
    ) -> tuple[str, int]:
        known = size_of(kind)
        if known is None:
            raise CheckpointError(self.path, f"has the unknown type {kind}", name)
        dtype, block, block_bytes = known
        if 0 in shape or shape[-1] % block:
            raise CheckpointError(self.path, f"shape {shape}: rows must be multiples of {block} ({dtype})", name)
        return dtype, prod(shape) // block * block_bytes

    def _align(self, offset: int) -> int:
        alignment = self.metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise CheckpointError(self.path, f"general.alignment = {shown(alignment)}; accepted: a power of two")
        return -(-offset // alignment) * alignment

    def _string(self, what: str) -> str:
        raw = self._take(self._number(8))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(self.path, f"{what} is not UTF-8") from error

    def _number(self, size_bytes: int) -> int:
        return int(struct.unpack("<I" if size_bytes == 4 else "<Q", self._take(size_bytes))[0])

    def _take(self, size_bytes: int) -> bytes:
        if size_bytes > self._data.size - self._at:
            raise CheckpointError(self.path, f"{size_bytes} bytes wanted at {self._at}: truncated?")
        self._at += size_bytes
        return self._data[self._at - size_bytes : self._at].tobytes()


def _type_sizes() -> Callable[[int], tuple[str, int, int] | None]:
    """Return a look-up from a GGML type number to its name, elements in a block, and bytes of a block."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    sizes = {int(kind): (kind.name, *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType}
    return sizes.get
