"""A collection against a dictionary: any sequence of writes, restarts, index changes and snapshots."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fairlead_tiered_retrieval.errors import NotFound
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.store.filters import matches, parse_filter
from fairlead_tiered_retrieval.store.policy import Plan
from fairlead_tiered_retrieval.store.settings import StoreSettings
from fairlead_tiered_retrieval.store.store import Store

DIM = 4
IDS = st.sampled_from([0, 1, 2, -7, "0", "1", "é", "long " * 20])
VALUES = st.sampled_from([True, False, 0, 1, 2.5, "a", "b", ["a", 1], []])
FIELDS = st.dictionaries(st.sampled_from(["x", "y"]), VALUES, max_size=2)
VECTORS = st.lists(st.integers(-3, 3), min_size=DIM, max_size=DIM)
TEXTS = st.sampled_from([None, "red fox", "blue whale", "red whale"])
FILTERS = st.sampled_from(
    [
        {"x": 1},
        {"x": True},
        {"x": ["a", 2.5]},
        {"y": {"ge": 1, "lt": 2.5}},
        {"x": {"gt": "a"}},
        {"$not": {"y": "b"}},
        {"$or": [{"x": None}, {"y": {"exists": False}}]},
        {"x": {"ne": "a"}, "y": {"in": [0, "a"]}},
    ]
)
SETTINGS = StoreSettings(maintenance_s=0, segment_bytes=600, log_bytes=1500)


class CollectionMachine(RuleBasedStateMachine):
    """The model: id -> (vector, fields, text)."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.store = Store(self.folder, SETTINGS)
        self.documents = self.store.create("a", Space("float32", "l2", DIM))
        self.model, self.snapshots = {}, {}

    @rule(documents=st.dictionaries(IDS, st.tuples(VECTORS, FIELDS, TEXTS), min_size=1, max_size=4))
    def upsert(self, documents):
        vectors, fields, texts = zip(*documents.values(), strict=True)
        assert self.documents.upsert(list(documents), vectors, fields, texts) == len(documents)
        self.model.update(documents)

    @rule(key=IDS, fields=st.dictionaries(st.sampled_from(["x", "y"]), VALUES | st.none()), vector=st.none() | VECTORS)
    def update(self, key, fields, vector):
        given = None if vector is None else [vector]
        if key not in self.model:
            try:
                self.documents.update([key], given, [fields])
                raise AssertionError("updated what is not there")
            except NotFound:
                return
        self.documents.update([key], given, [fields])
        old, kept, text = self.model[key]
        joined = {name: value for name, value in {**kept, **fields}.items() if value is not None}
        self.model[key] = (old if vector is None else vector, joined, text)

    @rule(keys=st.sets(IDS, max_size=3))
    def delete(self, keys):
        assert self.documents.delete(list(keys)) == len(keys & self.model.keys())
        for key in keys:
            self.model.pop(key, None)

    @rule(condition=FILTERS)
    def delete_where(self, condition):
        gone = [key for key, (_, fields, _) in self.model.items() if matches(parse_filter(condition), fields)]
        assert self.documents.delete(filter=condition) == len(gone)
        for key in gone:
            del self.model[key]

    @rule(condition=st.none() | FILTERS, query=VECTORS, k=st.integers(1, 9))
    def search(self, condition, query, k):
        among = {
            key: float(((np.array(vector) - query) ** 2).sum())
            for key, (vector, fields, _) in self.model.items()
            if condition is None or matches(parse_filter(condition), fields)
        }
        hits = self.documents.search(query, k=k, filter=condition).hits[0]
        assert [hit.distance for hit in hits] == sorted(among.values())[:k]
        assert all(among[hit.id] == hit.distance and hit.metadata == self.model[hit.id][1] for hit in hits)
        assert self.documents.count(condition) == len(among)

    @rule(word=st.sampled_from(["red", "whale", "RED fox"]))
    def search_words(self, word):
        wanted = {
            key for key, (_, _, text) in self.model.items() if text and set(word.lower().split()) & set(text.split())
        }
        assert {hit.id for hit in self.documents.search(text=word, k=9).hits[0]} == wanted

    @rule(clean=st.booleans())
    def restart(self, clean):
        if clean:
            self.documents.checkpoint()
        self.store.close()
        self.store = Store(self.folder, SETTINGS)
        self.documents = self.store.collection("a")
        assert self.documents.status().problems == ()

    @rule(kind=st.sampled_from(["memory", "flat"]))
    def another_index(self, kind):
        self.documents.rebuild(Plan(kind))

    @rule()
    def maintain(self):
        self.documents._maintenance._policy = type("Same", (), {"choose": lambda self, situation: situation.plan})()
        self.documents.maintain()

    @rule(name=st.sampled_from(["one", "two"]))
    def snapshot(self, name):
        if name not in self.snapshots:
            self.documents.snapshot(name)
            self.snapshots[name] = dict(self.model)

    @rule(name=st.sampled_from(["one", "two"]))
    def restore(self, name):
        if name in self.snapshots:
            restored = self.store.restore("a", name, "copy")
            documents = restored.get(list(self.snapshots[name]))
            assert [document.vector.tolist() for document in documents] == [
                v for v, _, _ in self.snapshots[name].values()
            ]
            assert restored.count() == len(documents) and restored.verify() == []
            self.store.drop("copy")

    @invariant()
    def has_what_the_model_has(self):
        if not hasattr(self, "store"):
            return
        assert self.documents.count() == len(self.model)
        for key, found in zip(self.model, self.documents.get(list(self.model)), strict=True):
            vector, fields, text = self.model[key]
            assert (found.vector.tolist(), found.metadata, found.text) == (vector, fields, text)

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)


CollectionMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
TestCollection = CollectionMachine.TestCase
