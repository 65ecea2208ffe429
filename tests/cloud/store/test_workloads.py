"""Desired state with generations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_agent.messages import Workload
from fairlead_agent.messages.signing import SignatureError, verify
from fairlead_cloud.keys import SiteKey
from fairlead_cloud.store import Database, WorkloadStore


def sqlite(path: Path) -> Database:
    return Database(f"sqlite+aiosqlite:///{path / 'test.db'}")


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    return SiteKey.load_or_create(tmp_path / "site-key.pem")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = sqlite(tmp_path)
    await made.open()
    yield made
    await made.close()


def workload(**changes: object) -> Workload:
    return Workload.model_validate({"name": "chat", "plugin": "echo", **changes})


async def test_generation_grows_only_with_a_change(database: Database, key: SiteKey) -> None:
    store = WorkloadStore(database, "s", key.sign)
    first = await store.apply(workload(), 1.0)
    again = await store.apply(workload(), 2.0)
    changed = await store.apply(workload(replicas=2), 3.0)
    assert [s.desired.generation for s in (first, again, changed)] == [1, 1, 2]
    assert [s.changed for s in (first, again, changed)] == [True, False, True]
    assert again.updated_at == 1.0


async def test_generation_survives_delete(database: Database, key: SiteKey) -> None:
    store = WorkloadStore(database, "s", key.sign)
    await store.apply(workload(), 1.0)
    gone = await store.delete("chat", 2.0)
    assert gone is not None and gone.desired.deleted and gone.desired.generation == 2
    assert await store.delete("chat", 3.0) is None
    assert [s.desired.name for s in await store.all()] == []
    assert [s.desired.name for s in await store.all(deleted=True)] == ["chat"]
    assert (await store.apply(workload(), 4.0)).desired.generation == 3


async def test_what_is_stored_is_signed(database: Database, key: SiteKey) -> None:
    stored = await WorkloadStore(database, "s", key.sign).apply(workload(), 1.0)
    assert verify(stored.signed, {key.id: key.public}, site="s") == stored.desired
    with pytest.raises(SignatureError, match="elsewhere"):
        verify(stored.signed, {key.id: key.public}, site="elsewhere")


async def test_sites_are_apart(database: Database, key: SiteKey) -> None:
    await WorkloadStore(database, "a", key.sign).apply(workload(), 1.0)
    assert await WorkloadStore(database, "b", key.sign).get("chat") is None


async def test_reopened_database_has_everything(tmp_path: Path, key: SiteKey) -> None:
    first = sqlite(tmp_path)
    await first.open()
    await WorkloadStore(first, "s", key.sign).apply(workload(config={"deep": [1, {"a": None}]}), 1.0)
    await first.close()
    second = sqlite(tmp_path)
    await second.open()
    found = await WorkloadStore(second, "s", key.sign).get("chat")
    await second.close()
    assert found is not None and found.desired.workload == workload(config={"deep": [1, {"a": None}]})


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.sampled_from(["apply-1", "apply-2", "delete"]), max_size=8))
async def test_generation_never_falls(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    folder = tmp_path_factory.mktemp("generations")
    database = sqlite(folder)
    await database.open()
    store = WorkloadStore(database, "s", SiteKey.load_or_create(folder / "key.pem").sign)
    last, state = 0, "none"
    for step in steps:
        stored = await (
            store.delete("chat", 0.0) if step == "delete" else store.apply(workload(replicas=int(step[-1])), 0.0)
        )
        changes = step != state and not (step == "delete" and state == "none")
        assert (stored is not None and stored.changed) == changes
        if stored is not None:
            assert stored.desired.generation == last + changes
            last = stored.desired.generation
        state = step if changes else state
    await database.close()
