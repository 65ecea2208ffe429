"""Links that carry notably more or less than before: what placement looks at again at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from fairlead_agent.graph.display import show
from fairlead_agent.graph.edge import Edge
from fairlead_agent.graph.kinds import EdgeKind

#: A link whose bandwidth or delay is another by this factor is another link to a workload.
NOTABLE = 1.5
#: A smaller share of lost packets than this is as good as none.
LEAST_LOSS = 0.01
_WORDS = {"bandwidth_bits_per_s": "carries", "latency_s": "takes", "loss": "loses"}


@dataclass(slots=True)
class LinkChanges:
    """Compares each link with what it was when it was last found to have changed, so that small steps add up."""

    _known: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    def seen(self, key: str, edge: Edge | None) -> str:
        """Take a version of an edge; returns in words how it changed notably, else an empty text."""
        if edge is None or edge.kind is not EdgeKind.LINK:
            self._known.pop(key, None)
            return ""
        now = {name: edge.measured[name].value for name in _WORDS if name in edge.measured}
        before = self._known.setdefault(key, now)
        before = {name: before[name] if name in before else _unmeasured(name, now[name]) for name in now}
        changed = [name for name in now if _factor(name, before[name], now[name]) >= NOTABLE]
        if not changed:
            return ""
        self._known[key] = now
        told = (f"{_WORDS[name]} {_shown(name, now[name])} instead of {_shown(name, before[name])}" for name in changed)
        return f"the link from {edge.source} to {edge.target} {', '.join(told)}"


def _unmeasured(name: str, now: float) -> float:
    """What a version without an attribute counts as having: no loss, and of the rest nothing to compare with."""
    return 0.0 if name == "loss" else now


def _factor(name: str, one: float, other: float) -> float:
    low, high = sorted((one, other))
    if name == "loss":
        low, high = max(low, LEAST_LOSS), max(high, LEAST_LOSS)
    return high / low if low > 0 else (float("inf") if high > 0 else 1.0)


def _shown(name: str, value: float) -> str:
    return f"{value:.2g} of all packets" if name == "loss" else show(name, value)
