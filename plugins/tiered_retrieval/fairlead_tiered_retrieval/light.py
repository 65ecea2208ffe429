"""The light module: what the agent imports. Standard library, pydantic and the contract only."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from typing import Any

from fairlead_agent.plugin import Description, Estimate, NodeFacts, Refusal, Workload, hookimpl

from .cost import VARIANTS
from .cost import estimate as predict
from .probed import probed
from .settings import MODEL_PACKAGES, Settings, model_folder, read_settings

INSTALL_NUMPY = "NumPy (`pip install fairlead-tiered-retrieval`)"


class LightPlugin:
    """Describe, probe, estimate and validate, without the store."""

    @hookimpl
    def describe(self) -> Description:
        """Say what the plugin is and what it would compute with."""
        return Description(
            summary="A vector store whose vectors may lie in main memory, on memory nodes or in files",
            software={"arrow": _found("pyarrow"), "embedding": _models(), "machine": platform.machine()},
        )

    @hookimpl
    def probe(self, facts: NodeFacts) -> dict[str, str]:
        """Find NumPy, Arrow and embedding models, and what was measured of tiers."""
        return {
            **probed(),
            "retrieval_numpy": _found("numpy"),
            "retrieval_arrow": _found("pyarrow"),
            "retrieval_embedding": _models(),
        }

    @hookimpl
    def estimate(self, workload: Workload, variant: str, facts: NodeFacts) -> Estimate | Refusal | None:
        """Predict a variant on this node, or say why it cannot serve."""
        if variant not in VARIANTS:
            return None
        try:
            settings = read_settings(workload.config)
        except ValueError as error:
            return Refusal(reason=str(error)[:2000])
        refused = _refuse(settings, variant, facts)
        if refused is not None:
            return refused
        answer = predict(settings, variant, facts)
        return _refuse_memory(answer, facts) or answer

    @hookimpl
    def validate(self, config: dict[str, Any]) -> dict[str, Any]:
        """Check a workload's config and fill in defaults."""
        return read_settings(config).model_dump(mode="json")


def _found(module: str) -> str:
    return "missing" if find_spec(module) is None else "found"


def _models() -> str:
    """Embedding models that are installed, by name."""
    return ", ".join(name for name in MODEL_PACKAGES if model_folder(name) is not None) or "none"


def _refuse(settings: Settings, variant: str, facts: NodeFacts) -> Refusal | None:
    if (facts.software.get("retrieval_numpy") or _found("numpy")) == "missing":
        return Refusal(reason="NumPy is not installed here", needs=INSTALL_NUMPY, has="no numpy")
    if VARIANTS[variant] == "memory" and not settings.memory_nodes:
        return Refusal(
            reason="no memory node is named", needs="memory_nodes in the workload's config", has="memory_nodes = []"
        )
    return None


def _refuse_memory(answer: Estimate, facts: NodeFacts) -> Refusal | None:
    for name, minimum in answer.memory_minimum_bytes.items():
        tier = facts.tier(name)
        if tier is not None and tier.free_bytes < minimum:
            needs, has = (f"{size / 2**20:.0f} MiB of {name}" for size in (minimum, tier.free_bytes))
            return Refusal(reason="too little free memory", needs=needs, has=has)
    return None


plugin = LightPlugin()
