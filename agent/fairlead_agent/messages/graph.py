"""Updates of the shared resource graph as they travel."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from fairlead_agent.messages.base import Body, Frozen, Name


class GraphEntry(Frozen):
    """One vertex or edge of the writer's part of the graph; ``seq`` orders versions within an incarnation."""

    key: str = Field(min_length=1, max_length=256, description="vertex id, or 'source>kind>target' of an edge")
    seq: int = Field(ge=0)
    value: dict[str, Any] | None = Field(default=None, description="The entry's mapping form; None: it is gone.")


class GraphUpdate(Body):
    """What one node says of the graph. ``full``: the whole of the node's part (retained); else only changes."""

    TYPE: ClassVar[str] = "graph"

    node: Name
    incarnation: int = Field(ge=1)
    seq: int = Field(ge=0, description="Sequence number of this update; a reader that sees a gap asks for a rebirth.")
    full: bool = False
    entries: tuple[GraphEntry, ...] = ()
