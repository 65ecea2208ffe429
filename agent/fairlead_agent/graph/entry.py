"""Entries: what one node says of one vertex or edge, and its mapping form on the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from fairlead_agent.graph.attributes import Attribute, attributes_of
from fairlead_agent.graph.edge import Edge
from fairlead_agent.graph.errors import GraphError
from fairlead_agent.graph.keys import is_edge, split_edge_key
from fairlead_agent.graph.kinds import VERTEX_KINDS, EdgeKind, VertexKind
from fairlead_agent.graph.measured import Measured
from fairlead_agent.graph.vertex import Scalar, Vertex

MAX_NUMBER = 1e300


@dataclass(frozen=True, slots=True)
class Entry:
    """A version of a vertex or edge; ``value`` is None where it is gone."""

    key: str
    seq: int
    value: Vertex | Edge | None

    def to_mapping(self) -> dict[str, Any]:
        """The wire form: ``{"key", "seq", "value"}``."""
        return {"key": self.key, "seq": self.seq, "value": None if self.value is None else value_mapping(self.value)}

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> Entry:
        """Read the wire form; members that it does not know are passed over.

        Raises:
            GraphError: names the key, the field, the value and what is accepted.
        """
        return cls.read(raw.get("key"), raw.get("seq"), raw.get("value"))

    @classmethod
    def read(cls, key: Any, seq: Any, value: Any) -> Entry:
        """Read the members of the wire form; otherwise as :meth:`from_mapping`."""
        if not isinstance(key, str):
            raise GraphError(f"entry: key is {key!r}; accepted: text")
        if not isinstance(seq, int) or isinstance(seq, bool) or seq < 0:
            raise GraphError(f"{key!r}: seq is {seq!r}; accepted: an integer from 0")
        return cls(key, seq, None if value is None else read_value(key, value))

    def newer(self, other: Entry) -> Entry:
        """The later of two versions of one key. Equal ``seq``: the same one, whichever side asks."""
        if self.seq != other.seq:
            return self if self.seq > other.seq else other
        if self.value == other.value:
            return other
        return self if _rank(self) > _rank(other) else other


def _rank(entry: Entry) -> str:
    return json.dumps(entry.to_mapping()["value"], sort_keys=True)


def value_mapping(value: Vertex | Edge) -> dict[str, Any]:
    """The mapping of a vertex or edge: kind, then what is not empty of simulated, measured and properties.

    A measured attribute travels as ``[value, measured_at, uncertainty]``.
    """
    mapping: dict[str, Any] = {"kind": value.kind.value}
    if value.simulated:
        mapping["simulated"] = True
    if value.measured:
        mapping["measured"] = {name: list(measured) for name, measured in value.measured.items()}
    if value.properties:
        mapping["properties"] = dict(value.properties)
    return mapping


def read_value(key: str, raw: Any) -> Vertex | Edge:
    """A vertex or edge from its key and mapping.

    Raises:
        GraphError: names the key, the field, the value and what is accepted.
    """
    try:
        members = _members(raw, "value")
        value = _read_edge(key, members) if is_edge(key) else _read_vertex(key, members)
        value.check()
    except GraphError as error:
        raise GraphError(f"{key[:256]!r}: {error}") from None
    return value


def _read_vertex(key: str, members: Mapping[str, Any]) -> Vertex:
    kind = VERTEX_KINDS.get(str(members.get("kind")))
    if kind is None:
        raise GraphError(f"kind is {members.get('kind')!r}; accepted: {', '.join(VERTEX_KINDS)}")
    return Vertex(key, kind, _measured(kind, members), _properties(members), _flag(members, "simulated"))


def _read_edge(key: str, members: Mapping[str, Any]) -> Edge:
    source, kind, target = split_edge_key(key)
    if members.get("kind", kind.value) != kind.value:
        raise GraphError(f"kind is {members.get('kind')!r}; the key says {kind.value!r}")
    return Edge(source, kind, target, _measured(kind, members), _properties(members), _flag(members, "simulated"))


def _measured(kind: VertexKind | EdgeKind, members: Mapping[str, Any]) -> dict[str, Measured]:
    table = attributes_of(kind)
    raw = _members(members.get("measured", {}), "measured")
    return {name: _quantity(name, triple, table.get(name)) for name, triple in raw.items()}


def _quantity(name: str, raw: Any, attribute: Attribute | None) -> Measured:
    if not isinstance(raw, list | tuple) or not 1 < len(numbers := cast("list[Any]", raw)) < 4:
        raise GraphError(f"{name}: {raw!r}; accepted: [value, measured_at, uncertainty]")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float) or not _finite(number):
            raise GraphError(f"{name}: {str(number)[:40]}; accepted: finite numbers")
    measured = Measured(*numbers)
    check_measured(name, measured, attribute)
    return measured


def check_measured(name: str, measured: Measured, attribute: Attribute | None) -> None:
    """Hold a measured attribute to its range, and its uncertainty to 0 or more.

    Raises:
        GraphError: names the attribute and the value.
    """
    if not measured.uncertainty >= 0.0:
        raise GraphError(f"{name}: uncertainty is {measured.uncertainty!r}; accepted: 0 or more")
    if not (_finite(measured.value) and _finite(measured.measured_at)):
        raise GraphError(f"{name}: {measured.value!r} at {measured.measured_at!r}; accepted: finite numbers")
    if attribute is not None:
        attribute.check(measured.value)


def _properties(members: Mapping[str, Any]) -> dict[str, Scalar]:
    raw = _members(members.get("properties", {}), "properties")
    for name, value in raw.items():
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not _finite(value)):
            raise GraphError(f"properties.{name}: {value!r}; accepted: text, a number, true or false")
    return dict(raw)


def _finite(number: float) -> bool:
    # A comparison, because math.isfinite overflows on large integers.
    return -MAX_NUMBER < number < MAX_NUMBER


def _flag(members: Mapping[str, Any], name: str) -> bool:
    value = members.get(name, False)
    if not isinstance(value, bool):
        raise GraphError(f"{name} is {value!r}; accepted: true or false")
    return value


def _members(raw: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise GraphError(f"{name} is {raw!r}; accepted: a mapping")
    return cast("Mapping[str, Any]", raw)
