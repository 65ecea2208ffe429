"""Growing and shrinking: which comes first, the limit or the plugin."""

from __future__ import annotations

import time

import pytest

from fairlead_agent.plugin import Budget, BudgetReply
from fairlead_agent.runtime.limits import Confinement, LimitBusyError
from fairlead_agent.runtime.limits.resize import Resize
from fairlead_agent.runtime.spec import read_spec
from tests.patience import patient

MIB = 2**20


class Recorder(Confinement):
    """Notes the order of what happens; ``stuck_bytes`` cannot be reclaimed."""

    KIND = "recorder"

    def __init__(self, limit_bytes: int | None, stuck_bytes: int = 0) -> None:
        self.seen: list[object] = []
        self._limit_bytes = limit_bytes
        self._stuck_bytes = stuck_bytes

    @property
    def limit_bytes(self) -> int | None:
        return self._limit_bytes

    def admit(self, pid: int) -> None: ...

    def set_limit(self, limit_bytes: int | None) -> None:
        if limit_bytes is not None and limit_bytes < self._stuck_bytes:
            raise LimitBusyError(f"{self._stuck_bytes} bytes are in use")
        self.seen.append(limit_bytes)
        self._limit_bytes = limit_bytes

    def usage_bytes(self) -> int:
        return self._stuck_bytes

    def exceeded(self) -> bool:
        return False

    def members(self) -> list[int]:
        return []

    def remove(self) -> None: ...


def _budget(bytes_: int | None) -> Budget:
    return Budget(memory_bytes={} if bytes_ is None else {"dram": bytes_})


async def _resize(confinement: Recorder, bytes_: int | None, reply: BudgetReply | None):
    async def offer() -> BudgetReply | None:
        confinement.seen.append("offer")
        return reply

    return await Resize(confinement, settle_s=0.1).run(_budget(bytes_), offer)


@pytest.mark.parametrize(
    ("old", "new", "reply", "order"),
    [
        (100, 200, BudgetReply(), [200, "offer"]),
        (100, None, BudgetReply(), [None, "offer"]),
        (100, 200, BudgetReply(accepted=False), [200, "offer", 100]),
        (100, 200, None, [200, "offer"]),
        (200, 100, BudgetReply(), ["offer", 100]),
        (None, 100, BudgetReply(), ["offer", 100]),
        (200, 100, BudgetReply(accepted=False), ["offer"]),
        (200, 100, None, ["offer", 100]),
    ],
)
async def test_the_limit_rises_before_the_offer_and_falls_after_the_answer(old, new, reply, order):
    confinement = Recorder(old)
    answer, over = await _resize(confinement, new, reply)
    assert confinement.seen == order
    assert over == ""
    assert answer.accepted is (reply is None or reply.accepted)


async def test_memory_that_is_not_given_back_is_a_reason_to_kill():
    confinement = Recorder(200 * MIB, stuck_bytes=150 * MIB)
    _, over = await _resize(confinement, 100 * MIB, BudgetReply())
    assert "exceeded its memory budget of 100 MiB after it shrank" in over
    assert confinement.limit_bytes == 200 * MIB


async def test_a_worker_shrinks_and_grows(bench):
    instance = await bench.serve(budget=_budget(600 * MIB))
    await bench.get("/allocate?200")
    reply = await bench.supervisor.reconfigure(bench.key, _budget(240 * MIB), deadline_s=patient(10))
    assert reply.accepted and reply.in_use == {"dram": 0}
    assert instance.report().limit_bytes == 240 * MIB
    assert b"251658240" in (await bench.get("/context"))[2]
    assert read_spec(instance.spec.path).budget == _budget(240 * MIB)

    reply = await bench.supervisor.reconfigure(bench.key, _budget(700 * MIB), deadline_s=patient(10))
    assert reply.accepted and instance.report().limit_bytes == 700 * MIB
    assert (await bench.get("/allocate?300"))[0] == 200
    assert instance.restarts == 0


async def test_below_its_minimum_a_plugin_keeps_the_old_budget(bench):
    instance = await bench.serve(budget=_budget(600 * MIB), config={"minimum_bytes": 300 * MIB})
    reply = await bench.supervisor.reconfigure(bench.key, _budget(200 * MIB), deadline_s=patient(10))
    assert not reply.accepted and reply.minimum == {"dram": 300 * MIB}
    assert instance.report().limit_bytes == 600 * MIB
    assert instance.spec.budget == _budget(600 * MIB)


async def test_until_the_deadline_the_old_limit_holds_and_then_the_new_one(bench, monkeypatch):
    instance = await bench.serve(budget=_budget(600 * MIB), config={"reconfigure_s": 30})
    set_limit, changed_s = instance._confinement.set_limit, list[float]()
    monkeypatch.setattr(
        instance._confinement, "set_limit", lambda size: changed_s.append(time.monotonic()) or set_limit(size)
    )
    began_s = time.monotonic()
    reply = await bench.supervisor.reconfigure(bench.key, _budget(300 * MIB), deadline_s=0.8)
    assert changed_s[0] - began_s >= 0.8
    assert "no answer by the deadline" in reply.reason
    assert instance.report().limit_bytes == 300 * MIB
    assert (await bench.get("/echo?still-here"))[0] == 200
