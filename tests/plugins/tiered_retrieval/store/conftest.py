"""A store that does nothing by itself."""

import pytest

from fairlead_tiered_retrieval.store.store import Store
from tests.plugins.tiered_retrieval.store.documents import QUIET


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store", QUIET) as opened:
        yield opened
