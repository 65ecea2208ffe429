"""Which shard a document belongs to, and how answers of shards become one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead_tiered_retrieval.shards.partition import Holder, holders_of, merged, shard_of, split

IDS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=20))


@given(st.lists(IDS, max_size=200), st.integers(1, 9))
def test_every_document_has_one_shard(ids: list[str | int], shards: int) -> None:
    rows = split(ids, shards)
    assert sorted(row for part in rows.values() for row in part) == list(range(len(ids)))
    assert all(shard_of(ids[row], shards) == shard for shard, part in rows.items() for row in part)
    assert all(part == sorted(part) for part in rows.values()), "a batch keeps its order"


def test_shards_are_about_equally_large_and_stay_what_they_are() -> None:
    counts = [len(part) for part in split(list(range(20_000)), 8).values()]
    assert min(counts) > 2200 and max(counts) < 2800
    assert [shard_of(each, 7) for each in (1, "1", "whale")] == [shard_of(each, 7) for each in (1, "1", "whale")]
    assert shard_of(1, 1 << 30) != shard_of("1", 1 << 30)


def test_replicas_of_a_shard_are_every_so_many_and_the_lowest_leads() -> None:
    holders = [Holder(replica, 1, None) for replica in (5, 0, 3, 2, 4)]
    assert [holder.replica for holder in holders_of(1, 2, holders)] == [3, 5]
    assert [holder.replica for holder in holders_of(0, 2, holders)] == [0, 2, 4]


@given(st.lists(st.lists(st.floats(0, 1), max_size=12), max_size=5), st.integers(1, 15))
def test_merging_is_the_order_of_all(distances: list[list[float]], k: int) -> None:
    answers = [
        [{"id": f"{shard}.{row}", "distance": d} for row, d in enumerate(sorted(part))]
        for shard, part in enumerate(distances)
    ]
    found = [hit["distance"] for hit in merged(answers, k)]
    assert found == sorted(d for part in distances for d in part)[:k]
