"""Damaged files and full disks: one clear error, what can be saved is, and searches go on."""

import os
import random
import shutil
import subprocess

import pytest

from fairlead_tiered_retrieval.errors import (
    CorruptFile,
    NotFound,
    StoreFull,
)
from fairlead_tiered_retrieval.store.settings import StoreSettings
from fairlead_tiered_retrieval.store.store import Store
from tests.plugins.tiered_retrieval.store.documents import QUIET, ROWS, SPACE, InMemory, fill


def test_a_saved_index_is_loaded_and_brought_up_to_date(tmp_path):
    with Store(tmp_path, QUIET, policy=InMemory()) as store:
        documents = store.create("a", SPACE)
        fill(documents)
        documents.maintain()
        assert documents.status().plan.kind == "memory"
        documents.delete(range(100, 200))
        fill(documents, 50, 400)
        documents.upsert([0], ROWS[1999:])
    with Store(tmp_path, QUIET, policy=InMemory()) as store:
        documents = store.collection("a")
        assert documents.status().plan.kind == "memory" and documents.count() == 250
        assert documents.search(ROWS[1999], k=1).hits[0][0].id == 0
        ids = {hit.id for hit in documents.search(ROWS[0], k=300).hits[0]}
        assert ids == {*range(100), *range(200, 300), *range(400, 450)}


def test_a_damaged_saved_index_is_built_again_and_reported(tmp_path):
    with Store(tmp_path, QUIET, policy=InMemory()) as store:
        fill(store.create("a", SPACE))
        store.collection("a").maintain()
    files = sorted(path for path in (tmp_path / "collections/a/index").rglob("*") if path.is_file())
    draw = random.Random(3)
    for path in files:
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], b"", _flipped(whole, draw), draw.randbytes(len(whole))):
            path.write_bytes(damaged)
            with Store(tmp_path, QUIET, policy=InMemory()) as store:
                documents = store.collection("a")
                assert "built again" in documents.status().problems[0]
                assert documents.search(ROWS[5], k=1).hits[0][0].id == 5
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["collection.json", "vectors.rows", "documents.sqlite"])
def test_damage_in_any_file_is_one_clear_error_or_does_no_harm(tmp_path, name):
    with Store(tmp_path / "whole", QUIET) as store:
        fill(store.create("a", SPACE), 60)
        store.collection("a").checkpoint()
    draw = random.Random(4)
    refused = 0
    for number in range(25):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        path = folder / "collections/a" / name
        whole = path.read_bytes()
        size = min(len(whole), draw.choice((len(whole), 200)))
        path.write_bytes(whole[: draw.randrange(size)] if number % 2 else _flipped(whole, draw, size))
        with Store(folder, QUIET) as store:
            try:
                documents = store.collection("a")
                documents.search(ROWS[:2], text=["a", "b"], k=100, include=["metadata", "text", "vector"])
                documents.get(range(60))
                documents.verify()
            except CorruptFile as error:
                refused += 1
                assert name in str(error) and "saved" in str(error) and "damaged at byte" in str(error)
            except NotFound:
                assert name == "collection.json" and not path.exists()
    assert refused


def test_a_damaged_vector_is_found_by_verifying(store):
    documents = store.create("a", SPACE)
    fill(documents, 20)
    path = documents.folder / "vectors.rows"
    with path.open("r+b") as file:
        file.seek(4096 + 7 * 64 + 3)
        file.write(b"\xff")
    assert [problem for problem in documents.verify() if "vector of 7 (row 7) is damaged" in problem]


def test_a_damaged_log_is_refused_and_the_rest_can_be_salvaged(tmp_path):
    with Store(tmp_path, QUIET) as store:
        documents = store.create("a", SPACE)
        for number in range(10):
            documents.upsert([number], ROWS[number : number + 1])
    folder = tmp_path / "collections/a"
    log = next(folder.glob("log/*.log"))
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    for path in folder.glob("documents.sqlite*"):
        path.unlink()
    with Store(tmp_path, QUIET) as store, pytest.raises(CorruptFile, match=r"\d entries before it and \d behind it"):
        store.collection("a")
    with Store(tmp_path, StoreSettings(maintenance_s=0, salvage=True)) as store:
        documents = store.collection("a")
        assert documents.count() == 9 and "damaged at byte" in documents.status().problems[0]
    with Store(tmp_path, QUIET) as store:
        assert store.collection("a").count() == 9


def test_a_full_disk_refuses_writes_and_serves_on(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False, capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("a small file system cannot be mounted here")
    try:
        with Store(place / "store", QUIET) as store:
            documents = store.create("a", SPACE)
            with pytest.raises(StoreFull, match=r"accepted: writes while the disk has room"):
                for start in range(10_000):
                    documents.upsert(range(start * 20, start * 20 + 20), ROWS[:20], None, ["some words " * 20] * 20)
            count = documents.count()
            assert count == start * 20
            assert len(documents.search(ROWS[0], k=5).hits[0]) == 5
            with pytest.raises(StoreFull):
                documents.snapshot("none")
            assert documents.snapshots() == []
        with Store(place / "store", QUIET) as store:
            documents = store.collection("a")
            assert documents.count() == count and documents.verify() == []
            subprocess.run(["mount", "-o", "remount,size=16m", str(place)], check=True)
            documents.upsert(["later"], ROWS[:1])
            assert documents.count() == count + 1
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _flipped(data, draw, size=None):
    damaged = bytearray(data)
    for _ in range(3):
        damaged[draw.randrange(size or len(data))] ^= 1 << draw.randrange(8)
    return bytes(damaged)
