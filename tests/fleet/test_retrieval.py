"""Text is imported and searched through the gateway, and the vectors move between tiers while a client searches."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tokenizers", reason="tokenizers is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")

from fairlead_agent.config import load_workloads
from fairlead_agent.graph.attributes import DEFAULT_SIGNIFICANCE
from fairlead_tiered_retrieval.client import Client, Results
from fairlead_tiered_retrieval.tiers.node import MemoryNode
from tests.fleet.conftest import Fleet, FleetMaker
from tests.patience import patient
from tests.plugins.tiered_retrieval.text_models import WORDS, random_text_model

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "retrieval"
TOKEN = "a token of this test"
PASSAGES = [f"{first} {second} {third}" for first in WORDS for second in WORDS[::3] for third in WORDS[1::4]]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[str]:
    """A memory node, as a workload names it."""
    (tmp_path / "token").write_text(TOKEN)
    with MemoryNode(64 << 20, TOKEN, host="127.0.0.1", port=0) as node:
        yield f"memory://127.0.0.1:{node.port}?token_file={tmp_path / 'token'}&timeout={patient(60)}"


@pytest.fixture
def fleet(make_fleet: FleetMaker, tmp_path: Path, node: str) -> Fleet:
    """The shipped workload with a small model of its own, serving."""
    fleet = make_fleet(agents={"edge": "edge-box", "gpu": "gpu-server"})
    (workload,) = load_workloads(NAME)
    model = random_text_model(tmp_path / "model")
    config = {**workload.config, "embedding": str(model), "memory_nodes": [node]}
    fleet.apply(**workload.model_copy(update={"config": config}).model_dump(mode="json"))
    fleet.ready(NAME)
    return fleet


class Searching:
    """A client that searches all the time, on a thread, and expects what it found at first."""

    def __init__(self, client: Client, expected: Results) -> None:
        self._client, self._expected = client, expected.ids()
        self.count, self.errors, self.reads = 0, list[str](), 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Searching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                found = self._client.collection("words").search(texts="the white whale", k=3)
                if not found.complete or found.ids() != self._expected:
                    self.errors.append(f"{found}")
                self.reads += found.reads
            except Exception as error:
                self.errors.append(repr(error))
            self.count += 1


def command(fleet: Fleet, *words: str) -> str:
    """What `fairlead vectors` prints."""
    environment = {**os.environ, "FAIRLEAD_URL": fleet.local.url, "FAIRLEAD_TOKEN": fleet.local.admin_token()}
    code = "from fairlead_agent.cli.main import main; main()"
    run = [sys.executable, "-c", code, "vectors", *words]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=patient(240))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_text_is_found_and_moves_between_tiers(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\n".join(PASSAGES))
    said = command(fleet, "import", "words", str(tmp_path / "words.txt"), "--lines")
    assert f"{len(PASSAGES)} documents" in said
    assert PASSAGES[0] in command(fleet, "search", "words", PASSAGES[0])

    with Client(fleet.local.url, token=fleet.local.admin_token(), workload=NAME) as client:
        words = client.collection("words")
        expected = words.search(texts="the white whale", k=3)
        assert expected.complete and len(expected[0]) == 3
        with Searching(client, expected) as searching:
            assert "dram -> file" in command(fleet, "move", "words", "file")
            seen = searching.count
            fleet.until(lambda: searching.count > seen + 5, "searches from the file")
            assert words.info()["tier"] == "file" and searching.reads > 0
            assert words.move("memory")["tier"] == "memory"
            seen = searching.count
            fleet.until(lambda: searching.count > seen + 5, "searches from the memory node")
            assert words.upsert(["new"], texts=["tea on the old ship"]) == 1
            assert words.search(texts="tea on the old ship", k=1).ids() == [["new"]]
            assert words.move("dram")["tier"] == "dram"
        assert searching.errors == [] and searching.count > 10
        # The graph is told of changes from its significance on; what is less follows with the next refresh.
        least = len(PASSAGES) * (1 - DEFAULT_SIGNIFICANCE)
        fleet.until(lambda: _told(fleet).get("documents", 0) >= least, "how many documents the store has")
        fleet.until(lambda: _told(fleet).get("tier_moves") == 3, "facts of the store")


def _told(fleet: Fleet) -> dict[str, float]:
    return fleet.get(f"/api/v1/workloads/{NAME}")["told"].get("0", {})
