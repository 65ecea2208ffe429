"""What a collection promises beside keeping documents: bad input, limits, changes while it searches."""

import random
import threading
import time

import numpy as np
import pytest

from fairlead_tiered_retrieval.errors import (
    BadDocument,
    BadVectors,
    BudgetExceeded,
    NotFound,
    StoreClosed,
    TieredRetrievalError,
)
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.store.fusion import ReciprocalRank, Weighted, fuse
from fairlead_tiered_retrieval.store.policy import BySize, Plan
from fairlead_tiered_retrieval.store.settings import StoreSettings
from fairlead_tiered_retrieval.store.store import Store
from tests.patience import patient
from tests.plugins.tiered_retrieval.store.documents import QUIET, ROWS, SPACE, InMemory, fill


def test_an_empty_collection_and_k_beyond_its_size(store):
    documents = store.create("a", SPACE)
    assert documents.search(ROWS[:2], k=5).hits == [[], []]
    assert documents.search(text="word").hits == [[]] and documents.get(["x"]) == [None]
    assert documents.delete(["x"]) == documents.delete(filter={"n": 1}) == documents.upsert([], ROWS[:0]) == 0
    documents.upsert(["x"], ROWS[:1])
    assert [hit.id for hit in documents.search(ROWS[1], k=50).hits[0]] == ["x"]
    with pytest.raises(TieredRetrievalError, match="2 and more"):
        documents.recall_report()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((["a"], [[0.0] * 15]), BadVectors, r"\[n, 16\]"),
        ((["a", "b"], [[0.0] * 16, [np.nan] * 16]), BadVectors, "row 1 is NaN"),
        ((["a", "a"], np.zeros((2, 16))), BadDocument, "given twice"),
        ((["a"], np.zeros((2, 16))), TieredRetrievalError, "2 rows for 1 ids"),
        ((["a"], np.zeros((1, 16)), [{}, {}]), BadDocument, "metadata: 2 entries for 1"),
        ((["a"], np.zeros((1, 16)), None, [7]), BadDocument, "texts: row 0"),
    ],
)
def test_bad_writes_are_refused_and_change_nothing(store, arguments, error, message):
    documents = store.create("a", SPACE)
    with pytest.raises(error, match=message):
        documents.upsert(*arguments)
    assert documents.count() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "without vector and text"),
        ({"vector": ROWS[0], "k": 0}, "k = 0"),
        ({"vector": ROWS[0], "recall": 1.5}, "recall = 1.5"),
        ({"vector": ROWS[0], "include": ["all"]}, "'all'; accepted: metadata"),
        ({"vector": ROWS[:2], "text": ["one"]}, "1 texts for 2 vectors"),
        ({"vector": ROWS[0, :3]}, r"queries of shape \(1, 3\)"),
    ],
)
def test_bad_searches_are_refused(store, arguments, message):
    with pytest.raises(TieredRetrievalError, match=message):
        store.create("a", SPACE).search(**arguments)


def test_collections_have_names_and_one_process(store, tmp_path):
    store.create("a", SPACE)
    for name in ("../b", "", ".hidden", "x" * 101, 7):
        with pytest.raises(TieredRetrievalError, match=r"collection .*accepted"):
            store.create(name, SPACE)
    with pytest.raises(TieredRetrievalError, match="there already"):
        store.create("a", SPACE)
    with pytest.raises(NotFound, match="there are a"):
        store.collection("b")
    with pytest.raises(TieredRetrievalError, match="another process"):
        Store(tmp_path / "store", QUIET)
    store.drop("a")
    assert store.names() == [] and store.create("a", Space("uint8", "dot", 4)).space.dim == 4


def test_a_closed_collection_says_so(store):
    documents = store.create("a", SPACE)
    documents.close()
    with pytest.raises(StoreClosed):
        documents.upsert(["a"], ROWS[:1])


def test_vectors_come_back_as_they_were_given(store):
    documents = store.create("a", Space("float32", "cosine", 16))
    documents.upsert(["a"], 7 * ROWS[:1])
    np.testing.assert_array_equal(documents.get(["a"])[0].vector, 7 * ROWS[0])
    assert documents.search(3 * ROWS[0]).hits[0][0].distance == pytest.approx(0, abs=1e-6)


def test_words_and_vectors_are_fused():
    near, words = [(1, -0.1), (2, -0.2), (3, -0.9)], [(3, 8.0), (9, 2.0)]
    assert [slot for slot, _ in fuse(near, words, ReciprocalRank(), 3)] == [3, 1, 2]
    assert fuse(near, words, ReciprocalRank(), 1)[0][1] == pytest.approx(0.5 / 63 + 0.5 / 61)
    assert fuse(near, words, Weighted(0.25), 1) == [(3, 0.75)]
    assert [slot for slot, _ in fuse(near, words, Weighted(1.0), 2)] == [1, 2]
    with pytest.raises(TieredRetrievalError, match="vector_weight = 2"):
        Weighted(2)


def test_hybrid_search_finds_by_both_and_keeps_to_the_filter(store):
    documents = store.create("a", SPACE)
    texts = ["a red fox" if n == 40 else "grey goose" for n in range(100)]
    documents.upsert(range(100), ROWS[:100], [{"even": n % 2 == 0} for n in range(100)], texts)
    assert documents.search(ROWS[7], "red fox", k=2).hits[0][0].id in (7, 40)
    assert {hit.id for hit in documents.search(ROWS[7], "red fox", k=2).hits[0]} == {7, 40}
    hits = documents.search(ROWS[7], "red fox", k=30, filter={"even": True}, include=["text"]).hits[0]
    assert len(hits) == 30 and all(hit.id % 2 == 0 for hit in hits) and hits[0].text
    assert documents.search(text='"(odd* AND NEAR', k=3).hits == [[]]


def test_memory_is_refused_with_the_numbers_and_reading_goes_on(tmp_path):
    with Store(tmp_path, StoreSettings(maintenance_s=0, memory_bytes=60_000), policy=InMemory()) as store:
        documents = store.create("a", SPACE)
        with pytest.raises(BudgetExceeded, match=r"\d+ bytes of memory in all; accepted: at most 60000") as refused:
            for start in range(0, 2000, 50):
                fill(documents, 50, start)
                if documents.status().plan.kind == "flat":
                    documents.maintain()
        assert refused.value.needed > refused.value.budget == 60_000
        assert documents.memory_bytes <= 60_000
        count = documents.count()
        assert len(documents.search(ROWS[0], k=3).hits[0]) == 3
        assert documents.delete([0]) == 1 and documents.count() == count - 1
        store.limit(None)
        fill(documents, 200, 1500)


def test_an_index_that_does_not_fit_is_not_built(tmp_path):
    with Store(tmp_path, QUIET) as store:
        documents = store.create("a", SPACE)
        fill(documents, 1000)
        store.limit(documents.memory_bytes + 1000)
        with pytest.raises(BudgetExceeded, match="flat index of 1000"):
            documents.rebuild(Plan("memory"))
        assert documents.status().plan.kind == "flat" and "was not built" in documents.status().problems[0]
        assert documents.search(ROWS[5], k=1).hits[0][0].id == 5


def test_snapshots_have_names(store):
    documents = store.create("a", SPACE)
    fill(documents, 5)
    documents.snapshot("one")
    with pytest.raises(TieredRetrievalError, match="there already"):
        documents.snapshot("one")
    with pytest.raises(NotFound, match="there are one"):
        store.restore("a", "two", "b")
    documents.delete_snapshot("one")
    assert documents.snapshots() == []


def test_what_an_index_cannot_take_is_found_beside_it(store, monkeypatch):
    documents = store.create("a", SPACE)
    fill(documents, 100)
    documents.rebuild(Plan("memory"))
    index = documents._parts.served.serving.index
    add = index.add

    def half(slots, vectors):
        add(slots[:5], vectors[:5])
        raise MemoryError("no room")

    monkeypatch.setattr(index, "add", half)
    fill(documents, 10, 100)
    assert documents.status().beside == 10
    hits = documents.search(ROWS[103], k=110).hits[0]
    assert hits[0].id == 103 and sorted(hit.id for hit in hits) == list(range(110))
    documents.delete([103])
    monkeypatch.undo()
    while not documents._parts.served.maintain(0.01).finished:
        pass
    assert documents.status().beside == 0
    hits = documents.search(ROWS[103], k=110).hits[0]
    assert len(hits) == 109 and 103 not in {hit.id for hit in hits}


def test_small_writes_wait_beside_a_graph_are_found_and_go_over(store, monkeypatch):
    documents = store.create("a", SPACE)
    fill(documents, 600)
    documents.rebuild(Plan("graph"))
    fill(documents, 200, 600)
    assert documents.status().beside == 0  # many at once
    for start in range(800, 840, 10):
        fill(documents, 10, start)
    assert documents.status().beside == 40
    assert [hits[0].id for hits in documents.search(ROWS[790:840], k=3).hits] == list(range(790, 840))
    kept = documents.search(ROWS[800], k=20, filter={"n": {"lt": 5}}).hits[0]
    assert 800 in {hit.id for hit in kept} and 805 not in {hit.id for hit in kept}
    index = documents._parts.served.serving.index
    add = index.add

    def slow(slots, vectors):
        add(slots, vectors)
        if 805 in slots:  # deleted while it goes over
            threading.Thread(target=documents.delete, args=([805],)).start()
            while documents.get([805]) != [None]:
                time.sleep(0.001)

    monkeypatch.setattr(index, "add", slow)
    while not documents._parts.served.maintain(0.01).finished:
        pass
    assert documents.status().beside == 0 and index.count == 839
    found = [hits[0].id for hits in documents.search(ROWS[800:840], k=1).hits]
    assert 805 not in found and found[:5] == [800, 801, 802, 803, 804]


def test_many_writers_and_readers_while_indexes_change(tmp_path):
    """Each writer sees what it wrote, readers see whole documents only, snapshots are of one moment."""
    problems, stop = [], threading.Event()
    with Store(tmp_path, StoreSettings(maintenance_s=0.01, log_bytes=50_000, segment_bytes=20_000)) as store:
        documents = store.create("a", SPACE)
        fill(documents, 400)

        def write(worker):
            for turn in range(25):
                key = f"w{worker}"
                documents.upsert([key, f"{key}b"], ROWS[[worker, turn]], [{"turn": turn}] * 2)
                found = documents.search(ROWS[turn], k=1, filter={"turn": turn}).hits[0]
                assert found[0].distance == 0 or found[0].metadata["turn"] == turn
                if turn % 5 == 4:
                    documents.delete([key, f"{key}b"])
                    assert documents.get([key]) == [None]

        def look():
            while not stop.is_set():
                for hit in documents.search(ROWS[random.randrange(400)], k=20).hits[0]:
                    assert hit.id is not None and isinstance(hit.metadata, dict)

        def change():
            for turn in range(8):
                documents.rebuild(Plan(("memory", "flat")[turn % 2]))
                documents.snapshot(f"s{turn}")

        def guarded(work, *arguments):
            try:
                work(*arguments)
            except BaseException as error:
                problems.append(error)

        readers = [threading.Thread(target=guarded, args=(look,)) for _ in range(2)]
        workers = [threading.Thread(target=guarded, args=(write, n)) for n in range(4)]
        workers.append(threading.Thread(target=guarded, args=(change,)))
        for thread in (*readers, *workers):
            thread.start()
        for thread in workers:
            thread.join()
        stop.set()
        for thread in readers:
            thread.join()
        assert problems == []
        assert documents.count() == 400 and documents.verify() == []
        assert len(documents.search(ROWS[0], k=1000).hits[0]) == 400
        restored = store.restore("a", "s7", "b")
        pairs = [restored.get([f"w{n}", f"w{n}b"]) for n in range(4)]
        assert all((one is None) == (other is None) for one, other in pairs)
        assert all(one is None or one.metadata == other.metadata for one, other in pairs)


def test_background_work_cuts_the_log_and_builds_an_index(tmp_path):
    settings = StoreSettings(maintenance_s=0.01, log_bytes=10_000)
    with Store(tmp_path, settings, policy=InMemory()) as store:
        documents = store.create("a", SPACE)
        fill(documents, 500)
        deadline = time.monotonic() + patient(60)
        while time.monotonic() < deadline and (documents.status().plan.kind, documents._log.bytes) != ("memory", 0):
            time.sleep(0.01)
        assert documents.status().plan.kind == "memory" and documents._log.bytes == 0
    with Store(tmp_path, settings) as store:
        assert store.collection("a").count() == 500 and store.collection("a").replayed == 0


def test_freed_slots_are_used_again(store):
    documents = store.create("a", SPACE)
    for _ in range(20):
        fill(documents, 200)
        documents.maintain()
    assert documents._parts.slots.top <= 400


def test_the_policy_wants_an_index_from_a_size_on():
    plan = BySize(1000).choose
    space, flat, graph = SPACE, Plan("flat"), Plan("graph")
    from fairlead_tiered_retrieval.store.policy import Situation, available_kinds

    assert plan(Situation(space, 999, None, flat, 0)).kind == "flat"
    assert plan(Situation(space, 1000, None, flat, 0)).kind == (available_kinds() or ["flat"])[0]
    assert plan(Situation(space, 600, None, graph, 1000)).kind == "graph"
    assert plan(Situation(space, 400, None, graph, 1000)).kind == "flat"
