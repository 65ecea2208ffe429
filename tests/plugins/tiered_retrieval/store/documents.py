"""Documents that the tests of a collection write, and when their index is built."""

import numpy as np

from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.store.policy import Plan
from fairlead_tiered_retrieval.store.settings import StoreSettings

SPACE = Space("float32", "l2", 16)
QUIET = StoreSettings(maintenance_s=0)
ROWS = np.random.default_rng(5).standard_normal((2000, 16)).astype(np.float32)


class InMemory:
    """An index of its own from some documents on, so that rebuilding, saving and loading take place."""

    def __init__(self, count=100):
        self.count = count

    def choose(self, situation):
        return Plan("memory") if situation.count >= self.count else situation.plan


def fill(documents, count=300, start=0):
    documents.upsert(range(start, start + count), ROWS[start : start + count], [{"n": n} for n in range(count)])
