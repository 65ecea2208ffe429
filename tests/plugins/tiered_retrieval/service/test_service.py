"""The service as clients see it: what goes in comes out, by JSON and Arrow, and every error says what is accepted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from fairlead_agent.plugin import Budget
from fairlead_tiered_retrieval.client import Client, RequestRefused
from fairlead_tiered_retrieval.store.policy import Plan
from tests.plugins.tiered_retrieval.serving import Served

RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(300, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("store"), embedding=None)
    yield served
    served.stop()


@pytest.fixture(params=["json", "arrow"])
def client(served: Served, request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "arrow":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with served.client(binary=request.param == "arrow") as client:
        yield client


@pytest.fixture
def filled(client: Client, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A collection with 300 documents."""
    name = f"c{abs(hash(request.node.name)) % 10**8}"
    collection = client.create(name, dim=16, metric="l2")
    texts = [f"number {row} {'even' if row % 2 == 0 else 'odd'}" for row in range(300)]
    collection.upsert(range(300), ROWS, texts=texts, metadata=[{"row": row} for row in range(300)], batch=128)
    yield collection
    client.drop(name)


def test_what_goes_in_is_found(filled: Any) -> None:
    results = filled.search(ROWS[:5], k=3, include=("text", "metadata", "vector"))
    assert results.complete and [hits[0].id for hits in results] == [0, 1, 2, 3, 4]
    exact = np.square(ROWS - ROWS[4]).sum(axis=1)
    assert [hit.id for hit in results[4]] == np.argsort(exact)[:3].tolist()
    best = results[4][0]
    assert best.text == "number 4 even" and best.metadata == {"row": 4} and best.distance == pytest.approx(0, abs=1e-5)
    np.testing.assert_array_equal(best.vector, ROWS[4])


def test_filters_words_and_both(filled: Any) -> None:
    odd = filled.search(ROWS[:1], k=10, filter={"row": {"ge": 100, "lt": 105}})
    assert sorted(hit.id for hit in odd[0]) == [100, 101, 102, 103, 104]
    assert filled.search(texts="number 17", mode="text", k=1).ids() == [[17]]
    both = filled.search(ROWS[17], texts="17", k=2, mode="hybrid")
    assert both[0][0].id == 17 and both[0][0].distance <= both[0][1].distance


def test_documents_are_got_replaced_and_deleted(filled: Any) -> None:
    filled.upsert([7, "seven"], ROWS[[8, 9]], texts=["new", None])
    found = filled.get([7, "seven", 999], vectors=True)
    assert found[0]["text"] == "new" and found[2] is None
    np.testing.assert_array_equal(found[0]["vector"], ROWS[8])
    assert {hit.id for hit in filled.search(ROWS[9], k=2)[0]} == {9, "seven"}
    assert filled.delete(["seven", 1, 999]) == 2
    assert filled.delete(filter={"row": {"lt": 10}}) == 8
    assert filled.info()["count"] == 291


def test_an_index_is_measured_by_queries(filled: Any) -> None:
    with pytest.raises(RequestRefused, match="0 different queries came since the start; accepted: 50"):
        filled.calibrate()
    with pytest.raises(RequestRefused, match="2 queries to calibrate by; accepted: 40"):
        filled.calibrate(ROWS[:2])
    for row in ROWS[:80]:
        filled.search(row)
    found = filled.calibrate()
    assert found["before"]["sample"] == "queries" and found["after"]["recall"] == 1.0
    assert filled.recall(of="queries")["queries"] == 80
    assert filled.calibrate(ROWS[:60])["after"]["queries"] == 30


def test_moves_snapshots_and_recall(filled: Any, client: Client) -> None:
    before = filled.search(ROWS[:20], k=5).ids()
    moved = filled.move("file")
    assert (moved["was"], moved["tier"]) == ("dram", "file") and moved["tier_bytes"] >= 300 * 64
    results = filled.search(ROWS[:20], k=5)
    assert results.ids() == before and results.reads > 0 and results.round_trips == 20
    assert client.tiers()["tiers"][1]["collections"] == [filled.name]
    assert filled.recall(sample=50)["recall"] == 1.0
    made = filled.snapshot("first")
    again = filled.restore("first", "again")
    assert again["count"] == made["count"] and filled.info()["snapshots"] == ["first"]
    with pytest.raises(RequestRefused, match="accepted: another name"):
        filled.restore("first", "again")
    with pytest.raises(RequestRefused, match="snapshot 'second' is not there; there are first"):
        filled.restore("second", "more")
    client.drop("again")
    assert made["count"] == 300 and Path(made["folder"]).is_dir()
    files = list(Path(made["folder"]).parents[3].glob("tiers/*.vectors"))
    assert len(files) == 1
    assert filled.move("dram")["tier"] == "dram" and not files[0].exists()
    assert filled.search(ROWS[:20], k=5).ids() == before
    assert filled.maintain(0.1)["finished"]


def test_creating_again_finds_it_and_another_space_is_refused(filled: Any, client: Client) -> None:
    assert client.create(filled.name, dim=16, metric="l2").info()["count"] == 300
    with pytest.raises(RequestRefused, match="is there with 16 float32, l2; asked: 8") as error:
        client.create(filled.name, dim=8)
    assert error.value.status == 409


@pytest.mark.parametrize(
    ("below", "body", "status", "said"),
    [
        ("/search", {"vector": [1, 2]}, 400, "accepted: [n, 16]"),
        ("/search", {"vector": [1] * 16, "k": 0}, 400, "k = 0"),
        ("/search", {"vector": ["a"] * 16}, 400, "accepted: rows of 16 numbers"),
        ("/search", {"vector": [None] * 16}, 400, "accepted: rows of 16 numbers"),
        ("/search", {"vectors": [[1] * 16, [1]]}, 400, "accepted: rows of 16 numbers"),
        ("/search", {"k": 3}, 400, "accepted: vector or vectors, text or texts"),
        ("/search", {"vector": [1] * 16, "filtre": {}}, 400, "filtre"),
        ("/search", {"vector": [1] * 16, "filter": {"row": {"above": 3}}}, 400, "accepted: eq, ne"),
        ("/search", {"text": "a"}, 501, "no embedding model"),
        ("/upsert", {"ids": [1, 1], "vectors": [[1] * 16] * 2}, 400, "given twice"),
        ("/upsert", {"ids": [1], "vectors": [[float("nan")] * 16]}, 400, "row 0 is NaN or infinite"),
        ("/upsert", {"ids": [1], "vectors": [[1] * 16], "texts": ["a", "b"]}, 400, "texts has 2 rows"),
        ("/upsert", {"ids": []}, 400, "ids"),
        ("/delete", {}, 400, "accepted: ids or filter"),
        ("/move", {"tier": "tape"}, 400, "'dram', 'file' or 'memory'"),
        ("/move", {"tier": "memory"}, 400, "no memory node is named"),
        ("/snapshot", {"name": "../up"}, 400, "name"),
        ("/nothing", {}, 404, "Not Found"),
    ],
)
def test_errors_name_field_and_what_is_accepted(
    served: Served, below: str, body: dict[str, Any], status: int, said: str
) -> None:
    with served.client(binary=False) as client:
        client.create("errors", dim=16, metric="l2").upsert([1], ROWS[:1])
    answer = httpx.post(f"{served.url}/collections/errors{below}", content=_json(body))
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert said in error["message"] and error["type"] and ("accepted" in error or "field" not in error)


def _json(body: Any) -> bytes:
    import json

    return json.dumps(body).encode()


def test_no_json_no_collection_and_a_bad_name(served: Served) -> None:
    assert httpx.post(f"{served.url}/collections/a/search", content=b"{").json()["error"]["field"] == "body"
    missing = httpx.get(f"{served.url}/collections/missing")
    assert missing.status_code == 404 and missing.json()["error"]["type"] == "not_found"
    assert httpx.put(f"{served.url}/collections/.hidden", json={"dim": 3}).status_code == 400
    bad = httpx.post(
        f"{served.url}/collections/a/upsert",
        content=b"no arrow",
        headers={"content-type": "application/vnd.apache.arrow.stream"},
    )
    assert bad.status_code in (400, 501)


def test_the_api_describes_itself_and_counts(served: Served) -> None:
    document = httpx.get(f"{served.url}/openapi.json").json()
    assert set(document["paths"]["/collections/{name}"]) == {"get", "put", "delete"}
    assert "#/components/schemas/Search" in str(document["paths"]["/collections/{name}/search"])
    text = httpx.get(f"{served.url}/metrics").text
    assert "fairlead_retrieval_search_seconds_bucket" in text and "fairlead_retrieval_memory_bytes" in text


def test_a_budget_moves_vectors_out_and_back(tmp_path: Path) -> None:
    served = Served(tmp_path, embedding=None, index_from=4000)
    try:
        with served.client() as client:
            rows = RNG.normal(size=(3000, 64)).astype(np.float32)
            collection = client.create("big", dim=64, metric="l2")
            collection.upsert(range(3000), rows)
            served.worker._local.store.collection("big").rebuild(_in_memory())
            before = collection.search(rows[:10], k=3).ids()
            whole = served.worker.reconfigure(Budget(), 5.0)
            least = whole.minimum["dram"]
            assert least < whole.in_use["dram"] - 200_000
            squeezed = served.worker.reconfigure(Budget(memory_bytes={"dram": least + 100_000}), 5.0)
            assert squeezed.accepted, squeezed.reason
            assert squeezed.in_use["dram"] <= least + 100_000
            assert collection.info()["tier"] == "file" and collection.search(rows[:10], k=3).ids() == before
            refused = served.worker.reconfigure(Budget(memory_bytes={"dram": 1 << 20}), 5.0)
            assert not refused.accepted and "accepted:" in refused.reason
            assert served.worker.reconfigure(Budget(), 5.0).accepted
            assert collection.info()["tier"] == "dram" and collection.search(rows[:10], k=3).ids() == before
    finally:
        served.stop()


@pytest.fixture
def many(tmp_path: Path) -> Iterator[tuple[Served, Any, Any]]:
    """A service of its own with a collection that is large enough for an index, and its vectors [2000, 32]."""
    from fairlead_kernels.backend import extension

    if extension() is None:
        pytest.skip("indexes of many vectors need the compiled kernels")
    served = Served(tmp_path, embedding=None, index_from=1000)
    try:
        with served.client() as client:
            rows = RNG.normal(size=(2000, 32)).astype(np.float32)
            collection = client.create("many", dim=32, metric="l2")
            collection.upsert(range(2000), rows)
            yield served, collection, rows
    finally:
        served.stop()


def test_many_vectors_leave_main_memory_for_a_budget_too(many: tuple[Served, Any, Any]) -> None:
    """Above `index_from` there is an index, which keeps its kind of codes where its vectors go."""
    served, collection, rows = many
    served.worker._local.store.collection("many").rebuild(Plan("lists"))
    exact = collection.search(rows[:50], k=5, recall=1.0).ids()
    whole = served.worker.reconfigure(Budget(), 5.0)
    least = whole.minimum["dram"]
    squeezed = served.worker.reconfigure(Budget(memory_bytes={"dram": least + 100_000}), 5.0)
    assert squeezed.accepted and squeezed.in_use["dram"] < whole.in_use["dram"] - 100_000
    found = collection.search(rows[:50], k=5)
    shared = [len(set(one) & set(other)) for one, other in zip(found.ids(), exact, strict=True)]
    assert sum(shared) / 250 > 0.85 and found.round_trips == 50 and 0 < found.reads < 50 * 200
    assert collection.info()["tier"] == "file" and collection.info()["index"] == "lists"
    assert served.worker.reconfigure(Budget(), 5.0).accepted and collection.info()["tier"] == "dram"


def test_measuring_while_the_tier_is_away_changes_nothing_and_says_so(
    many: tuple[Served, Any, Any], tmp_path: Path
) -> None:
    _, collection, rows = many
    collection.move("file", index="lists")
    found = collection.search(rows[:50], k=5)
    (held,) = tmp_path.glob("**/tiers/*")
    content = held.read_bytes()
    held.write_bytes(b"")
    with pytest.raises(RequestRefused, match="does not answer; what recall takes stays as it was"):
        collection.calibrate(rows[:60])
    assert not collection.search(rows[:50], k=5).complete
    held.write_bytes(content)
    assert collection.search(rows[:50], k=5).ids() == found.ids()


def _in_memory() -> Any:
    return Plan("memory")


def test_a_drained_worker_refuses_and_a_new_one_has_everything(tmp_path: Path) -> None:
    served = Served(tmp_path, embedding=None)
    with served.client() as client:
        client.create("kept", dim=16, metric="l2").upsert(range(300), ROWS)
        client.collection("kept").move("file")
        served.worker.drain()
        with pytest.raises(RequestRefused, match="draining"):
            client.collections()
    served.stop()
    served.worker._local.close()
    again = Served(tmp_path, embedding=None)
    with again.client() as client:
        assert client.collection("kept").info()["count"] == 300
        assert client.collection("kept").search(ROWS[5], k=1).ids() == [[5]]
    again.stop()
