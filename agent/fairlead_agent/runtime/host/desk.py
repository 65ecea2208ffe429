"""What a worker does for each control operation. Runs on the control loop."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from typing import TYPE_CHECKING, Any

from fairlead_agent.plugin.budget import BudgetReply
from fairlead_agent.runtime import protocol
from fairlead_agent.runtime.host.hooks import Hooks

if TYPE_CHECKING:
    from fairlead_agent.runtime.host.control import Handler
    from fairlead_agent.runtime.host.worker import WorkerHost

_DRAIN_POLL_S = 0.02


class NotPreparedError(RuntimeError):
    """Asked before the plugin was prepared."""


class ControlDesk:
    """The handlers of one worker."""

    def __init__(self, host: WorkerHost) -> None:
        self._host = host
        self._measured_at_s = time.monotonic()
        self._answered_before = 0

    def handlers(self) -> dict[str, Handler]:
        """By op."""
        return {op: getattr(self, f"_{op}") for op in protocol.OPERATIONS}

    async def _hello(self, _: protocol.Hello) -> dict[str, Any]:
        return self._host.status().model_dump(mode="json")

    async def _status(self, _: protocol.Status) -> dict[str, Any]:
        return self._host.status().model_dump(mode="json")

    async def _activate(self, asked: protocol.Activate) -> dict[str, Any]:
        self._prepared()
        self._host.lease.activate(asked.epoch, asked.expires_boottime_s)
        self._host.gate.draining = False
        self._host.lease_changed()
        return {"epoch": asked.epoch}

    async def _extend(self, asked: protocol.Extend) -> dict[str, Any]:
        was_live = bool(self._host.lease.live_epoch())
        self._host.lease.extend(asked.epoch, asked.expires_boottime_s)
        if not was_live:
            self._host.lease_changed()
        return {"epoch": asked.epoch, "expires_boottime_s": self._host.lease.expires_boottime_s}

    async def _reconfigure(self, asked: protocol.Reconfigure) -> dict[str, Any]:
        hooks = self._prepared()
        if not hooks.has("reconfigure"):
            reply = BudgetReply(reason="the plugin has no reconfigure hook; only the limit changes")
        else:
            answer = await self._hook("reconfigure", asked.budget, asked.deadline_s, timeout_s=asked.deadline_s)
            reply = BudgetReply.model_validate(answer)
        if reply.accepted:
            self._host.context.set_budget(asked.budget)
        return reply.model_dump(mode="json")

    async def _drain(self, asked: protocol.Drain) -> dict[str, Any]:
        host = self._host
        host.gate.draining = True
        host.announce()
        began_s = time.monotonic()
        fault = await self._drain_plugin(asked.deadline_s)
        while host.gate.in_flight and time.monotonic() - began_s < asked.deadline_s:
            await asyncio.sleep(_DRAIN_POLL_S)
        return {"drained": host.gate.in_flight == 0 and not fault, "in_flight": host.gate.in_flight, "fault": fault}

    async def _drain_plugin(self, deadline_s: float) -> str:
        """Call the plugin's drain; its fault as text, so that the requests under way are waited for all the same."""
        if self._host.hooks is None or not self._host.is_prepared or not self._host.hooks.has("drain"):
            return ""
        try:
            await self._hook("drain", timeout_s=deadline_s)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    async def _stop(self, asked: protocol.Stop) -> dict[str, Any]:
        # After this answer is on its way.
        self._host.control.loop.call_later(0.01, self._host.end, "stopped by its agent", asked.grace_s)
        return {}

    async def _measure(self, asked: protocol.Measure) -> dict[str, Any]:
        gate, now_s = self._host.gate, time.monotonic()
        elapsed_s, self._measured_at_s = now_s - self._measured_at_s, now_s
        answered, self._answered_before = gate.answered - self._answered_before, gate.answered
        measured: dict[str, float] = {"requests_per_s": answered / elapsed_s if elapsed_s > 0 else 0.0}
        latencies_s = sorted(gate.latencies_s)
        if latencies_s:
            measured["latency_p90_s"] = latencies_s[min(len(latencies_s) - 1, int(0.9 * len(latencies_s)))]
        if self._host.hooks is not None and self._host.hooks.has("measurements"):
            own = await self._hook("measurements", timeout_s=asked.timeout_s)
            measured.update({str(name): float(value) for name, value in own.items()})
        return {"measurements": measured}

    async def _checkpoint(self, asked: protocol.Checkpoint) -> dict[str, Any]:
        state = await self._hook("checkpoint", timeout_s=asked.deadline_s)
        return {"state_base64": base64.b64encode(state).decode()}

    async def _restore(self, asked: protocol.Restore) -> dict[str, Any]:
        try:
            state = base64.b64decode(asked.state_base64, validate=True)
        except binascii.Error as error:
            raise ValueError(f"restore: state_base64 is no base64: {error}") from None
        await self._hook("restore", state, timeout_s=asked.deadline_s)
        return {}

    async def _peers(self, asked: protocol.Peers) -> dict[str, Any]:
        self._host.peers.show(asked.peers)
        return {}

    async def _hook(self, name: str, *arguments: Any, timeout_s: float) -> Any:
        hooks, data_loop = self._prepared(), self._host.data_loop
        assert data_loop is not None
        return await hooks.call(data_loop, name, *arguments, timeout_s=timeout_s)

    def _prepared(self) -> Hooks:
        if self._host.hooks is None or not self._host.is_prepared:
            raise NotPreparedError("the plugin is still preparing")
        return self._host.hooks
