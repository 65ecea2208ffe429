"""kill -9 at random points: every acknowledged write is there, nothing is half written, deletes do not come back."""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np

from fairlead_tiered_retrieval.store.store import Store
from tests.plugins.tiered_retrieval.store import killed_writer as writer

KILLS = 100


def run_and_kill(folder: Path, seed: int, lines: int, after_s: float) -> list[str]:
    """Fork a writer and kill it some time after it said so many lines; return what it said.

    Forked, as starting an interpreter a hundred times takes longer than all the rest.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        os.dup2(write, 1)
        try:
            writer.write_until_killed(folder, seed)
        finally:
            os._exit(1)
    os.close(write)
    said = b""
    while said.count(b"\n") < lines and (part := os.read(read, 1 << 16)):
        said += part
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while part := os.read(read, 1 << 16):
        said += part
    os.close(read)
    assert os.WIFSIGNALED(status), f"the writer ended by itself: {said[-500:]!r}"
    return said.decode().splitlines()


def versions(documents) -> dict[int, int]:
    """The version of each group; asserts that its documents are all of one, in every part of the store."""
    found = {}
    for group in range(writer.GROUPS):
        got = documents.get(writer.ids(group))
        assert len({document is None for document in got}) == 1, f"half of group {group} is there"
        version = 0 if got[0] is None else got[0].metadata["version"]
        for document in got if version else ():
            assert document.metadata == {"group": group, "version": version}
            assert document.text == f"group{group} v{version}"
            np.testing.assert_array_equal(document.vector, writer.vector(group, version)[0])
        assert documents.count({"group": group}) == (writer.SIZE if version else 0)
        found[group] = version
    return found


def test_killed_a_hundred_times_it_has_what_it_acknowledged(tmp_path):
    store = Store(tmp_path, writer.SETTINGS)
    store.create("a", writer.SPACE)
    store.close()
    draw, model = random.Random(7), dict.fromkeys(range(writer.GROUPS), 0)
    acknowledged = 0
    for kill in range(KILLS):
        said = run_and_kill(tmp_path, kill, draw.randrange(10), draw.uniform(0.0, 0.01))
        began = None
        for line in said:
            if line == "done" and began:
                model[began[0]], began, acknowledged = began[1], None, acknowledged + 1
            elif line.startswith("began "):
                began = tuple(map(int, line.split()[1:]))
        store = Store(tmp_path, writer.SETTINGS)
        documents = store.collection("a")
        found = versions(documents)
        if began and found[began[0]] == began[1]:
            model[began[0]] = began[1]
        assert found == model, f"after kill {kill}"
        everything = sum(writer.SIZE for version in model.values() if version)
        assert documents.count() == everything
        hits = documents.search(np.zeros(8), k=1 + everything).hits[0]
        assert len(hits) == everything
        assert {hit.metadata["version"] for hit in hits} == {version for version in model.values() if version}
        if kill % 20 == 0:
            assert documents.verify() == []
        store.close()
    # Between none and nine lines were waited for, of which every second acknowledges.
    assert acknowledged > KILLS
