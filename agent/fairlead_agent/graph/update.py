"""What one node says of its part of the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fairlead_agent.graph.entry import Entry
from fairlead_agent.graph.errors import GraphError


@dataclass(frozen=True, slots=True)
class Rejection:
    """An entry that was not taken, and why."""

    key: str
    reason: str


class GraphMessageEntry(Protocol):
    """An entry of a message; this room does not import the messages."""

    @property
    def key(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def value(self) -> Mapping[str, Any] | None: ...


class GraphMessage(Protocol):
    """The body of a ``graph`` message, as ``fairlead_agent.messages.GraphUpdate`` is one."""

    @property
    def node(self) -> str: ...
    @property
    def incarnation(self) -> int: ...
    @property
    def seq(self) -> int: ...
    @property
    def full(self) -> bool: ...
    @property
    def entries(self) -> Iterable[GraphMessageEntry]: ...


@dataclass(frozen=True, slots=True)
class ShardUpdate:
    """A set of entries of one writer.

    ``seq`` counts the writer's updates within an incarnation; the entries of a change carry it. ``full``: the entries
    are all that the writer had to say at ``seq``, and whatever it said before and is not among them is gone.
    """

    node: str
    incarnation: int
    seq: int
    full: bool
    entries: tuple[Entry, ...]
    rejected: tuple[Rejection, ...] = ()
    """Entries that could not be read; only on what came from a mapping."""

    def to_mapping(self) -> dict[str, Any]:
        """The wire form, as the message ``graph`` has it."""
        return {
            "node": self.node,
            "incarnation": self.incarnation,
            "seq": self.seq,
            "full": self.full,
            "entries": [entry.to_mapping() for entry in self.entries],
        }

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> ShardUpdate:
        """Read the wire form. An entry that does not fit is left out and told in ``rejected``.

        Raises:
            GraphError: node, incarnation or seq are missing or of another type.
        """
        node, incarnation, seq = raw.get("node"), raw.get("incarnation"), raw.get("seq")
        if not isinstance(node, str) or not isinstance(incarnation, int) or not isinstance(seq, int):
            raise GraphError(
                f"update: node {node!r}, incarnation {incarnation!r}, seq {seq!r}; accepted: text, integers"
            )
        items = ((item.get("key"), item.get("seq"), item.get("value")) for item in raw.get("entries", ()))
        entries, rejected = read_entries(items)
        return cls(node, incarnation, seq, bool(raw.get("full", False)), entries, rejected)

    @classmethod
    def from_message(cls, message: GraphMessage) -> ShardUpdate:
        """Read the body of a ``graph`` message, as :meth:`from_mapping` but without a copy."""
        entries, rejected = read_entries((item.key, item.seq, item.value) for item in message.entries)
        return cls(message.node, message.incarnation, message.seq, message.full, entries, rejected)


def read_entries(raw: Iterable[tuple[Any, Any, Any]]) -> tuple[tuple[Entry, ...], tuple[Rejection, ...]]:
    """Read entries from key, seq and value in wire form; those that do not fit come back as rejections."""
    entries: list[Entry] = []
    rejected: list[Rejection] = []
    for key, seq, value in raw:
        try:
            entries.append(Entry.read(key, seq, value))
        except GraphError as error:
            rejected.append(Rejection(str(key)[:256], str(error)))
    return tuple(entries), tuple(rejected)
