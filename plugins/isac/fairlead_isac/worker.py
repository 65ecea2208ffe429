"""The worker module: what runs in the instance's own process."""

from __future__ import annotations

from typing import Any

from fairlead_agent.plugin import Budget, BudgetReply, Context

from .cost import VARIANTS, memory_bytes
from .errors import RadioUnavailable
from .settings import Settings, read_settings


class Worker:
    """One instance: one radio and what schedules it."""

    def __init__(self) -> None:
        self._settings: Settings | None = None

    def prepare(self, context: Context) -> None:
        """Open the radio.

        Raises:
            RuntimeError: the variant cannot be had here.
            RadioUnavailable: there is no radio.
        """
        if context.variant not in VARIANTS:
            raise RuntimeError(f"variant {context.variant}: accepted: {', '.join(VARIANTS)}")
        self._settings = read_settings(dict(context.config))
        raise RadioUnavailable(f"variant {context.variant}: no radio of this kind can be had here")

    def application(self, context: Context) -> Any:
        """Return the ASGI application."""
        self.prepare(context)

    def reconfigure(self, budget: Budget, deadline_s: float) -> BudgetReply:
        """Say what is needed: the frames of a band cannot shrink."""
        minimum = {} if self._settings is None else {"dram": memory_bytes(self._settings)}
        limit = budget.memory_bytes.get("dram")
        fits = limit is None or minimum.get("dram", 0) <= limit
        return BudgetReply(in_use=minimum, minimum=minimum, accepted=fits)


worker = Worker()
