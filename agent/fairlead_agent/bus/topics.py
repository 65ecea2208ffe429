"""All topics of a site, on one page.

Everything lies under ``fairlead/1/<site>/``. The node id always stands at level 5 (``node/<node>``: written by that
node alone; ``inbox/<node>``: read by that node alone), so that a broker's ACL needs two patterns. ``desired`` is
written by the control plane only, and signed besides.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The inbox id of whoever issues epochs.
AUTHORITY = "authority"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one site."""

    site: str

    @property
    def root(self) -> str:
        """``fairlead/1/<site>``."""
        return f"fairlead/1/{self.site}"

    def status(self, node: str) -> str:
        """NodeStatus; retained; also the MQTT will."""
        return f"{self.root}/node/{node}/status"

    def graph(self, node: str) -> str:
        """GraphUpdate with full = true; retained."""
        return f"{self.root}/node/{node}/graph"

    def delta(self, node: str) -> str:
        """GraphUpdate with changes only."""
        return f"{self.root}/node/{node}/delta"

    def instances(self, node: str) -> str:
        """NodeInstances; retained."""
        return f"{self.root}/node/{node}/instances"

    def call(self, node: str) -> str:
        """Call of a steward to everyone."""
        return f"{self.root}/node/{node}/call"

    def placement(self, node: str, workload: str) -> str:
        """PlacementRecord by the steward ``node``; retained."""
        return f"{self.root}/node/{node}/placement/{workload}"

    def desired(self, workload: str) -> str:
        """SignedWorkload; retained."""
        return f"{self.root}/desired/{workload}"

    def inbox(self, node: str) -> str:
        """Everything that is said to one node alone: bids, awards, leases, streams, rebirth requests."""
        return f"{self.root}/inbox/{node}"

    def all_nodes(self, what: str) -> str:
        """The subscription for ``what`` (status, graph, delta, instances, call, placement/+) of every node."""
        return f"{self.root}/node/+/{what}"

    def all_desired(self) -> str:
        """The subscription for all desired state."""
        return f"{self.root}/desired/+"
