"""Processes over gloo: a burst on ranks that torchrun started, and what is left to a rank whose peer dies or stalls."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import pytest

from fairlead_agent.bus.broker.process import free_port, is_free
from tests.patience import patient
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens

WAIT_S = patient(120.0)
CONFIG = {
    "kv_bytes": 36 * 1024,
    "page_bytes": 1024,
    "context_tokens": 80,
    "prefix_cache": False,
    "threads": 1,
}
PROMPTS = [some_tokens(20 + 3 * (number % 4), number) for number in range(5)]


def _free_ports() -> int:
    """The first of two ports that nobody has."""
    while not is_free((port := free_port()) + 1):
        pass
    return port


def _command(model: Path, port: int, stall_s: float) -> list[str]:
    config = {**CONFIG, "links": {"stall_s": stall_s}}
    options = ["--port", str(port), "--memory-bytes", str(1 << 30), "--config", json.dumps(config)]
    return ["-m", "fairlead_elastic_serving.group", str(model), *options]


@contextmanager
def _running(*commands: tuple[list[str], dict[str, str]]) -> Iterator[list[subprocess.Popen]]:
    processes = [subprocess.Popen(command, env=os.environ | more) for command, more in commands]
    try:
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _http(port: int, path: str, body: dict | None = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=WAIT_S) as answer:
        return answer.read().decode()


def _complete(port: int, model: str, prompt: list[int]) -> str:
    body = {"model": model, "prompt": prompt, "max_tokens": 30, "temperature": 0, "ignore_eos": True}
    return json.loads(_http(port, "/v1/completions", body))["choices"][0]["text"]


def _answers(port: int, model: str, prompt: list[int], enough: Event) -> list[str]:
    """Ask again and again until it is enough, however fast the answers come."""
    found = [_complete(port, model, prompt)]
    while not enough.is_set():
        found.append(_complete(port, model, prompt))
    return found


def _metric(port: int, name: str) -> float:
    found = re.search(rf"^{name}(?:\{{.*\}})? (\S+)$", _http(port, "/metrics"), re.MULTILINE)
    return float(found[1]) if found else 0.0


def _until(done: Callable[[], bool], what: str, processes: Sequence[subprocess.Popen] = ()) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            if done():
                return
        except OSError:
            pass
        assert all(process.poll() is None for process in processes), f"{what}: a process has ended"
        assert time.monotonic() < deadline, f"{what}: not in time"
        time.sleep(0.05)


def _up(port: int, processes: list[subprocess.Popen]) -> None:
    for rank in (0, 1):
        _until(lambda rank=rank: "model" in _http(port + rank, "/v1/models"), f"rank {rank}", processes)


def test_ranks_of_torchrun_serve_a_burst_as_one_and_each_alone_after_it(llama: RandomModel) -> None:
    port = _free_ports()
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(_free_ports())]
    model = str(llama.directory)
    # A machine that stands still makes no link look dead: who recovers from that restores nothing.
    command = [sys.executable, *launch, *_command(llama.directory, port, stall_s=60.0)]
    with _running((command, {})) as processes, ThreadPoolExecutor(16) as pool:
        _up(port, processes)
        alone = [_complete(port, model, prompt) for prompt in PROMPTS]

        def wave_dropped() -> bool:
            burst = [pool.submit(_complete, port + n % 2, model, prompt) for n, prompt in enumerate(PROMPTS * 2)]
            assert [one.result() for one in burst] == alone * 2
            return all(_metric(port + rank, "fairlead_elastic_drops_total") >= 1 for rank in (0, 1))

        # A quiet machine may answer the first waves before anybody has looked at how much memory there is.
        _until(wave_dropped, "layers given away", processes)
        _until(lambda: all(_metric(port + r, "fairlead_elastic_restores_total") for r in (0, 1)), "layers back")
        assert _complete(port + 1, model, PROMPTS[0]) == alone[0]


@pytest.mark.parametrize("fault", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_rank_answers_all_its_requests_though_its_peer_is_gone(llama: RandomModel, fault: signal.Signals) -> None:
    port, model = _free_ports(), str(llama.directory)
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_ports())}
    command = [sys.executable, *_command(llama.directory, port, stall_s=1.0)]
    ranks = [(command, place | {"RANK": str(rank)}) for rank in (0, 1)]
    with _running(*ranks) as processes, ThreadPoolExecutor(32) as pool, ExitStack() as pool_exits:
        _up(port, processes)
        alone = [_complete(port, model, prompt) for prompt in PROMPTS]
        enough = Event()
        pool_exits.callback(enough.set)
        mine = [pool.submit(_answers, port, model, prompt, enough) for prompt in PROMPTS * 3]
        theirs = [pool.submit(_answers, port + 1, model, prompt, enough) for prompt in PROMPTS]
        _until(lambda: _metric(port, "fairlead_elastic_drops_total") >= 1, "a group")
        processes[1].send_signal(fault)
        enough.set()
        assert [set(one.result()) for one in mine] == [{text} for text in alone * 3]
        assert _complete(port, model, PROMPTS[0]) == alone[0]
        processes[1].kill()
        for one in theirs:
            assert isinstance(one.exception(), OSError) or set(one.result()) <= set(alone)
