"""Collections that go to a lower tier with the index that is asked for, or that suits the tier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fairlead_kernels.backend import extension
from fairlead_tiered_retrieval.advisor.lower_tier import choose_index
from fairlead_tiered_retrieval.advisor.policy import Advised
from fairlead_tiered_retrieval.errors import TieredRetrievalError
from fairlead_tiered_retrieval.service.placement import Placement, Regions, StaysInTier
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.store.settings import StoreSettings
from fairlead_tiered_retrieval.store.store import Store
from fairlead_tiered_retrieval.tiers import open_region

pytestmark = pytest.mark.skipif(extension() is None, reason="the compiled extension is not installed")

SPACE = Space("float32", "l2", 24)
ROWS = np.random.default_rng(3).normal(size=(500, 24)).astype(np.float32)


def opened(folder: Path) -> tuple[Store, Placement]:
    advised, regions = Advised(200), Regions(open_region)
    settings = StoreSettings(index_from=200, maintenance_s=0)
    store = Store(folder / "store", settings, policy=StaysInTier(advised), open_region=regions.open)
    return store, Placement(store, advised, folder / "tiers", (), regions)


@pytest.fixture
def placed(tmp_path: Path) -> Iterator[tuple[Store, Placement]]:
    store, placement = opened(tmp_path)
    store.create("many", SPACE).upsert(list(range(400)), ROWS[:400])
    yield store, placement
    store.close()


def nearest(store: Store) -> list[int]:
    hits = store.collection("many").search(ROWS[:40], k=1, recall=0.99).hits
    return [found[0].id for found in hits]


def test_a_graph_goes_to_a_file_takes_writes_and_comes_back(placed: tuple[Store, Placement], tmp_path: Path) -> None:
    store, placement = placed
    moved = placement.move("many", "file", index="graph")
    assert (moved["was"], moved["tier"], moved["index"]) == ("dram", "file", "graph")
    assert moved["tier_bytes"] > 400 * SPACE.bytes and nearest(store) == list(range(40))
    documents = store.collection("many")
    documents.upsert(list(range(400, 500)), ROWS[400:])
    documents.delete(list(range(100, 200)))
    while not documents.maintain().finished:
        pass
    found = documents.search(ROWS[400:], k=1, recall=0.99)
    assert [hits[0].id for hits in found.hits] == list(range(400, 500)) and found.complete
    other = f"file:{tmp_path / 'elsewhere'}?size={1 << 18}"
    assert placement.move("many", "file", other)["index"] == "graph"
    with pytest.raises(TieredRetrievalError, match="the index of kind graph lies there"):
        placement.move("many", "file", other, "lists")
    documents.checkpoint()
    store.close()
    again, placement = opened(tmp_path)
    assert nearest(again) == list(range(40)) and again.collection("many").status().plan.region == other
    assert placement.move("many", "file", index="lists")["index"] == "lists"
    assert placement.move("many", "dram")["tier"] == "dram" and nearest(again) == list(range(40))
    again.close()


def test_what_is_refused_moves_nothing(placed: tuple[Store, Placement]) -> None:
    store, placement = placed
    for tier, index, why in (("dram", "graph", "of tier dram"), ("file", "tree", "accepted: lists, graph")):
        with pytest.raises(TieredRetrievalError, match=why):
            placement.move("many", tier, index=index)
    store.collection("many").delete(list(range(250)))
    with pytest.raises(TieredRetrievalError, match="of 150 vectors; accepted: 200"):
        placement.move("many", "file", index="graph")
    assert store.collection("many").status().plan.region is None


def test_the_tier_says_which_index(tmp_path: Path) -> None:
    many = 1_000_000
    with open_region(f"file:{tmp_path / 'a'}", 1 << 16) as disk, open_region("dram:", 1 << 22) as memory:
        kind, why = choose_index(SPACE, many, disk, ("lists", "graph"), 0.95)
        assert kind == "lists" and "searches a second" in why
        assert choose_index(SPACE, many, memory, ("lists", "graph"), 0.95)[0] == "graph"
        assert choose_index(SPACE, many, memory, ("lists",), 0.95)[0] == "lists"
