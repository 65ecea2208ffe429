"""What a running agent takes over of its profile's file."""

from __future__ import annotations

from typing import Any

from fairlead_agent.config import AgentProfile


def profile(**values: Any) -> AgentProfile:
    """A phone's profile."""
    return AgentProfile.model_validate({"name": "phone", "labels": {"tier": "device"}, **values})


def test_budgets_and_limits_of_the_owner_are_taken_over() -> None:
    newer = profile(
        budget={"dram": "64 MiB"}, policy={"battery_min": 0.5}, simulated={"speed_factor": 0.5}, power={"core_watts": 3}
    )
    renewed, left = profile(budget={"dram": "192 MiB", "cores": 1}).renewed(newer)
    assert (renewed, left) == (newer, ())
    assert renewed.budget.cores is None


def test_what_others_were_told_stays_and_is_named() -> None:
    newer = AgentProfile.model_validate(
        {"name": "box", "policy": {"steward": False, "reachable": "mqtt-only", "memory_reserve": "1 GiB"}}
    )
    renewed, left = profile().renewed(newer)
    assert left == ("name", "labels", "policy.steward", "policy.reachable")
    assert (renewed.name, renewed.labels) == ("phone", {"tier": "device"})
    assert (renewed.policy.steward, renewed.policy.reachable) == (True, "direct")
    assert renewed.policy.memory_reserve == 1 << 30
