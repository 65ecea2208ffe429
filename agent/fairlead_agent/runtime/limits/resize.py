"""The order in which a limit and a plugin's own size change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from fairlead_agent.plugin.budget import Budget, BudgetReply
from fairlead_agent.runtime.limits.confinement import Confinement, LimitBusyError

#: The tier whose limit is enforced on this node's processes.
TIER = "dram"
_SETTLE_POLL_S = 0.05

Offer = Callable[[], Awaitable[BudgetReply | None]]


class Resize:
    """Changes one confinement's limit: up before the plugin hears of it, down only after its reply or the deadline."""

    def __init__(self, confinement: Confinement, *, settle_s: float) -> None:
        self._confinement = confinement
        self._settle_s = settle_s

    async def run(self, budget: Budget, offer: Offer) -> tuple[BudgetReply, str]:
        """Offer the budget to the plugin and move the limit.

        Args:
            budget: what the instance may use from now on.
            offer: asks the plugin; None is an answer that did not come by the deadline.

        Returns:
            The plugin's reply, and why the instance must be killed ('' if it need not be).
        """
        old_bytes, new_bytes = self._confinement.limit_bytes, budget.memory_bytes.get(TIER)
        if new_bytes is None or (old_bytes is not None and new_bytes > old_bytes):
            return await self._grow(old_bytes, new_bytes, offer), ""
        reply = await offer()
        if reply is None:
            reply = BudgetReply(reason="no answer by the deadline; the limit has fallen without it")
        return reply, await self._lower(new_bytes) if reply.accepted else ""

    async def _grow(self, old_bytes: int | None, new_bytes: int | None, offer: Offer) -> BudgetReply:
        self._confinement.set_limit(new_bytes)
        reply = await offer()
        if reply is None:
            return BudgetReply(reason="no answer by the deadline; the limit has risen without it")
        if not reply.accepted:
            self._restore(old_bytes)
        return reply

    def _restore(self, old_bytes: int | None) -> None:
        try:
            self._confinement.set_limit(old_bytes)
        except LimitBusyError:
            # It refused the larger budget and yet uses it: the larger limit is the one that is true.
            pass

    async def _lower(self, new_bytes: int) -> str:
        until_s = time.monotonic() + self._settle_s
        while self._confinement.usage_bytes() > new_bytes and time.monotonic() < until_s:
            await asyncio.sleep(_SETTLE_POLL_S)
        try:
            self._confinement.set_limit(new_bytes)
        except LimitBusyError as error:
            return f"exceeded its memory budget of {new_bytes / 2**20:g} MiB after it shrank: {error}"
        return ""
