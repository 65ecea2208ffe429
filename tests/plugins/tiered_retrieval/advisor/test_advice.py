"""What is advised follows the tier, the memory and the target; and what cannot be reached is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_tiered_retrieval.advisor.advice import NoPlan, Target, advise, candidates
from fairlead_tiered_retrieval.advisor.costs import Shape, Speeds, Tier, in_doubt, lists_cost
from fairlead_tiered_retrieval.errors import TieredRetrievalError

TEXT = Shape(count=1_000_000, dim=384, vector_bytes=1536, local_dim=20, error=0.06, probes=20)
DRAM = Tier()
SHM = Tier("shm", "shm:a", latency_s=2e-6, reads_per_s=5e6, processor_s=5e-8)
FILE = Tier("file", "file:/a", latency_s=3e-4, reads_per_s=89e3, processor_s=2e-6, granule=4096)


def test_a_slow_tier_with_large_blocks_gets_clusters_and_a_fine_one_with_deep_queues_a_graph() -> None:
    assert advise(TEXT, Target(), [FILE]).best.kind == "lists"
    assert advise(TEXT, Target(), [SHM]).best.kind == "graph"


def test_reasons_say_whether_vectors_are_in_further_lists() -> None:
    worth = advise(replace(TEXT, further=0.4, closed=0.8), Target(), [FILE])
    assert any("in 1.40 lists" in reason and "scan 20% fewer codes" in reason for reason in worth.reasons)
    little = advise(replace(TEXT, further=0.4, closed=0.97), Target(), [FILE])
    assert any("would scan 3% fewer" in reason and "one list" in reason for reason in little.reasons)
    without = advise(TEXT, Target(), [FILE])
    assert worth.best.processor_s < without.best.processor_s and worth.best.dram_bytes > without.best.dram_bytes
    assert little.best == without.best


def test_few_vectors_are_all_compared() -> None:
    assert advise(replace(TEXT, count=30), Target(), [DRAM]).best.kind == "flat"


def test_vectors_that_do_not_fit_go_to_a_tier_and_the_reasons_say_so() -> None:
    memory = int(0.08 * TEXT.raw_bytes)
    advice = advise(TEXT, Target(memory_bytes=memory), [DRAM, FILE])
    assert advice.best.tier is FILE
    assert advice.best.dram_bytes <= memory
    assert any("limit on memory rules out" in reason for reason in advice.reasons)
    assert any(reason.startswith("A graph") and "one after the other" in reason for reason in advice.reasons)


def test_for_a_rate_the_smallest_plan_is_taken_that_reaches_it() -> None:
    fast = advise(TEXT, Target(), [DRAM, SHM]).best
    frugal = advise(TEXT, Target(per_second=fast.per_second / 4), [DRAM, SHM]).best
    assert frugal.per_second >= fast.per_second / 4
    assert frugal.dram_bytes < fast.dram_bytes


def test_a_full_tier_is_not_advised() -> None:
    full = replace(SHM, free_bytes=1 << 20)
    assert advise(TEXT, Target(), [full, FILE]).best.tier is FILE


def test_what_cannot_be_reached_is_refused_with_the_nearest_values() -> None:
    with pytest.raises(NoPlan, match=r"smallest takes [\d,]+ bytes of memory"):
        advise(TEXT, Target(memory_bytes=1000), [DRAM, FILE])
    with pytest.raises(NoPlan, match="tiers"):
        advise(TEXT, Target(), [])


@pytest.mark.parametrize("wrong", [{"recall": 1.0}, {"recall": float("nan")}, {"k": 0}, {"memory_bytes": -1}])
def test_targets_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(TieredRetrievalError, match=f"{next(iter(wrong))} = .*accepted"):
        Target(**wrong)  # type: ignore[arg-type]


@given(
    st.integers(1_000, 10**9),
    st.integers(8, 2000),
    st.floats(2, 60),
    st.floats(0.5, 0.999),
    st.sampled_from([DRAM, SHM, FILE]),
)
def test_the_best_is_a_plan_within_its_limits_and_nothing_that_fits_is_much_faster(
    count: int, dim: int, local_dim: float, recall: float, tier: Tier
) -> None:
    shape = Shape(count, dim, 4 * dim, local_dim)
    target = Target(recall=recall, memory_bytes=2 * shape.raw_bytes + (1 << 20))
    advice = advise(shape, target, [tier])
    fit = [cost for cost in candidates(shape, target, [tier], Speeds()) if cost.dram_bytes <= target.memory_bytes]
    assert advice.best.dram_bytes <= target.memory_bytes
    assert advice.best.per_second >= max(cost.per_second for cost in fit) / 2


@given(st.integers(1, 7), st.floats(0.5, 0.99), st.floats(2, 40))
def test_more_bits_and_less_recall_leave_fewer_vectors_in_doubt(bits: int, recall: float, local_dim: float) -> None:
    shape = replace(TEXT, local_dim=local_dim)
    assert in_doubt(shape, bits + 1, recall) <= in_doubt(shape, bits, recall)
    assert in_doubt(shape, bits, recall) <= in_doubt(shape, bits, recall + 0.005)
    assert in_doubt(shape, bits, recall) >= 10


def test_throughput_is_bound_by_the_tier_or_by_the_processor() -> None:
    disk = replace(FILE, reads_per_s=20e3)
    slow = lists_cost(TEXT, Speeds(), disk, 1, 0.99)
    assert slow.limit == "reads"
    assert slow.per_second == pytest.approx(disk.reads_per_s / slow.reads)
    quick = lists_cost(TEXT, Speeds(), SHM, 1, 0.95)
    assert quick.limit == "processor"
    assert quick.per_second == pytest.approx(1 / quick.processor_s)
    assert slow.tier_read_bytes == pytest.approx(slow.reads * 4096)
