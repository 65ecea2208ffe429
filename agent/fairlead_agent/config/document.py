"""YAML documents as trees with line numbers, and what is refused in them before any model sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml

from fairlead_agent.config.errors import ConfigError

#: Larger files are no configuration.
MAX_FILE_BYTES = 1 << 20
#: Deeper values are no configuration either.
MAX_DEPTH = 40
#: A document's size with all aliases written out: a few lines of aliases can stand for terabytes.
MAX_VALUES = 100_000


def read_nodes(path: Path) -> list[yaml.Node]:
    """The documents of a file; empty ones are passed over.

    Raises:
        ConfigError: it cannot be read, is too large, is not UTF-8 or not YAML, or repeats a key.
    """
    text = _read(path)
    try:
        nodes: list[Any] = list(yaml.compose_all(text, Loader=yaml.SafeLoader))  # pyright: ignore
    except RecursionError:
        raise ConfigError(f"{path}: nested too deep; at most {MAX_DEPTH} levels are accepted") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}{_mark(error, text)}: not YAML: {_problem(error)}") from None
    found: list[yaml.Node] = [node for node in nodes if node is not None]
    for node in found:
        _Inspection(path).size(node, 1)
    return [node for node in found if not _is_null(node)]


def construct(path: Path, node: yaml.Node) -> Any:
    """The Python value of a document.

    Raises:
        ConfigError: a value does not fit its tag, such as the date 2024-13-45.
    """
    loader: Any = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}{_mark(error, '')}: not YAML: {_problem(error)}") from None
    except Exception as error:
        # PyYAML's constructors let whatever int(), float() and date() raise pass through, and lose the place.
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: a value does not fit its YAML tag: {error}") from None


def line_of(node: yaml.Node, place: tuple[int | str, ...]) -> int:
    """The line of a place in a document, or of the nearest thing around it; lines count from 1."""
    for level in place:
        below = _below(node, level)
        if below is None:
            break
        node = below
    return node.start_mark.line + 1


def pairs(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    """Keys and values of a mapping."""
    return cast("list[tuple[yaml.Node, yaml.Node]]", node.value)


class _Inspection:
    """One walk through a document: aliases are counted as often as they stand for something, but walked once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def size(self, node: yaml.Node, depth: int) -> int:
        """How many values a node stands for."""
        if id(node) in self._open:
            raise self._error(node, "refers to itself")
        if depth > MAX_DEPTH:
            raise self._error(node, f"nested too deep; at most {MAX_DEPTH} levels are accepted")
        if id(node) not in self._sizes:
            self._open.add(id(node))
            self._sizes[id(node)] = 1 + sum(self.size(child, depth + 1) for child in self._children(node))
            self._open.discard(id(node))
        if self._sizes[id(node)] > MAX_VALUES:
            raise self._error(node, f"stands for more than {MAX_VALUES} values with its aliases written out")
        return self._sizes[id(node)]

    def _children(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return cast("list[yaml.Node]", node.value)
        if isinstance(node, yaml.MappingNode):
            self._unique(node)
            return [child for pair in pairs(node) for child in pair]
        return []

    def _unique(self, node: yaml.MappingNode) -> None:
        lines: dict[Any, int] = {}
        for key, _ in pairs(node):
            line = key.start_mark.line + 1
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
            if name in lines:
                raise self._error(key, f"key {key.value!r} stands in line {lines[name]} already")
            lines[name] = line

    def _error(self, node: yaml.Node, said: str) -> ConfigError:
        return ConfigError(f"{self._path}:{node.start_mark.line + 1}: {said}")


def _read(path: Path) -> str:
    raw = _bytes(path)
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes, which no configuration file is")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None


def _bytes(path: Path) -> bytes:
    try:
        # Not by its size: devices and pipes have none.
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{str(path)!r}: {error}") from None


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _mark(error: Exception, text: str) -> str:
    mark, position = getattr(error, "problem_mark", None), getattr(error, "position", None)
    if mark is not None:
        return f":{mark.line + 1}"
    return f":{text.count(chr(10), 0, position) + 1}" if isinstance(position, int) else ""


def _problem(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]


def _below(node: yaml.Node, level: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in pairs(node) if key.value == str(level)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(level, int) and level < len(node.value):
        return cast("list[yaml.Node]", node.value)[level]
    return None
