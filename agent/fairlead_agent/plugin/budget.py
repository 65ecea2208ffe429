"""What an instance may use now."""

from __future__ import annotations

from pydantic import Field

from fairlead_agent.messages.base import Frozen


class Budget(Frozen):
    """Limits of one instance. ``None`` or a missing tier: not limited.

    One call, ``reconfigure(budget, deadline)``, serves growing, shrinking and pressure. On a shrink the enforced limit
    falls only after the plugin's reply or the deadline.
    """

    memory_bytes: dict[str, int] = Field(default_factory=dict, description="By tier: dram, vram, storage.")
    cores: float | None = Field(default=None, gt=0)
    read_bytes_per_s: float | None = Field(default=None, gt=0, description="Reads from storage.")
    uplink_bits_per_s: float | None = Field(default=None, gt=0)
    watts: float | None = Field(default=None, gt=0)


class BudgetReply(Frozen):
    """The plugin's answer to a budget."""

    in_use: dict[str, int] = Field(default_factory=dict, description="Bytes in use per tier after the change.")
    minimum: dict[str, int] = Field(default_factory=dict, description="Fewest bytes per tier with which it serves.")
    marginal_cost: dict[str, float] = Field(
        default_factory=dict,
        description="Per tier: predicted relative loss of throughput for the next byte taken away, per MiB.",
    )
    accepted: bool = Field(default=True, description="False: below the minimum; the old budget stays in force.")
    reason: str = ""
