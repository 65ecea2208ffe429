"""The few numbers of a GGUF file's header that a cost model needs. Standard library only.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
#: How PowerInfer marks its files of ReLU models.
_POWERINFER = b"PWRI"
_TOKENS = "tokenizer.ggml.tokens"
#: Bounds what a damaged file can make this reader do.
_MOST_KEYS, _LONGEST_STRING, _LONGEST_ARRAY = 4096, 1 << 20, 1 << 22


class GgufHeader:
    """Metadata of a GGUF file; arrays are kept as their lengths."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            ValueError: the file is no GGUF file of a known version, or is damaged.
            OSError: it cannot be read.
        """
        self.metadata: dict[str, Any] = {}
        self.powerinfer = False
        with path.open("rb") as file:
            try:
                self._read(file)
            except (struct.error, UnicodeDecodeError, KeyError) as error:
                raise ValueError(f"a damaged GGUF header ({error})") from None

    def _read(self, file: BinaryIO) -> None:
        magic, version, _, keys = struct.unpack("<4sIQQ", file.read(24))
        if magic not in (b"GGUF", _POWERINFER) or version not in (2, 3):
            raise ValueError("no GGUF file of version 2 or 3")
        if keys > _MOST_KEYS:
            raise ValueError(f"a damaged GGUF header ({keys} keys)")
        self.powerinfer = magic == _POWERINFER
        for _ in range(keys):
            key = _string(file)
            self.metadata[key] = _value(file, _scalar(file, "I"))

    def number(self, name: str) -> int:
        """Return a number of the model's architecture, such as block_count.

        Raises:
            KeyError: the header does not hold it.
        """
        key = f"{self.metadata['general.architecture']}.{name}"
        found = self.metadata[key]
        if not isinstance(found, int) or found < 1:
            raise ValueError(f"{key} = {found!r}")
        return found

    def number_or(self, name: str, default: int) -> int:
        """Return a number, or a default where the header does not hold it."""
        try:
            return self.number(name)
        except KeyError:
            return default

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return int(self.metadata[_TOKENS])


def _scalar(file: BinaryIO, code: str) -> Any:
    return struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))[0]


def _string(file: BinaryIO) -> str:
    length = _scalar(file, "Q")
    if length > _LONGEST_STRING:
        raise ValueError(f"a damaged GGUF header (a string of {length} bytes)")
    return file.read(length).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    return _array(file) if kind == _ARRAY else _scalar(file, _SCALARS[kind])


def _array(file: BinaryIO) -> int:
    """Step over an array and return its length."""
    kind, length = _scalar(file, "I"), _scalar(file, "Q")
    if length > _LONGEST_ARRAY or kind == _ARRAY:
        raise ValueError(f"a damaged GGUF header (an array of {length})")
    if kind != _STRING:
        file.seek(length * struct.calcsize(f"<{_SCALARS[kind]}"), 1)
        return length
    for _ in range(length):
        size = _scalar(file, "Q")
        if size > _LONGEST_STRING:
            raise ValueError(f"a damaged GGUF header (a string of {size} bytes)")
        file.seek(size, 1)
    return length
