"""The light module: what the agent imports. Standard library, pydantic and the contract only."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fairlead_agent.plugin import Description, Estimate, NodeFacts, Refusal, Workload, hookimpl

from .cost import TORCH, VARIANTS
from .cost import estimate as predict
from .settings import Settings, read_settings

WEIGHTS = Path(__file__).parent / "weights"
INSTALL = "ONNX Runtime (`pip install 'fairlead-stylization[onnx]'`)"


class LightPlugin:
    """Describe, probe, estimate and validate, without NumPy."""

    @hookimpl
    def describe(self) -> Description:
        """Say what the plugin is and what it would compute with."""
        return Description(summary="Puts pictures, videos and 3D scenes into any style", software=_software())

    @hookimpl
    def probe(self, facts: NodeFacts) -> dict[str, str]:
        """Find ONNX Runtime, and torch, which different results are looked for with."""
        return _software()

    @hookimpl
    def estimate(self, workload: Workload, variant: str, facts: NodeFacts) -> Estimate | Refusal | None:
        """Predict a variant on this node, or say why it cannot serve."""
        if variant not in VARIANTS:
            return None
        try:
            settings = read_settings(workload.config)
        except ValueError as error:
            return Refusal(reason=str(error)[:2000])
        answer = predict(settings, variant, facts.model_copy(update={"software": {**_software(), **facts.software}}))
        if settings.weights is None and not _ships(variant):
            return Refusal(reason=f"no weights of {variant} ship; name a folder with some as `weights`")
        return _refuse(settings, facts) or _refuse_memory(answer, facts) or answer

    @hookimpl
    def validate(self, config: dict[str, Any]) -> dict[str, Any]:
        """Check a workload's config and fill in defaults."""
        return read_settings(config).model_dump(mode="json")


def _ships(variant: str) -> bool:
    return any((WEIGHTS / f"{variant}{ending}").is_file() for ending in ("-picture.onnx", "-refiner.safetensors"))


def _software() -> dict[str, str]:
    names = {"stylization_onnxruntime": "onnxruntime", TORCH: "torch"}
    return {name: "missing" if find_spec(module) is None else "found" for name, module in names.items()}


def _refuse(settings: Settings, facts: NodeFacts) -> Refusal | None:
    """The kernels, which come with the plugin, draw where ONNX Runtime is missing, unless that is asked for."""
    software = {**_software(), **facts.software}
    if settings.runtime == "onnx" and software["stylization_onnxruntime"] == "missing":
        return Refusal(reason="`runtime: onnx`, and it is not installed here", needs=INSTALL, has="no onnxruntime")
    return None


def _refuse_memory(answer: Estimate, facts: NodeFacts) -> Refusal | None:
    for name, minimum in answer.memory_minimum_bytes.items():
        tier = facts.tier(name)
        if tier is not None and tier.free_bytes < minimum:
            needs, has = (f"{size / 2**20:.0f} MiB of {name}" for size in (minimum, tier.free_bytes))
            return Refusal(reason="too little free memory", needs=needs, has=has)
    return None


plugin = LightPlugin()
