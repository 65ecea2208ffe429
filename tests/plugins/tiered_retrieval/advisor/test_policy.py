"""A store's policy keeps what is good enough, grows with the collection and gives its reasons."""

from __future__ import annotations

import pytest

from fairlead_tiered_retrieval.advisor import policy as module
from fairlead_tiered_retrieval.advisor.calibration import calibrate, tier_of
from fairlead_tiered_retrieval.advisor.costs import Tier
from fairlead_tiered_retrieval.advisor.policy import Advised
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.store.policy import FLAT, Plan, Situation
from fairlead_tiered_retrieval.tiers.probe import Measured, TierProbe, probe
from fairlead_tiered_retrieval.tiers.urls import open_region

SPACE = Space("float32", "l2", 768)
FILE = Tier("file", "file:/vectors", 3e-4, 80e3, 2e-6, 4096)


@pytest.fixture(autouse=True)
def _all_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_kinds", lambda: ["graph", "lists"])


def situation(count: int, plan: Plan = Plan(FLAT), built_with: int = 0, memory: int | None = None) -> Situation:
    return Situation(SPACE, count, memory, plan, built_with)


def test_few_vectors_are_compared_and_many_have_an_index_with_reasons() -> None:
    policy = Advised(5000)
    assert policy.choose(situation(4999)).kind == FLAT
    plan = policy.choose(situation(1_000_000))
    assert plan.kind == "graph"
    assert "searches a second" in plan.reason


def test_memory_that_is_short_sends_vectors_to_the_tier() -> None:
    plan = Advised(5000, tiers=(Tier(), FILE)).choose(situation(100_000, memory=24 << 20))
    assert (plan.kind, plan.region) == ("lists", "file:/vectors")


def test_an_index_stays_between_half_and_twice_its_size() -> None:
    policy, lists = Advised(5000), Plan("lists")
    assert policy.choose(situation(15_000, lists, 10_000)) is lists
    assert policy.choose(situation(1_000_000, lists, 400_000)).kind == "graph"
    assert policy.choose(situation(2_000, lists, 10_000)).kind == FLAT


def test_where_nothing_fits_what_there_is_stays_and_the_reason_is_said() -> None:
    plan = Advised(5000).choose(situation(100_000, memory=1000))
    assert plan.kind == FLAT
    assert "no index reaches" in plan.reason


def test_probes_and_a_calibration_become_costs() -> None:
    with open_region("dram:", 1 << 18) as region:
        tier = tier_of(probe(region, quick=True, seconds=0.001), 512)
    assert tier.kind == "dram"
    assert tier.reads_per_s > 1e4
    points = tuple(Measured(4096, depth, 300.0, 500.0, depth * 600.0) for depth in (16, 128))
    disk = tier_of(TierProbe("file", False, points), 1024, url="file:/a")
    assert (disk.latency_s, disk.reads_per_s, disk.granule) == (pytest.approx(3e-4), 76_800, 4096)
    speeds = calibrate(0.01)
    assert 0 < speeds.exact_byte_s < 1e-7
