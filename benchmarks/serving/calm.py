"""Steps outside the burst, of systems that are up side by side and answer the same requests in turn.

Replays of a whole window lie minutes apart, in which a shared machine grows a tenth slower or faster; so each system
lives through the beginning of the burst, is given time to be itself again, and then the requests from after the burst
come over and over, to one system and the other in turn, the others resting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.serving.instances import Budget, Instances, Replayed, System
from benchmarks.serving.replay import Asked
from benchmarks.serving.traces import BURST_S

#: Seconds of the window that every system lives through first: the busiest ones, in which layers are given away.
BUSIEST_S = (30.0, 40.0)


def in_turn(
    systems: Mapping[str, System], model: Path, budget: Budget, requests: Sequence[Asked], seed: int, turns: int,
    instances: int,
) -> dict[str, list[float]]:  # fmt: skip
    """The P50 of TPOT in seconds of each turn, by system; who begins changes from turn to turn.

    Raises:
        ValueError: there is no request after the burst, or one was not served whole.
    """
    calm = part(requests, BURST_S[1], float("inf"))
    if not calm:
        raise ValueError(f"no request after {BURST_S[1]:g} s: accepted: one at least")
    found: dict[str, list[float]] = {name: [] for name in systems}
    with ExitStack() as stack:
        up = {
            name: stack.enter_context(Instances(system, model, budget, seed, count=instances, threads=1))
            for name, system in systems.items()
        }
        for one in up.values():
            one.open_loop(part(requests, *BUSIEST_S))
        for turn in range(turns):
            for name in list(up) if turn % 2 else list(up)[::-1]:
                found[name].append(middle(up[name].open_loop(calm)))
    return found


def part(requests: Sequence[Asked], first_s: float, last_s: float) -> list[Asked]:
    """The requests of some seconds, the first of them at once."""
    some = [item for item in requests if first_s <= item.due_s < last_s]
    began_s = min((item.due_s for item in some), default=0.0)
    return [replace(item, due_s=item.due_s - began_s) for item in some]


def middle(replay: Replayed) -> float:
    """The P50 of TPOT; raises ValueError where a request was not served whole."""
    lost = [item.name for item in replay.served if not item.whole]
    if lost:
        raise ValueError(f"{len(lost)} requests were not served, {lost[0]} first: accepted: all of them")
    return median(item.tpot_s for item in replay.served if item.answer > 1)
