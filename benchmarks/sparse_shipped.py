"""The shipped model at its own sparsity: speed against llama.cpp, and what its predictors cost in perplexity."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decoding_process import DecodingProcess, EngineEnded
from benchmarks.peers.powerinfer import PowerInfer
from benchmarks.results_file import Row, not_measured, row
from benchmarks.shipped_files import write_powerinfer, write_stock
from benchmarks.sparse_engines import PROMPT_TOKENS, SHIPPED, Bench, closing, in_turn, speeds
from fairlead_sparse_inference.settings import DEFAULT_MODEL, MODELS

TOKENS, QUICK_TOKENS = 128, 32
PERPLEXITY_TOKENS, QUICK_PERPLEXITY_TOKENS = 100_000, 4_096
PERPLEXITY_SHARE = 0.005


def rows(bench: Bench, bundle: Path | None) -> Iterator[Row]:
    """Speed and perplexity; ``bundle`` holds the shipped model with predictors (``fairlead sparse convert``)."""
    if bundle is None:
        why = "no bundle of the shipped model with predictors was given (--shipped-bundle)"
        yield not_measured(DEFAULT_MODEL, "decode and perplexity", "tokens/s", SHIPPED, why)
        return
    try:
        for threads in (1, 2):
            yield from _speed(bench, bundle, threads)
    except EngineEnded as error:
        yield not_measured(DEFAULT_MODEL, "decode", "tokens/s", SHIPPED, f"{bundle.name}: {error}")
    yield _perplexity(bench, bundle)


def _speed(bench: Bench, bundle: Path, threads: int) -> Iterator[Row]:
    stock = bench.files.folder / f"{DEFAULT_MODEL}.gguf"
    if not stock.exists():
        write_stock(MODELS / DEFAULT_MODEL, stock)
    count = QUICK_TOKENS if bench.options.quick else TOKENS
    engines = {mode: bench.ours_of(bundle, mode, threads) for mode in ("exact", "predictor")}
    llama: DecodingProcess | None = bench.llama_of(stock, threads)
    powerinfer = _powerinfer(bench, threads)
    with closing({**engines, "llama.cpp": llama, "PowerInfer": powerinfer}) as there:
        answers = in_turn(there, bench.options.repeats, lambda repeat: _prompt(repeat, bench), count)
    case = f"{DEFAULT_MODEL}, batch 1, {threads} thread{'s' if threads > 1 else ''}"
    work = answers["exact"][-1].told["work"]
    note = f"{work['active']:.0f} of {work['computed']:.0f} neurons of a token active"
    for mode in engines:
        metric = f"decode, {mode}, against llama.cpp (Q8_0, SiLU in place of dReLU)"
        if llama is None:
            yield not_measured(case, metric, "tokens/s", SHIPPED, "llama-cpp-python is not installed")
        else:
            mine, theirs = speeds(answers[mode]), speeds(answers["llama.cpp"])
            yield row(case, metric, "tokens/s", mine, theirs, better="more", target=3.0, promise=SHIPPED, note=note)
    metric = "decode, predictor, against PowerInfer (Q4_0, ReLU on the gate alone)"
    if powerinfer is None:
        yield not_measured(case, metric, "tokens/s", SHIPPED, "no program of PowerInfer's was given")
    else:
        mine, theirs = speeds(answers["predictor"]), speeds(answers["PowerInfer"])
        yield row(case, metric, "tokens/s", mine, theirs, better="more", target=4.0, promise=SHIPPED, note=note)


def _powerinfer(bench: Bench, threads: int) -> PowerInfer | None:
    path = bench.files.folder / f"{DEFAULT_MODEL}.powerinfer.gguf"
    if bench.binary is None:
        return None
    if not path.exists():
        write_powerinfer(MODELS / DEFAULT_MODEL, path)
    return PowerInfer(bench.binary, path, threads)


def _perplexity(bench: Bench, bundle: Path) -> Row:
    tokens = QUICK_PERPLEXITY_TOKENS if bench.options.quick else PERPLEXITY_TOKENS
    command = [sys.executable, "-c", "from fairlead_agent.cli.main import main; main()", "sparse", "perplexity"]
    command += [str(bundle), str(bench.text)]
    command += ["--part", "test", "--tokens", str(tokens), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    case, metric = f"{DEFAULT_MODEL}, held-out text", "perplexity, predictor mode against exact mode"
    if done.returncode:
        return not_measured(case, metric, "perplexity", SHIPPED, f"the command failed: {done.stderr[-300:]}")
    modes = _modes(json.loads(done.stdout.splitlines()[-1]))
    if "predictor" not in modes:
        return not_measured(case, metric, "perplexity", SHIPPED, f"{bundle.name} holds no predictors")
    exact, predicted = modes["exact"], modes["predictor"]
    return row(case, metric, "perplexity", [predicted], [exact], limit=exact * (1 + PERPLEXITY_SHARE), promise=SHIPPED)


def _modes(content: dict[str, Any]) -> dict[str, float]:
    return {name: float(found["perplexity"]) for name, found in content["modes"].items()}


def _prompt(repeat: int, bench: Bench) -> list[int]:
    random = np.random.default_rng((bench.options.seed, repeat))
    return random.integers(300, 4000, PROMPT_TOKENS).tolist()
