"""What an instance checks by itself: recall, on queries where enough came, and an index that falls short of it."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from fairlead_tiered_retrieval.service.facts import Facts
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.store.policy import Plan
from fairlead_tiered_retrieval.store.settings import StoreSettings
from fairlead_tiered_retrieval.store.store import Store
from tests.plugins.tiered_retrieval.store.test_calibrating import COUNT, DIM, QUERIES, RECALL, ROWS, Kept


def test_an_index_that_falls_short_on_queries_is_measured_by_them(tmp_path: Any) -> None:
    told, now = [], [0.0]
    with Store(tmp_path, StoreSettings(maintenance_s=0), policy=Kept()) as store:
        collection = store.create("books", Space("float32", "l2", DIM))
        collection.upsert(range(COUNT), ROWS)
        collection.rebuild(Plan("lists"))
        local: Any = SimpleNamespace(store=store, settings=SimpleNamespace(recall=RECALL), recalls={})
        publisher: Any = None
        facts = Facts(
            local, publisher, 60.0, warn=lambda event, **values: told.append((event, values)), clock=lambda: now[0]
        )
        now[0] = 61.0
        facts.report()
        assert local.recalls["books"].sample == "vectors" and not told
        for query in QUERIES:
            collection.search(query, recall=0.9)
        facts.report()
        assert local.recalls["books"].sample == "vectors", "it is not time yet"
        now[0] = 122.0
        facts.report()
        (_, values), report = told[0], local.recalls["books"]
        assert values["collection"] == "books" and values["after"] > values["before"] < RECALL
        assert report.sample == "queries" and not report.short
        now[0] = 183.0
        facts.report()
        assert len(told) == 1, "it is measured again and again"
        assert np.isfinite(local.recalls["books"].recall)
