"""A second replica is asked where the first is slow or fails, and nobody is asked without need."""

from __future__ import annotations

import asyncio

import pytest

from fairlead_tiered_retrieval.shards.hedging import LEAST, Hedged, Patience, ShardLost


class Replicas:
    """Answers after so many seconds each; a negative time: it fails after as long."""

    def __init__(self, **seconds: float) -> None:
        self.seconds, self.asked, self.ended = seconds, list[str](), list[str]()

    async def ask(self, name: str) -> str:
        self.asked.append(name)
        try:
            await asyncio.sleep(abs(self.seconds[name]))
        finally:
            self.ended.append(name)
        if self.seconds[name] < 0:
            raise ConnectionError(f"{name} is gone")
        return name

    def hedged(self, hedge_s: float = 0.05, timeout_s: float = 300.0) -> Hedged[str, str]:
        return Hedged(list(self.seconds), self.ask, hedge_s=hedge_s, timeout_s=timeout_s)


async def test_a_fast_replica_answers_alone() -> None:
    replicas = Replicas(a=0.0, b=0.0)
    assert await replicas.hedged(hedge_s=60.0).answer() == "a"
    assert replicas.asked == ["a"]


async def test_a_slow_one_is_overtaken_and_told_to_stop() -> None:
    replicas = Replicas(a=3600.0, b=0.0)
    hedged = replicas.hedged()
    assert await hedged.answer() == "b"
    assert replicas.asked == ["a", "b"] and "a" in replicas.ended and hedged.asked == 2


async def test_a_failing_one_is_replaced_at_once() -> None:
    replicas = Replicas(a=-0.0001, b=0.0)
    assert await replicas.hedged(hedge_s=60.0).answer() == "b"


async def test_a_lost_shard_says_why() -> None:
    with pytest.raises(ShardLost, match="a is gone; b is gone"):
        await Replicas(a=-0.0001, b=-0.0001).hedged(hedge_s=60.0).answer()
    with pytest.raises(ShardLost, match=r"no answer within 0\.1 s"):
        await Replicas(a=3600.0).hedged(timeout_s=0.1).answer()
    with pytest.raises(ShardLost, match="no replica"):
        await Replicas().hedged().answer()


async def test_a_bug_is_no_lost_replica() -> None:
    async def ask(name: str) -> str:
        raise TypeError(name)

    with pytest.raises(TypeError):
        await Hedged(["a", "b"], ask, hedge_s=60.0, timeout_s=120.0).answer()


def test_patience_follows_what_was_measured() -> None:
    patience = Patience(0.05)
    assert patience.seconds() == 0.05
    for index in range(LEAST * 4):
        patience.saw(0.001 if index % 8 else 0.02)
    assert patience.seconds() == 0.02
    for _ in range(LEAST * 8):
        patience.saw(1.0)
    assert patience.seconds() == 0.05
