"""The light module: what the agent imports. Standard library, pydantic and the contract only."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fairlead_agent.plugin import Description, Estimate, NodeFacts, Refusal, Workload, hookimpl

from .cost import VARIANTS
from .cost import estimate as predict
from .settings import Settings, read_settings

INSTALL = "NumPy and the radios of the bridge (`pip install fairlead-isac`)"


class LightPlugin:
    """Describe, probe, estimate and validate, without NumPy."""

    @hookimpl
    def describe(self) -> Description:
        """Say what the plugin is and what it would compute with."""
        return Description(
            summary="Schedules sensing and communication over one radio, slot by slot", software=_software()
        )

    @hookimpl
    def probe(self, facts: NodeFacts) -> dict[str, str]:
        """Find NumPy, the kernels and radios."""
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
        answer = predict(settings, facts)
        return _refuse(settings, variant, facts) or _refuse_memory(answer, facts) or answer

    @hookimpl
    def validate(self, config: dict[str, Any]) -> dict[str, Any]:
        """Check a workload's config and fill in defaults."""
        return read_settings(config).model_dump(mode="json")


def _software() -> dict[str, str]:
    return {
        "isac_numpy": _found("numpy"),
        "isac_radio": "found" if _bridge_has_radios() else "missing",
        "isac_soapy": _found("SoapySDR"),
    }


def _found(module: str) -> str:
    return "missing" if find_spec(module) is None else "found"


def _bridge_has_radios() -> bool:
    spec = find_spec("fairlead_bridge")
    return any((Path(place) / "radio").is_dir() for place in (spec.submodule_search_locations or ())) if spec else False


def _refuse(settings: Settings, variant: str, facts: NodeFacts) -> Refusal | None:
    software = {**_software(), **facts.software}
    missing = [name for name in ("numpy", "radio") if software[f"isac_{name}"] == "missing"]
    if missing:
        return Refusal(reason="what processes samples is not installed here", needs=INSTALL, has=f"no {missing[0]}")
    if variant == "soapy-radio" and software["isac_soapy"] == "missing":
        return Refusal(reason="no software radio can be had here", needs="SoapySDR for Python", has="no SoapySDR")
    if variant == "soapy-radio" and not settings.radio.device:
        return Refusal(reason="no software radio is named", needs="radio.device in the workload's config", has="''")
    return None


def _refuse_memory(answer: Estimate, facts: NodeFacts) -> Refusal | None:
    for name, minimum in answer.memory_minimum_bytes.items():
        tier = facts.tier(name)
        if tier is not None and tier.free_bytes < minimum:
            needs, has = (f"{size / 2**20:.0f} MiB of {name}" for size in (minimum, tier.free_bytes))
            return Refusal(reason="too little free memory", needs=needs, has=has)
    return None


plugin = LightPlugin()
