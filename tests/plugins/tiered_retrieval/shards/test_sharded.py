"""A collection over several instances: everybody answers for all, and a lost shard makes a partial result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead_tiered_retrieval.client import RequestRefused
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.store.settings import StoreSettings
from fairlead_tiered_retrieval.store.store import Store
from tests.patience import patient
from tests.plugins.tiered_retrieval.serving import Served, know_each_other

ROWS = np.random.default_rng(3).normal(size=(200, 8)).astype(np.float32)
EXACT = np.argsort(np.square(ROWS[:, None] - ROWS[None]).sum(-1), axis=1, kind="stable")
Starter = Callable[..., list[Served]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Start instances of one workload, which know each other."""
    started: list[Served] = []

    def begin(count: int, **config: Any) -> list[Served]:
        # Who has ended refuses at once; nobody else is left out, however long the machine stands still.
        config["scatter"] = {"timeout_s": patient(60.0), **config.get("scatter", {})}
        started.extend(Served(tmp_path, replica, embedding=None, **config) for replica in range(count))
        know_each_other(*started)
        return started

    yield begin
    for served in started:
        served.stop()


def test_two_shards_answer_as_one(start: Starter) -> None:
    one, other = start(2, shards=2)
    with one.client() as client, other.client() as second:
        books = client.create("books", dim=8, metric="l2")
        assert books.upsert(range(200), ROWS, metadata=[{"row": row} for row in range(200)]) == 200
        counts = [served.worker._local.store.collection("books").count() for served in (one, other)]
        assert sum(counts) == 200 and min(counts) > 60
        for asked in (books, second.collection("books")):
            results = asked.search(ROWS[:20], k=5)
            assert results.complete and results.ids() == EXACT[:20, :5].tolist()
            assert asked.info()["count"] == 200 and asked.info()["shards"] == 2
            documents = asked.get([3, 999, 0])
            assert [each and each["id"] for each in documents] == [3, None, 0]
        assert second.collection("books").move("file")["tier"] == "file"
        assert books.search(ROWS[:20], k=5).ids() == EXACT[:20, :5].tolist()
        assert books.delete([0, 1, 2]) == 3 and books.delete(filter={"row": {"ge": 190}}) == 10
        assert second.collection("books").info()["count"] == 187
        assert books.recall(sample=20)["recall"] == 1.0
        assert books.calibrate(ROWS[:60])["after"] == {**books.calibrate(ROWS[:60])["before"], "queries": 60}
        with pytest.raises(RequestRefused, match=r"accepted: \[n, 8\]"):
            books.search(ROWS[:1, :3])


def test_a_lost_shard_makes_a_partial_result_that_says_so(start: Starter) -> None:
    one, other = start(2, shards=2, scatter={"hedge_s": 0.1})
    with one.client() as client:
        books = client.create("books", dim=8, metric="l2")
        books.upsert(range(200), ROWS)
        mine = {served: set(served.worker._local.store.collection("books").ids()[0]) for served in (one, other)}
        other.stop()
        results = books.search(ROWS[:10], k=5)
        assert not results.complete and results.missing == (1,)
        for row, hits in enumerate(results.ids()):
            assert hits == [each for each in EXACT[row].tolist() if each in mine[one]][:5]
        with pytest.raises(RequestRefused, match="shard 1") as error:
            books.upsert(range(200), ROWS)
        assert error.value.status == 503


def test_a_search_without_a_shard_is_refused_where_partial_results_are_not_wanted(start: Starter) -> None:
    one, other = start(2, shards=2, scatter={"partial": False})
    with one.client() as client:
        books = client.create("books", dim=8, metric="l2")
        books.upsert(range(200), ROWS)
        other.stop()
        with pytest.raises(RequestRefused, match="shard 1") as error:
            books.search(ROWS[:1])
        assert error.value.status == 503 and error.value.kind == "shard_lost"


def test_replicas_hold_the_same_and_one_of_them_is_enough(start: Starter) -> None:
    served = start(4, shards=2)
    with served[3].client() as client:
        books = client.create("books", dim=8, metric="l2")
        books.upsert(range(200), ROWS)
        held = [set(each.worker._local.store.collection("books").ids()[0]) for each in served]
        assert held[0] == held[2] and held[1] == held[3] and held[0] | held[1] == set(range(200))
        served[0].stop()
        results = books.search(ROWS[:20], k=5)
        assert results.complete and results.ids() == EXACT[:20, :5].tolist()


def test_a_replica_that_comes_late_fetches_what_the_others_hold(start: Starter, tmp_path: Path) -> None:
    (first,) = start(1)
    with first.client() as client:
        books = client.create("books", dim=8, metric="l2")
        books.upsert(range(200), ROWS, texts=[f"text {row}" for row in range(200)])
    late = Served(tmp_path, 1, embedding=None, peers=[first.peer])
    try:
        know_each_other(first, late)
        with late.client(attempts=6) as client, first.client() as other:
            books = client.collection("books")
            assert books.search(ROWS[:20], k=5).ids() == EXACT[:20, :5].tolist()
            assert books.get([17])[0]["text"] == "text 17"
            time.sleep(0.1)
            other.collection("books").upsert([999], ROWS[:1] * 0.5)
            assert late.worker._local.store.collection("books").count() == 201
    finally:
        late.stop()


def test_a_replica_that_stands_by_waits_for_its_lease_however_long_that_takes(
    start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent names the others to who holds a lease; that of a dead holder has to end first."""
    monkeypatch.setattr("fairlead_tiered_retrieval.shards.sharded.APPEAR_S", 0.2)
    (first,) = start(1)
    with first.client() as client:
        client.create("books", dim=8, metric="l2").upsert(range(200), ROWS)
    late = Served(tmp_path, 1, embedding=None, epoch=0)
    try:
        with late.client(attempts=6) as client:
            time.sleep(0.5)
            assert client.stats()["joining"]
            monkeypatch.setattr("fairlead_tiered_retrieval.shards.sharded.APPEAR_S", patient(60))
            late.given.named, late.given.epoch = (first.peer,), 1
            know_each_other(first, late)
            assert client.collection("books").search(ROWS[:20], k=5).ids() == EXACT[:20, :5].tolist()
    finally:
        late.stop()


def test_a_late_replica_answers_only_once_the_others_pass_writes_on_to_it(start: Starter, tmp_path: Path) -> None:
    """Or what is written between its fetching and their hearing of it would be on neither way."""
    (first,) = start(1)
    with first.client() as client:
        client.create("books", dim=8, metric="l2").upsert(range(200), ROWS)
        late = Served(tmp_path, 1, embedding=None, peers=[first.peer])
        try:
            time.sleep(1.5)
            with late.client(attempts=6) as other:
                assert other.stats()["joining"]
                client.collection("books").upsert([999], ROWS[:1] * 0.5)
                know_each_other(first, late)
                assert late.worker._local.store.collection("books").count() == 201
        finally:
            late.stop()


def test_a_replica_that_was_away_learns_what_was_deleted(start: Starter, tmp_path: Path) -> None:
    first, away = start(2)
    with first.client() as client:
        books = client.create("books", dim=8, metric="l2")
        books.upsert(range(200), ROWS, metadata=[{"row": row} for row in range(200)])
        client.create("old", dim=8).upsert([1], ROWS[:1])
        client.create("again", dim=8).upsert([1], ROWS[:1])
        away.stop()
        away.worker._local.close()
        first.given.named = (first.peer,)
        while client.stats()["replicas"] != [0]:
            time.sleep(0.02)
        assert books.delete([3, 4, 5]) == 3 and books.delete(filter={"row": {"ge": 190}}) == 10
        books.upsert([4], ROWS[4:5])
        for name in ("old", "again"):
            client.drop(name)
        client.create("again", dim=8)
    back = Served(tmp_path, 1, embedding=None, peers=[first.peer])
    try:
        know_each_other(first, back)
        held = set(back.worker._local.store.collection("books").ids()[0])
        assert held == set(range(190)) - {3, 5}
        assert back.worker._local.store.names() == ["again", "books"]
        assert back.worker._local.store.collection("again").count() == 0
    finally:
        back.stop()


def test_what_was_written_after_a_deletion_elsewhere_stays(tmp_path: Path) -> None:
    with Store(tmp_path, StoreSettings(maintenance_s=0)) as store:
        books = store.create("books", Space("float32", "l2", 8))
        books.upsert([1, 2, "three"], ROWS[:3])
        now = int(time.time() * 1000)
        assert books.delete_missed([1, 2, 9], [now - 60_000, now + 60_000, now]) == 1
        assert set(books.ids()[0]) == {1, "three"}
        books.delete(["three"])
        gone = books.deleted()
        assert set(gone.ids) == {2, "three"} and gone.next is None and gone.since == 0
        books.upsert([2], ROWS[:1])
        assert books.deleted(0, 1).ids == ["three"] and books.deleted(0, 1).next == 1
        books._parts.catalog.forget_graves(now + 120_000)
        assert books.deleted().ids == [] and books.deleted().since == now + 120_000
