"""What the way to clients adds to an estimate."""

from __future__ import annotations

import pytest

from fairlead_agent.daemon.access_link import over_access_link
from fairlead_agent.messages import Estimate, Quantiles
from fairlead_agent.placement.resources import Resources
from tests.agent.daemon.devices import device

ESTIMATE = Estimate(
    latency_s=Quantiles(p10=0.01, p50=0.02, p90=0.04),
    throughput_per_s=Quantiles.around(100, 0.1),
    memory_bytes={"dram": 1},
    startup_s=Quantiles.around(1, 0.1),
    transfer_bytes=1_000_000,
    exchange_bytes=10_000,
    reason="computed",
)


def test_both_ways_and_the_bytes_are_added() -> None:
    linked = device({"simulated": {"links": [{"peer": "gateway", "bandwidth": "1 Mbit/s", "latency": "50 ms"}]}})
    seen = over_access_link(ESTIMATE, linked.facts(Resources()))
    assert seen.latency_s.p50 == pytest.approx(0.02 + 2 * 0.05 + 0.08)
    assert seen.startup_s.p50 == pytest.approx(1 + 8.0)
    assert seen.latency_s.p10 < seen.latency_s.p50 < seen.latency_s.p90
    assert "computed" in seen.reason
    assert "1 Mbit/s" in seen.reason


def test_a_node_without_a_stated_link_adds_nothing() -> None:
    assert over_access_link(ESTIMATE, device().facts(Resources())) == ESTIMATE
