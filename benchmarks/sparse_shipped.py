"""The shipped model at its own sparsity: speed against llama.cpp, and what its predictors cost in perplexity."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decoding_process import EngineEnded
from benchmarks.peers.powerinfer import PowerInfer
from benchmarks.results_file import Row, not_measured, row
from benchmarks.shipped_files import write_powerinfer, write_stock
from benchmarks.sparse_engines import PROMPT_TOKENS, SHIPPED, Bench, closing, in_turn, speeds
from fairlead_sparse_inference.bundle import open_bundle
from fairlead_sparse_inference.settings import DEFAULT_MODEL, MODELS

TOKENS, QUICK_TOKENS = 128, 32
#: An answer takes a twentieth of a second: as many a repeat.
ROUNDS = 5
#: The type that PowerInfer's sparse kernels multiply fast is Q4_0.
POWERINFER_BITS = 4
PERPLEXITY_TOKENS, QUICK_PERPLEXITY_TOKENS = 100_000, 4_096
PERPLEXITY_SHARE = 0.005


def rows(bench: Bench, bundles: Sequence[Path] | None) -> Iterator[Row]:
    """Speed and perplexity; ``bundles`` hold the shipped model with predictors (``fairlead sparse convert``)."""
    if not bundles:
        why = "no bundle of the shipped model with predictors was given (--shipped-bundle)"
        yield not_measured(DEFAULT_MODEL, "decode and perplexity", "tokens/s", SHIPPED, why)
    for bundle in bundles or ():
        bits = open_bundle(bundle).layout.bits
        try:
            for threads in (1, 2):
                yield from _speed(bench, bundle, bits, threads)
        except EngineEnded as error:
            yield not_measured(DEFAULT_MODEL, "decode", "tokens/s", SHIPPED, f"{bundle.name}: {error}")
        yield _perplexity(bench, bundle, bits)


def _speed(bench: Bench, bundle: Path, bits: int, threads: int) -> Iterator[Row]:
    """Against peers whose weights have as many bits."""
    count = QUICK_TOKENS if bench.options.quick else TOKENS
    engines = {mode: bench.ours_of(bundle, mode, threads) for mode in ("exact", "predictor")}
    llama = bench.llama_of(_stock(bench, bits), threads)
    powerinfer = _powerinfer(bench, threads) if bits == POWERINFER_BITS else None
    with closing({**engines, "llama.cpp": llama, "PowerInfer": powerinfer}) as there:
        answers = in_turn(there, ROUNDS * bench.options.repeats, lambda repeat: _prompt(repeat, bench), count)
    case = f"{DEFAULT_MODEL}, Q{bits}, batch 1, {threads} thread{'s' if threads > 1 else ''}"
    work = answers["exact"][-1].told["work"]
    note = f"{work['active']:.0f} of {work['computed']:.0f} neurons of a token active"
    peers = [("llama.cpp", f"llama.cpp (Q{bits}_0, SiLU in place of dReLU)", 3.0, "llama-cpp-python is not installed")]
    if bits == POWERINFER_BITS:
        told = "PowerInfer (Q4_0, ReLU on the gate alone)"
        peers.append(("PowerInfer", told, 4.0, "no program of PowerInfer's was given"))
    for mode in engines:
        for peer, name, target, missing in peers:
            metric = f"decode, {mode}, against {name}"
            if peer not in answers:
                yield not_measured(case, metric, "tokens/s", SHIPPED, missing)
                continue
            mine, theirs = speeds(answers[mode]), speeds(answers[peer])
            yield row(case, metric, "tokens/s", mine, theirs, better="more", target=target, promise=SHIPPED, note=note)


def _stock(bench: Bench, bits: int) -> Path:
    path = bench.files.folder / f"{DEFAULT_MODEL}-q{bits}.gguf"
    if not path.exists():
        write_stock(MODELS / DEFAULT_MODEL, path, bits)
    return path


def _powerinfer(bench: Bench, threads: int) -> PowerInfer | None:
    path = bench.files.folder / f"{DEFAULT_MODEL}.powerinfer.gguf"
    if bench.binary is None:
        return None
    if not path.exists():
        write_powerinfer(MODELS / DEFAULT_MODEL, path)
    return PowerInfer(bench.binary, path, threads)


def _perplexity(bench: Bench, bundle: Path, bits: int) -> Row:
    tokens = QUICK_PERPLEXITY_TOKENS if bench.options.quick else PERPLEXITY_TOKENS
    command = [sys.executable, "-c", "from fairlead_agent.cli.main import main; main()", "sparse", "perplexity"]
    command += [str(bundle), str(bench.text)]
    command += ["--part", "test", "--tokens", str(tokens), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    case, metric = f"{DEFAULT_MODEL}, Q{bits}, held-out text", "perplexity, predictor mode against exact mode"
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
