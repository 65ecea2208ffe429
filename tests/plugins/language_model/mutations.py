"""Files that lie, made by changing the parts that a format is built of rather than its bytes."""

from __future__ import annotations

import copy
import json
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

# Sizes, counts and offsets where arithmetic goes wrong.
NUMBERS = st.sampled_from(
    [0, 1, 2, 3, 31, 32, 33, 255, *(2**n for n in (15, 16, 20, 31, 40, 53, 62, 63)), *(2**n - 1 for n in (31, 32, 64))]
)
TEXTS = st.sampled_from(["", "x", "\u0000", "..", "a" * 5000, "\ud7ff", "<s>", "model.norm.weight", "-1", "NaN"])
SCALARS = st.none() | st.booleans() | NUMBERS | st.integers(-3, 100) | st.floats() | TEXTS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values inside a JSON value, without going far into long lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:6]) if isinstance(value, list) else ()
    return [prefix, *(path for key, child in inner for path in paths(child, (*prefix, key)))]


@st.composite
def changed_json(draw: st.DrawFn, original: Any, most: int = 3) -> Any:
    """Draw a JSON value in which some inner values are replaced, removed, or copied over others."""
    value = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, most))):
        places = paths(value)[1:]
        if not places:
            return value
        *outer, last = draw(st.sampled_from(places))
        holder = value
        for key in outer:
            holder = holder[key]
        action = draw(st.sampled_from(["alike", "alike", "replace", "remove", "copy"]))
        if action == "remove":
            del holder[last]
        elif action == "alike":
            holder[last] = draw(_alike(holder[last]))
        elif action == "replace":
            holder[last] = draw(JSON)
        else:
            source: Any = value
            for key in draw(st.sampled_from(places)):
                source = source[key]
            holder[last] = copy.deepcopy(source)
    return value


def _alike(value: Any) -> st.SearchStrategy[Any]:
    """Values of the same kind, which get past the first look at them."""
    kinds = {bool: st.booleans(), int: NUMBERS | st.integers(0, 100), float: st.floats(), str: TEXTS, type(None): JSON}
    if isinstance(value, list):
        return st.permutations(value) if len(value) < 20 else st.just(value[: len(value) // 2])
    return st.just({}) if isinstance(value, dict) else kinds[type(value)]


def to_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


@dataclass
class GgufSpec:
    """A GGUF file in parts: every number in it may be one that no writer would write."""

    keys: list[list[Any]] = field(default_factory=list)  # [key, type, value, stated length of an array]
    tensors: list[list[Any]] = field(default_factory=list)  # [name, dimensions, stated count of them, type, offset]
    data: bytes = b""
    magic: bytes = b"GGUF"
    version: int = 3
    more_tensors: int = 0
    more_keys: int = 0

    def build(self) -> bytes:
        parts = [self.magic, _u32(self.version), _u64(len(self.tensors) + self.more_tensors)]
        parts += [_u64(len(self.keys) + self.more_keys)]
        parts += [_text(key) + _u32(kind) + _value(kind, value, length) for key, kind, value, length in self.keys]
        for name, dimensions, stated, kind, offset in self.tensors:
            parts += [_text(name), _u32(stated), *map(_u64, dimensions), _u32(kind), _u64(offset)]
        head = b"".join(parts)
        return head + bytes(-len(head) % 32) + self.data


def gguf_spec(metadata: dict[str, Any], tensors: dict[str, np.ndarray], powerinfer: bool = False) -> GgufSpec:
    """Return the parts of an honest float32 file."""
    spec = GgufSpec(magic=b"PWRI" if powerinfer else b"GGUF")
    spec.keys = [[key, _kind(value), value, None] for key, value in metadata.items()]
    for name, value in tensors.items():
        content = np.ascontiguousarray(value, np.float32).tobytes()
        spec.tensors.append([name, list(value.shape[::-1]), value.ndim, 0, len(spec.data)])
        spec.data += content + bytes(-len(content) % 32)
    return spec


@st.composite
def changed_gguf(draw: st.DrawFn, original: GgufSpec) -> bytes:
    """Draw a file in which some parts are changed, and which may be cut."""
    spec = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        draw(st.sampled_from(_CHANGES))(draw, spec)
    content = spec.build()
    return content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 9)) == 0 else content


def _change_key(draw: st.DrawFn, spec: GgufSpec) -> None:
    entry = draw(st.sampled_from(spec.keys))
    kind = draw(st.sampled_from([0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99]))
    entry[1], entry[2] = kind, draw(NUMBERS | st.floats() | TEXTS | st.lists(NUMBERS | TEXTS, max_size=3))


def _lengthen(draw: st.DrawFn, spec: GgufSpec) -> None:
    entry = draw(st.sampled_from(spec.keys))
    entry[3] = draw(NUMBERS)


def _rename_key(draw: st.DrawFn, spec: GgufSpec) -> None:
    draw(st.sampled_from(spec.keys))[0] = draw(TEXTS | st.sampled_from([key for key, *_ in spec.keys]))


def _drop_key(draw: st.DrawFn, spec: GgufSpec) -> None:
    spec.keys.remove(draw(st.sampled_from(spec.keys)))


def _change_tensor(draw: st.DrawFn, spec: GgufSpec) -> None:
    entry = draw(st.sampled_from(spec.tensors))
    place = draw(st.integers(0, 4))
    if place == 1:
        sizes = st.lists(NUMBERS | st.integers(0, 64), max_size=5)
        entry[1] = draw(sizes | st.permutations(entry[1]))
        entry[2] = len(entry[1])
    else:
        choices = {0: TEXTS | st.sampled_from([name for name, *_ in spec.tensors]), 3: st.integers(0, 45)}
        entry[place] = draw(choices.get(place, NUMBERS))


def _drop_tensor(draw: st.DrawFn, spec: GgufSpec) -> None:
    spec.tensors.remove(draw(st.sampled_from(spec.tensors)))


def _change_counts(draw: st.DrawFn, spec: GgufSpec) -> None:
    spec.more_tensors, spec.more_keys = draw(NUMBERS), draw(NUMBERS)


def _change_head(draw: st.DrawFn, spec: GgufSpec) -> None:
    spec.magic, spec.version = draw(st.sampled_from([b"GGUF", b"PWRI", b"FUGG"])), draw(st.integers(0, 4))


_CHANGES = (
    *(_change_key, _change_key, _change_key, _lengthen, _rename_key, _drop_key),
    *(_change_tensor, _change_tensor, _change_tensor, _drop_tensor, _change_counts, _change_head),
)
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}


def _kind(value: Any) -> int:
    if isinstance(value, list):
        return 9
    return {str: 8, bool: 7, int: 4, float: 6}[type(value)]


def _value(kind: int, value: Any, length: int | None) -> bytes:
    if kind == 9 and isinstance(value, list):
        inner = _kind(value[0]) if value else 4
        content = b"".join(_value(inner, item, None) for item in value)
        return _u32(inner) + _u64(len(value) if length is None else length) + content
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return _u64(len(text) if length is None else length) + text
    if kind in (6, 12):
        number = value if isinstance(value, int | float) and abs(value) < 1e30 else 0.5
        return struct.pack("<" + _FORMATS[kind], number)
    size = struct.calcsize(_FORMATS.get(kind, "I"))
    number = int(value) if isinstance(value, int | float) and abs(value) < 2**64 else 7
    return (number & (256**size - 1)).to_bytes(size, "little")


def _text(value: str) -> bytes:
    text = value.encode("utf-8", "surrogatepass")
    return _u64(len(text)) + text


def _u32(value: int) -> bytes:
    return (value & (2**32 - 1)).to_bytes(4, "little")


def _u64(value: int) -> bytes:
    return (value & (2**64 - 1)).to_bytes(8, "little")
