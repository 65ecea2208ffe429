"""A process that computes a part of the layers is killed in a burst: the others' clients see only a delay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from fairlead_elastic_serving.standing import standing
from tests.patience import patient
from tests.plugins.elastic_serving.faults.stage_process import TOKENS, burst, instance
from tests.plugins.elastic_serving.random_models import RandomModel

ROOT = Path(__file__).parents[4]


@pytest.fixture
def peer(llama: RandomModel) -> Iterator[subprocess.Popen[str]]:
    paths = os.pathsep.join(filter(None, [str(ROOT), *sys.path]))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.plugins.elastic_serving.faults.stage_process", str(llama.directory)],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def _until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + patient(60)
    while not done():
        assert time.monotonic() < deadline, f"{what}: not in time"
        time.sleep(0.01)


def test_a_stage_that_is_killed_in_a_burst_costs_time(llama: RandomModel, peer: subprocess.Popen[str]) -> None:
    engine, member = instance(llama.directory, "00000.x")
    try:
        assert peer.stdout is not None and peer.stdin is not None
        member.know({"00001.x": peer.stdout.readline().strip()})
        print(member.door, file=peer.stdin, flush=True)
        _until(lambda: bool(member.reached), "a link")
        demand = burst(engine, 0)
        _until(lambda: standing(engine, member).group == 2 and member.node.service.computed > 20, "a group at work")
        peer.kill()
        demand.enough = True
        answer = cache(lambda prompt: llama.greedy(list(prompt), TOKENS))
        for prompt, sink in demand.asked:
            assert sink.wait().tokens == answer(tuple(prompt))
        _until(lambda: standing(engine, member).group == 1, "alone")
        _until(lambda: standing(engine, member).used_pages == 0, "all pages free")
        # A machine that is busy with other things may have made the link look dead before.
        assert standing(engine, member).dropped_layers == 0 and member.node.telemetry.recoveries >= 1
        engine.between_steps(member.node.check).result()
    finally:
        engine.close()
        member.close()
