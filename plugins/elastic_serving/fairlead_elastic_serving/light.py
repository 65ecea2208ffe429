"""The light module: what the agent imports. Standard library, pydantic and the contract only."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from typing import Any

from fairlead_agent.plugin import Description, Estimate, GpuFacts, NodeFacts, Refusal, Workload, hookimpl
from fairlead_language_model.installed import kernels, processor_flags, torch_without_cuda

from .cost import CUDA_VARIANT, VARIANTS
from .cost import estimate as predict
from .footprint import read_footprint
from .settings import Settings, read_settings, shipped_models

INSTALL = "PyTorch (`pip install 'fairlead-elastic-serving[torch]'`)"
INSTALL_CUDA = "PyTorch with CUDA, and Triton (`pip install 'fairlead-elastic-serving[triton]'`)"


class LightPlugin:
    """Describe, probe, estimate and validate, without the engine."""

    @hookimpl
    def describe(self) -> Description:
        """Say what the plugin is and what it would compute with."""
        return Description(
            summary="Language-model serving that gives layers away in a burst before it makes anyone wait",
            software={
                "torch": torch(),
                "kernels": kernels(platform.machine(), processor_flags()),
                "models": ", ".join(shipped_models()),
            },
        )

    @hookimpl
    def probe(self, facts: NodeFacts) -> dict[str, str]:
        """Find PyTorch and the kernels' build."""
        return {
            "elastic_torch": torch(),
            "elastic_kernels": kernels(facts.processor.architecture, facts.processor.features),
        }

    @hookimpl
    def estimate(self, workload: Workload, variant: str, facts: NodeFacts) -> Estimate | Refusal | None:
        """Predict a variant on this node, or say why it cannot serve."""
        if variant not in VARIANTS:
            return None
        try:
            settings = read_settings(workload.config)
            model = read_footprint(settings.model_path)
            settings.context_of(model.context)
        except ValueError as error:
            return Refusal(reason=str(error)[:2000])
        refused = _refuse_software(variant, facts) or _refuse_variant(settings, variant)
        if refused is not None:
            return refused
        answer = predict(model, settings, variant, facts)
        return _refuse_memory(answer, facts) or answer

    @hookimpl
    def validate(self, config: dict[str, Any]) -> dict[str, Any]:
        """Check a workload's config and fill in defaults."""
        return read_settings(config).model_dump(mode="json")


def torch() -> str:
    """Return "cuda", "cpu" (a build without CUDA) or "missing"; imports nothing."""
    if find_spec("torch") is None:
        return "missing"
    return "cpu" if torch_without_cuda() else "cuda"


def _refuse_software(variant: str, facts: NodeFacts) -> Refusal | None:
    """Say what a node lacks to compute a variant."""
    has = facts.software.get("elastic_torch") or torch()
    if has == "missing":
        return Refusal(reason="PyTorch is not installed here", needs=INSTALL, has="no torch")
    if variant != CUDA_VARIANT:
        return None
    if not facts.gpus:
        return Refusal(reason="this variant needs a GPU", needs="a real GPU", has="no GPU")
    if not _real_gpus(facts):
        return Refusal(reason="this variant needs a real GPU", needs="a real GPU", has="a simulated GPU")
    if has == "cpu" or find_spec("triton") is None:
        return Refusal(reason="software for the GPU is missing", needs=INSTALL_CUDA, has=f"torch for {has}")
    return None


def _refuse_variant(settings: Settings, variant: str) -> Refusal | None:
    """Say where a workload asks for another arithmetic."""
    if settings.dtype not in (None, VARIANTS[variant]):
        return Refusal(reason=f"dtype = {settings.dtype!r}: this variant computes in {VARIANTS[variant]}")
    return None


def _refuse_memory(answer: Estimate, facts: NodeFacts) -> Refusal | None:
    for name, minimum in answer.memory_minimum_bytes.items():
        free = _free(name, facts)
        if free is not None and free < minimum:
            needs, has = (f"{size / 2**20:.0f} MiB of {name}" for size in (minimum, free))
            return Refusal(reason="too little free memory", needs=needs, has=has)
    return None


def _free(tier: str, facts: NodeFacts) -> int | None:
    if tier == "vram":
        return max((gpu.memory_free_bytes for gpu in _real_gpus(facts)), default=0)
    found = facts.tier(tier)
    return None if found is None else found.free_bytes


def _real_gpus(facts: NodeFacts) -> list[GpuFacts]:
    return [gpu for gpu in facts.gpus if not gpu.simulated]


plugin = LightPlugin()
