"""What the benchmarks of the sparse engine share: options, promises, and the engines on one synthetic model."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.decoding_process import Answer, Decodes, DecodingProcess
from benchmarks.memory_group import MemoryGroup
from benchmarks.options import Options
from benchmarks.peers.powerinfer import PowerInfer
from benchmarks.synthetic.shape import FIRST_STATE, FULL, SMALL, Shape
from benchmarks.synthetic.store import SyntheticFiles, prepared
from fairlead_sparse_inference.settings import DEFAULT_MODEL, MODELS

DECODE = (
    "In memory, 0.99B shape at 10 % active neurons, Q4: decode >= 3.0x llama.cpp and >= 4x PowerInfer's sparse mode, "
    ">= 60 % of the bandwidth limit that the benchmark prints; dense decode of a stock model >= 1.0x llama.cpp; "
    "prefill-128 >= 0.9x llama.cpp."
)
OFFLOAD = (
    "Beyond memory: model 1.25x the cgroup limit: >= 25x llama.cpp (repack off, mmap); at 1.6x and 2x within 1.5x of "
    "the limit derived from the measured misses and the disk's IOPS; never killed; lossless mode byte-identical to "
    "in-memory output."
)
MEMORY = "40 % less memory at >= 0.95x of our own in-memory speed."
SHIPPED = (
    "The real shipped model: the same comparisons at its own measured sparsity, perplexity equal within 0.5 % between "
    "exact and predictor mode."
)
CONTENTION = (
    "Under a second process that loads both cores: we keep >= 40 % of quiet speed (llama.cpp and PowerInfer keep "
    "< 5 %)."
)
SOURCE = (
    "synthetic weights; per-neuron frequencies and co-activation from the shipped model on held-out text, scaled to "
    "10 %"
)
PROMPT_TOKENS = 16
#: The longest sequence, a prefill of 128 or a prompt and its answer.
CONTEXT = 256
#: Where walks through the text begin: every repeat reads another part of it.
STRIDE = 211
#: Prompts, from parts of the text that no repeat of a full run reads, before an engine that caches is measured.
WARM_PROMPTS = range(8, 14)


def more_options() -> argparse.ArgumentParser:
    """What these benchmarks take beside the usual."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--peer-binary", type=Path, help="PowerInfer's `main`; left out, its rows are not measured")
    parser.add_argument("--llama-python", type=Path, help="an interpreter with llama-cpp-python; default: this one")
    parser.add_argument(
        "--folder", type=Path, help="keeps the synthetic model from run to run; default: .work/synthetic"
    )
    parser.add_argument(
        "--shipped-bundle",
        type=Path,
        action="append",
        help="the shipped model with predictors, as `convert` makes it with 4 or 8 bits; may be given for both",
    )
    parser.add_argument(
        "--predictors",
        type=Path,
        help="of the shipped model (`train-predictor`): the synthetic ones find and name as much; else 98 %% is found",
    )
    parser.add_argument("--text", type=Path, help="the corpus of the shipped model; default: that of FAIRLEAD_DATA")
    return parser


class Bench:
    """One run: the synthetic model's files, the peers that there are, and the threads."""

    def __init__(self, options: Options, *, peers: bool = True) -> None:
        """Make or find the model; without `peers` their files are left out.

        Raises:
            SystemExit: there is no text to take activations from.
        """
        asked, self.options = options.more, options
        data = os.environ.get("FAIRLEAD_DATA")
        text = asked.text or (Path(data) / "text" / "books.tar.xz" if data else None)
        if text is None or not text.exists():
            raise SystemExit(f"text {text}: no such file; give --text, or set FAIRLEAD_DATA")
        self.text: Path = text
        folder = asked.folder or Path(__file__).parents[1] / ".work" / "synthetic"
        self.shape: Shape = SMALL if options.quick else FULL
        source = MODELS / DEFAULT_MODEL
        self.files: SyntheticFiles = prepared(
            self.shape, source, text, folder, options.seed, peers=peers, predictors=asked.predictors
        )
        self.binary: Path | None = asked.peer_binary
        self.llama_python = self._llama(asked.llama_python)
        self.llama_build = ""
        if self.binary is None:
            print("skipped: PowerInfer (no --peer-binary)")
        if self.llama_python is None:
            print("skipped: llama.cpp (llama-cpp-python is not installed here; or give --llama-python)")

    @property
    def case(self) -> str:
        """What the rows are about."""
        return f"synthetic {self.shape.parameters / 1e9:.2f}B, {self.files.facts['active']:.1%} active, Q4, batch 1"

    def conditions(self) -> dict[str, Any]:
        """For the results file."""
        facts = {
            name: self.files.facts[name] for name in ("active", "predicted", "recall", "active_by_layer", "states")
        }
        if self.files.facts.get("predictors"):
            facts["predictors"] = "find and name as much as the shipped model's do on the same text"
        builds = {"llama.cpp_build": self.llama_build} if self.llama_build else {}
        return {"model": SOURCE, **facts, **builds, "loop": "greedy, no sampler and no text in ours and llama.cpp's"}

    def prompt(self, repeat: int, tokens: int = PROMPT_TOKENS) -> list[int]:
        """Tokens in the order of the text, from another place at each repeat."""
        start = 1 + repeat * STRIDE
        return [FIRST_STATE + (start + index) % (self.shape.states - 1) for index in range(tokens)]

    def follows(self, prompt: Sequence[int], answer: Answer) -> bool:
        """Whether an answer walks through the text, as the model was made to."""
        token = prompt[-1]
        for found in answer.tokens:
            token = self.shape.successor(token)
            if found != token:
                return False
        return True

    def ours(
        self,
        mode: str,
        threads: int,
        *,
        budget: int | None = None,
        group: MemoryGroup | None = None,
        more: Sequence[str] = (),
    ) -> DecodingProcess:
        """Our engine: exact, predictor, or dense (the stock model)."""
        if mode == "dense":
            return self.ours_of(self.files.stock, "exact", threads)
        return self.ours_of(self.files.bundle, mode, threads, budget=budget, group=group, more=more)

    @staticmethod
    def ours_of(
        bundle: Path,
        mode: str,
        threads: int,
        *,
        budget: int | None = None,
        group: MemoryGroup | None = None,
        more: Sequence[str] = (),
    ) -> DecodingProcess:
        """Our engine on a bundle, in memory or within a budget; `more` are options of ``fairlead_worker``."""
        command = [sys.executable, "-m", "benchmarks.fairlead_worker", str(bundle), "--mode", mode]
        command += ["--threads", str(threads), "--context", str(CONTEXT), *more]
        command += [] if budget is None else ["--budget", str(budget)]
        return DecodingProcess(command, group=group, environment={"OPENBLAS_NUM_THREADS": "1"})

    def llama(self, threads: int, *, repack: bool = True, group: MemoryGroup | None = None) -> DecodingProcess | None:
        """llama.cpp on the dense GGUF, where it is installed."""
        return self.llama_of(self.files.dense, threads, repack=repack, group=group)

    def llama_of(
        self, model: Path, threads: int, *, repack: bool = True, group: MemoryGroup | None = None
    ) -> DecodingProcess | None:
        """llama.cpp on a GGUF."""
        if self.llama_python is None:
            return None
        worker = Path(__file__).parent / "peers" / "llama_worker.py"
        command = [
            str(self.llama_python),
            str(worker),
            str(model),
            "--threads",
            str(threads),
            "--context",
            str(CONTEXT),
        ]
        environment = {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": ""}
        command += [] if repack else ["--no-repack"]
        process = DecodingProcess(command, group=group, environment=environment)
        # What a build was compiled for decides its speed: with AMX, say, its prompts would be faster.
        self.llama_build = f"{process.ready['ready']}: {process.ready['system']}"
        return process

    def powerinfer(self, threads: int) -> PowerInfer | None:
        """PowerInfer's sparse mode, where its program was given."""
        return None if self.binary is None else PowerInfer(self.binary, self.files.powerinfer, threads)

    @staticmethod
    def _llama(asked: Path | None) -> Path | None:
        if asked is not None:
            return asked
        return Path(sys.executable) if importlib.util.find_spec("llama_cpp") else None


@contextlib.contextmanager
def closing(engines: Mapping[str, Decodes | None]) -> Iterator[dict[str, Decodes]]:
    """The engines that there are; they end at the end."""
    there = {name: engine for name, engine in engines.items() if engine is not None}
    try:
        yield there
    finally:
        for engine in there.values():
            engine.close()


def in_turn(
    engines: Mapping[str, Decodes],
    repeats: int,
    prompt: Callable[[int], list[int]],
    count: int,
    first: Callable[[], None] = lambda: None,
) -> dict[str, list[Answer]]:
    """Every engine's answer to the same prompts, one engine after the other in each repeat; a first round warms up.

    ``first`` is called at the start of each repeat that counts.
    """
    answers: dict[str, list[Answer]] = {name: [] for name in engines}
    for repeat in range(repeats + 1):
        if repeat:
            first()
        for name, engine in engines.items():
            answer = engine.greedy(prompt(repeat), count)
            if repeat:
                answers[name].append(answer)
    return answers


def speeds(answers: Sequence[Answer]) -> list[float]:
    """Tokens per second of each."""
    return [answer.tokens_per_s for answer in answers]
