"""What a plugin predicts of a variant on a node, with its uncertainty."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fairlead_agent.messages.base import Frozen, Reason


class Quantiles(Frozen):
    """The 10th, 50th and 90th percentile of a predicted quantity, in the unit that its field names."""

    p10: float = Field(ge=0, allow_inf_nan=False)
    p50: float = Field(ge=0, allow_inf_nan=False)
    p90: float = Field(ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.p10 <= self.p50 <= self.p90:
            raise ValueError(f"p10 <= p50 <= p90 must hold, got {self.p10}, {self.p50}, {self.p90}")
        return self

    @classmethod
    def around(cls, median: float, spread: float) -> Quantiles:
        """Quantiles of a quantity known up to the factor ``1 + spread`` (``spread`` >= 0)."""
        return cls(p10=median / (1 + spread), p50=median, p90=median * (1 + spread))

    def scaled(self, factor: float) -> Quantiles:
        """All three, times ``factor``."""
        return Quantiles(p10=self.p10 * factor, p50=self.p50 * factor, p90=self.p90 * factor)


class Estimate(Frozen):
    """A plugin's prediction for one variant of one workload on one node."""

    latency_s: Quantiles = Field(description="Time from a reference request to its first useful output.")
    throughput_per_s: Quantiles = Field(description="Units of work per second, e.g. tokens per second.")
    throughput_unit: str = Field(default="request", max_length=32)
    memory_bytes: dict[str, int] = Field(description="By tier: dram, vram, storage.")
    memory_minimum_bytes: dict[str, int] = Field(
        default_factory=dict,
        description="The least per tier with which it still serves; default: memory_bytes.",
    )
    cores: float = Field(default=1.0, ge=0, description="Processor cores kept busy while it serves.")
    energy_j: Quantiles | None = Field(default=None, description="Joules per unit of work; None where unknown.")
    startup_s: Quantiles
    transfer_bytes: int = Field(default=0, ge=0, description="Bytes that must reach the node before it starts.")
    exchange_bytes: int = Field(
        default=4096, ge=0, description="Bytes of a reference request and its answer, between client and instance."
    )
    needs_real: tuple[str, ...] = Field(
        default=(), description="Kinds of hardware that must not be simulated, e.g. ('gpu',)."
    )
    reason: Reason = ""


class Refusal(Frozen):
    """Why a variant cannot serve a workload on a node."""

    reason: Reason
    needs: str = Field(default="", max_length=200, description="What it would take, e.g. '512 MiB of dram'.")
    has: str = Field(default="", max_length=200, description="What the node has, e.g. '130 MiB free'.")
