"""Our engine as one instance of the serving benchmarks; see ``replay.py`` for what it is asked.

With ``--group`` it meets its peers as under torchrun (RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are set), and gives
layers away and takes them back by itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields
from importlib import metadata
from threading import Event as Flag
from typing import Any

import torch

from benchmarks.serving.replay import News, answer_parent, claim_output, pin
from fairlead_elastic_serving.engine.engine import Engine
from fairlead_elastic_serving.engine.served_model import ServedModel
from fairlead_elastic_serving.engine.settings import EngineSettings
from fairlead_elastic_serving.group.membership import Membership
from fairlead_elastic_serving.group.settings import GroupSettings
from fairlead_elastic_serving.links.door import LinkSettings
from fairlead_elastic_serving.links.meeting import Torchrun
from fairlead_language_model.sampling import SamplingParameters
from fairlead_language_model.serving import Event, Failure, Finish, Piece, Request

#: Holds 15 tokens of a head of 64 elements in float32: little is lost in a request's last page.
PAGE_BYTES = 8192
#: Kept for the fit of the cost model.
MOST_STEPS = 20_000
MEET_S, RESTORE_S = 60.0, 10.0


class Member:
    """The engine's part in a group of all instances that were started together."""

    def __init__(self, engine: Engine, asked: argparse.Namespace) -> None:
        """Join; raises TimeoutError where a peer cannot be reached."""
        place = Torchrun.from_environment()
        engine.loop.by_tokens = not asked.lookahead
        links = LinkSettings(bytes_per_s=asked.link_bytes_per_s)
        self._joined = Membership(engine, f"{place.rank:03d}", links, GroupSettings(exchange=asked.coordination))
        self._joined.know(place.doors(self._joined.me, self._joined.door))
        if not _until(lambda: len(self._joined.reached) == place.ranks - 1, MEET_S):
            raise TimeoutError(f"{self._joined.reached} of {place.ranks - 1} peers reached after {MEET_S:g} s")

    def told(self) -> dict[str, Any]:
        """Plans, idle time and what moved; waits a little for the layers to be back."""
        node = self._joined.node
        restored = _until(lambda: not node.grouped, RESTORE_S)
        telemetry = node.telemetry
        found = {item.name: getattr(telemetry, item.name) for item in fields(telemetry)}
        plain = {name: list(value) if isinstance(value, deque) else value for name, value in found.items()}
        return {**plain, "restored": restored}

    def close(self) -> None:
        """Close the links."""
        self._joined.close()


class FairleadEngine:
    """The engine with weights, keys and values in the given bytes; what its steps need beside is not counted."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.settings = EngineSettings(
            dtype=asked.dtype,
            context=asked.context,
            step_tokens=asked.step_tokens,
            sequences=asked.sequences,
            page_bytes=PAGE_BYTES,
            host_bytes=asked.host_bytes,
            prefix_cache=False,
            kernels=asked.kernels,
        )
        work_bytes = ServedModel.open(asked.model, 2 * asked.budget_bytes, self.settings).plan.work_bytes
        self.model = ServedModel.open(asked.model, asked.budget_bytes + work_bytes, self.settings)
        self.engine = Engine(self.model)
        self.engine.set_threads(asked.threads)
        if asked.keep_steps:
            self.engine.telemetry.steps = deque(maxlen=MOST_STEPS)
            self.engine.telemetry.processor_s = deque(maxlen=MOST_STEPS)
        self.member = Member(self.engine, asked) if asked.group else None
        self._news: deque[News] = deque()
        self._ended = Flag()

    @property
    def bytes_taken(self) -> dict[str, int]:
        """Of weights, and of keys and values."""
        plan, arena = self.model.plan, self.model.loaded.arena
        return {
            "weight_bytes": plan.ends_bytes + plan.layer_pages * plan.page_bytes,
            "kv_bytes": arena.own_capacity * plan.page_bytes,
        }

    def submit(self, name: str, prompt: list[int], count: int) -> None:
        """Begin a request; the model has no token that ends an answer."""

        def sink(event: Event) -> None:
            now = time.monotonic()
            if isinstance(event, Piece):
                self._news.append(News(name, now, (event.token,)))
                return
            if isinstance(event, Finish | Failure):
                error = event.message if isinstance(event, Failure) else ""
                self._news.append(News(name, now, (), done=True, error=error))
                self._ended.set()

        self.engine.submit(Request(tuple(prompt), SamplingParameters(temperature=0.0), count), sink)

    def poll(self, timeout_s: float) -> list[News]:
        """What came until a request ended or the time is over; the generation thread is not disturbed by each token."""
        self._ended.wait(timeout_s)
        self._ended.clear()
        return [self._news.popleft() for _ in range(len(self._news))]

    def gauge(self) -> Mapping[str, float]:
        """Bytes of pages for keys and values, in all and held, and how many requests wait."""
        arena, size = self.model.loaded.arena, self.model.plan.page_bytes
        capacity, free = arena.capacity, arena.free
        running, waiting = self.engine.load
        return {
            "capacity": float(capacity * size),
            "held": float((capacity - free) * size),
            "running": float(running),
            "waiting": float(waiting),
        }

    def told(self) -> Mapping[str, Any]:
        """Preemptions and steps of this replay."""
        telemetry, scheduler = self.engine.telemetry, self.engine.loop.scheduler
        steps = [
            ([(chunk.prefix, chunk.tokens) for chunk in chunks], seconds) for chunks, seconds in list(telemetry.steps)
        ]
        group = self.member.told() if self.member is not None else {}
        processor_s = list(telemetry.processor_s)
        return {"preemptions": scheduler.preemptions, "steps": steps, "processor_s": processor_s, **group}

    def close(self) -> None:
        """End its thread."""
        self.engine.close()
        if self.member is not None:
            self.member.close()


def _until(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def main() -> None:
    """Load, say so, and answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--dtype", default="float32")
    for name in ("budget-bytes", "weight-bytes", "token-bytes", "context", "sequences", "step-tokens", "vocabulary"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--core", type=int, default=None)
    parser.add_argument("--host-bytes", type=int, default=0, help="beside the budget, for requests swapped out")
    parser.add_argument("--kernels", default=None)
    parser.add_argument("--keep-steps", action="store_true", help="tell all steps, not the last alone")
    parser.add_argument("--group", action="store_true", help="give layers away in a burst")
    parser.add_argument("--coordination", action="store_true", help="move keys and values to where they are used")
    parser.add_argument("--lookahead", action="store_true", help="cut microbatches by what they cost, not by tokens")
    parser.add_argument("--link-bytes-per-s", type=float, default=None, help="makes links slower (simulated)")
    asked = parser.parse_args()
    out = claim_output()
    pin(asked.core)
    torch.set_num_threads(asked.threads)
    engine = FairleadEngine(asked)
    ready = {
        "name": "fairlead",
        "version": metadata.version("fairlead-elastic-serving"),
        "kernels": engine.model.backend.name,
        **engine.bytes_taken,
    }
    answer_parent(out, engine, json.loads(json.dumps(ready)), asked.seed, asked.vocabulary)


if __name__ == "__main__":
    main()
