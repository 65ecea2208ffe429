"""Birth and death of nodes."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fairlead_agent.messages.base import Body, Name


class NodeStatus(Body):
    """Retained per node: birth when ``online``, death (the MQTT will) when not.

    Birth and death carry the same incarnation (Sparkplug's bdSeq), so that a stale will cannot kill a newer session.
    """

    TYPE: ClassVar[str] = "node-status"

    node: Name
    incarnation: int = Field(ge=1, description="Grows at each start of the agent.")
    online: bool
    steward_rank: int = Field(
        default=0, ge=0, description="0: never a steward; higher ranks go first (control plane 2, nodes 1)."
    )
    profile: str = Field(default="", max_length=64, description="The agent profile's name.")
    labels: dict[str, str] = Field(default_factory=dict)
    version: str = Field(default="", max_length=32, description="Version of the agent.")
    plugins: dict[str, str] = Field(default_factory=dict, description="Loaded plugins and their versions.")
    openai_plugins: tuple[str, ...] = Field(default=(), description="Those that answer OpenAI's API.")
    draining: bool = Field(default=False, description="Takes no new workload.")


class RebirthRequest(Body):
    """A reader saw a gap in a node's graph updates and asks for a full snapshot."""

    TYPE: ClassVar[str] = "rebirth"

    node: Name
    seen_seq: int = Field(default=0, ge=0)
