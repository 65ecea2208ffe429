"""What the way to clients adds to an estimate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairlead_agent.daemon.access_link import goodput_bits_per_s, over_access_link
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


def test_a_link_that_loses_packets_carries_less_and_the_bid_says_so() -> None:
    """Over 50 ms each way and 1 % loss, one TCP stream carries ``11,680 bit / 0.1 s * sqrt(150)`` = 1.43 Mbit/s."""
    linked = device({"simulated": {"links": [{"peer": "gateway", "bandwidth": "100 Mbit/s", "latency": "50 ms"}]}})
    lossy = replace(linked, measured_links={"gateway": {"loss": 0.01, "throughput_bits_per_s": 4e6}})
    seen = over_access_link(ESTIMATE, lossy.facts(Resources()))
    assert seen.latency_s.p50 == pytest.approx(0.02 + 2 * 0.05 + 80_000 / 1.4305e6, rel=1e-3)
    assert "0.01 of all packets lost: 1.43 Mbit/s for one stream" in seen.reason
    assert lossy.links()[0].simulated, "its bandwidth is still what the profile states"
    narrow = replace(linked, measured_links={"gateway": {"loss": 0.5, "bandwidth_bits_per_s": 1e5}})
    assert goodput_bits_per_s(narrow.links()[0]) == 5e4
