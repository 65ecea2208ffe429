"""The light module: what the agent imports. Standard library, pydantic and the contract only."""

from __future__ import annotations

import platform
from typing import Any

from fairlead_agent.plugin import Description, Estimate, GpuFacts, NodeFacts, Refusal, Workload, hookimpl
from fairlead_language_model.installed import kernels, processor_flags

from .accelerated_cost import accelerated
from .cost import estimate as predict
from .device_software import lacking_for
from .footprint import read_footprint
from .settings import GPU_VARIANT, read_settings, shipped_models

NATIVE, NUMPY, GPU = "q8-sparse-native", "q8-sparse-numpy", GPU_VARIANT


class LightPlugin:
    """Describe, probe, estimate and validate, without the engine."""

    @hookimpl
    def describe(self) -> Description:
        """Say what the plugin is and which kernels it would use."""
        return Description(
            summary="Sparse language-model inference, OpenAI-compatible; exact: skips only what is zero",
            software={
                "kernels": kernels(platform.machine(), processor_flags()),
                "models": ", ".join(shipped_models()),
            },
        )

    @hookimpl
    def probe(self, facts: NodeFacts) -> dict[str, str]:
        """Find the kernels' build and instruction set."""
        return {"kernels": kernels(facts.processor.architecture, facts.processor.features)}

    @hookimpl
    def estimate(self, workload: Workload, variant: str, facts: NodeFacts) -> Estimate | Refusal | None:
        """Predict a variant on this node, or say why it cannot serve."""
        if variant not in (NATIVE, NUMPY, GPU):
            return None
        try:
            settings = read_settings(workload.config)
            wanted = settings.accelerator_for(variant)
            model = read_footprint(settings.model_path)
            draft = None if settings.draft_path is None else read_footprint(settings.draft_path)
            settings.context_of(model.context)
        except ValueError as error:
            return Refusal(reason=str(error)[:2000])
        refused = _refuse_device(wanted.kind, facts)
        if refused is not None:
            return refused
        found = facts.software.get("kernels") or kernels(facts.processor.architecture, facts.processor.features)
        name, _, isa = found.partition(":")
        if variant == NATIVE and name != "native":
            return Refusal(
                reason="no compiled kernels here", needs="fairlead-kernels with its native module", has=found
            )
        used = isa if variant != NUMPY and name == "native" else "numpy"
        if wanted.kind == "none":
            answer = predict(model, settings, used, facts, draft)
        else:
            memory = None if wanted.kind != "cuda" else max(gpu.memory_free_bytes for gpu in _real_gpus(facts))
            answer = accelerated(model, settings, wanted, used, facts, device_memory=memory, draft=draft)
        return _refuse_memory(answer, facts) or answer

    @hookimpl
    def validate(self, config: dict[str, Any]) -> dict[str, Any]:
        """Check a workload's config and fill in defaults."""
        return read_settings(config).model_dump(mode="json")


def _real_gpus(facts: NodeFacts) -> list[GpuFacts]:
    return [gpu for gpu in facts.gpus if not gpu.simulated]


def _refuse_device(kind: str, facts: NodeFacts) -> Refusal | None:
    """Say why a node has no such accelerator."""
    if kind == "none":
        return None
    if kind == "cuda" and not facts.gpus:
        return Refusal(reason="this variant needs a GPU", needs="a real GPU", has="no GPU")
    if kind == "cuda" and not _real_gpus(facts):
        return Refusal(reason="this variant needs a real GPU", needs="a real GPU", has="a simulated GPU")
    lacking = lacking_for(kind)
    if lacking is None:
        return None
    return Refusal(reason=f"software for the accelerator {kind} is missing", needs=lacking, has="not installed here")


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


plugin = LightPlugin()
