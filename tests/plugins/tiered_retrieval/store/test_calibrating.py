"""Queries that look otherwise than what is stored: an index that is measured by them finds what was asked for."""

import numpy as np
import pytest

from fairlead_tiered_retrieval.errors import BadVectors, TieredRetrievalError
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.store.policy import Plan, available_kinds
from fairlead_tiered_retrieval.store.settings import StoreSettings
from fairlead_tiered_retrieval.store.store import Store

COUNT, DIM, RECALL = 6000, 32, 0.95
RANDOM = np.random.default_rng(4)
CENTRES = RANDOM.standard_normal((60, DIM)) * 2
#: Stored vectors lie close together around a few places, queries anywhere between these.
ROWS = (CENTRES[RANDOM.integers(0, 60, COUNT)] + 0.5 * RANDOM.standard_normal((COUNT, DIM))).astype(np.float32)
PAIRS = RANDOM.integers(0, 60, (2, 400))
QUERIES = (0.5 * CENTRES[PAIRS].sum(axis=0) + RANDOM.standard_normal((400, DIM))).astype(np.float32)


class Kept:
    """The index stays as the test has it."""

    def choose(self, situation):
        return situation.plan


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path, StoreSettings(maintenance_s=0), policy=Kept()) as store:
        yield store


def filled(store, kind):
    collection = store.create(kind, Space("float32", "l2", DIM))
    collection.upsert(range(COUNT), ROWS)
    collection.rebuild(Plan(kind))
    return collection


@pytest.mark.parametrize("kind", available_kinds())
def test_queries_between_the_vectors_find_what_was_asked_for_once_they_were_measured(store, kind, tmp_path):
    collection = filled(store, kind)
    before, after = collection.calibrate(QUERIES, recall=RECALL)
    assert before.sample == "queries" and before.queries == 200
    if kind in ("graph", "lists"):
        assert before.recall < RECALL, "these queries are harder than the vectors: else this tests nothing"
    assert after.recall >= RECALL - 0.015
    settings = StoreSettings(maintenance_s=0)
    store.close()
    with Store(tmp_path, settings, policy=Kept()) as again:
        assert again.collection(kind).calibrate(QUERIES, recall=RECALL)[0].recall >= RECALL - 0.015, "it was not kept"


def test_queries_that_come_are_what_it_is_measured_by(store):
    collection = filled(store, available_kinds()[0])
    with pytest.raises(TieredRetrievalError, match="0 different queries came"):
        collection.calibrate()
    for query in QUERIES:
        collection.search(query)
    assert collection.seen[0] > 200 and collection.seen[1] == len(QUERIES)
    report = collection.recall_report(queries=256, recall=RECALL, sample="queries")
    assert report.sample == "queries" and report.short
    _, after = collection.calibrate(recall=RECALL)
    assert after.recall > report.recall and not after.short


def test_searches_with_a_filter_or_for_all_are_not_noted(store):
    collection = filled(store, "flat")
    collection.search(QUERIES[0], filter={"a": 1})
    collection.search(QUERIES[0], recall=1.0)
    assert collection.seen == (0, 0)


def test_too_few_or_other_queries_are_refused(store):
    collection = filled(store, "flat")
    with pytest.raises(TieredRetrievalError, match="5 queries to calibrate by; accepted: 40"):
        collection.calibrate(QUERIES[:5])
    with pytest.raises(BadVectors):
        collection.calibrate(np.zeros((50, DIM + 1), np.float32))
