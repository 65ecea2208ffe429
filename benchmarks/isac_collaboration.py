"""Cells that agree by ADMM: how near to one solver that knows all, in how many rounds, and over a lossy network.

Run: ``python -m benchmarks.isac_collaboration`` (CVXPY and Clarabel: ``pip install fairlead-isac[reference]``).

Three cells divide users, targets, edge computing and backhaul among themselves (`collaboration`). Networks are
drawn from seeds: links differ by 20 dB, half of the users have a least rate, some targets cannot be served in full. The
peer solves the same problem whole. Over the lossy transport, texts between agents are lost (20 %), doubled (10 %) and
delivered up to three ticks later in any order.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.options import Options, parse, quantile
from benchmarks.results_file import Row, row
from fairlead_isac.collaboration.cell import Agreeing, CellParty, agree
from fairlead_isac.collaboration.centralised import centralised_utility
from fairlead_isac.collaboration.leader import TOLERANCE, Leader
from fairlead_isac.collaboration.network import Agreement, CellLinks, SharedTask
from tests.plugins.isac.collaboration.networks import LossyTransport, agents, network

#: (cells, users, targets).
SIZES = ((3, 4, 2), (3, 6, 3))
TIGHT = 1e-4
MOST_TICKS = 20_000


@dataclass(frozen=True, slots=True)
class Compared:
    """One network: ours against the peer."""

    gap: float
    rounded_gap: float
    integrality: float
    rounds: int
    ours_s: float
    peer_s: float


def compare(task: SharedTask, links: list[CellLinks], tolerance: float) -> Compared:
    """Agree, and solve whole, in turn. Gaps are of the utility, relative."""
    began = time.perf_counter()
    found = agree(task, links, most_rounds=2000, tolerance=tolerance)
    ours_s = time.perf_counter() - began
    scale = Leader(task, [CellParty(task, each).report() for each in links]).rate_scale.tolist()
    began = time.perf_counter()
    whole = centralised_utility(task, links, scale)
    peer_s = time.perf_counter() - began
    rounded = centralised_utility(task, links, scale, found.serving)
    assert found.utility_bound is not None
    size = max(abs(whole), 1.0)
    return Compared(
        abs(found.utility_bound - whole) / size,
        (rounded - found.utility) / size,
        (whole - rounded) / size,
        found.rounds,
        ours_s,
        peer_s,
    )


def decide(task: SharedTask, links: list[CellLinks], decisions: int = 4) -> list[tuple[float, float, int]]:
    """Agreements one after the other in a decision's rounds: gap to the last of many rounds, relative; s; rounds."""
    settle, found = Agreeing(), []
    best = agree(task, links, most_rounds=2000)
    for _ in range(decisions):
        began = time.perf_counter()
        got = settle(task, links)
        seconds = time.perf_counter() - began
        found.append(((best.utility - got.utility) / max(abs(best.utility), 1.0), seconds, got.rounds))
    return found


def over_the_network(seed: int, task: SharedTask, links: list[CellLinks]) -> tuple[int, int, Agreement | None]:
    """Ticks and texts until all agents agree."""
    transport = LossyTransport(seed)
    agents(transport, task, links)
    ticks = transport.run(MOST_TICKS)
    return ticks, transport.sent, transport.agents[links[0].name].agreement


def rows_of(options: Options) -> list[Row]:
    """Both sizes, both tolerances, then agents."""
    rows = []
    for cells, users, targets in SIZES:
        needs = np.random.default_rng(options.seed).choice([1.0, 3.0, 10.0], options.repeats)
        drawn = [
            network(options.seed + number, cells, users, targets, need=float(need)) for number, need in enumerate(needs)
        ]
        case = f"{cells} cells, {users} users, {targets} targets, {len(drawn)} networks"
        for tolerance in (TOLERANCE, TIGHT):
            rows += _gaps(f"{case}, residual {tolerance:g}", [compare(*each, tolerance) for each in drawn])
        rows += _decisions(case, [decide(*each) for each in drawn])
        rows += _agents(case, [over_the_network(number, *each) for number, each in enumerate(drawn[:3])])
    return rows


def _gaps(case: str, found: Sequence[Compared]) -> list[Row]:
    rounds = [float(each.rounds) for each in found]
    worst = max(each.gap for each in found)
    lost = statistics.median(each.integrality for each in found)
    return [
        row(case, "gap to the whole problem, median", "", [each.gap for each in found], note=f"largest {worst:.2g}"),
        row(
            case,
            "gap with one cell for each user, median",
            "",
            [each.rounded_gap for each in found],
            note=f"largest {max(each.rounded_gap for each in found):.2g}; that each user has one cell costs {lost:.2g}",
        ),
        row(case, "rounds, median", "rounds", rounds, note=f"p90 {quantile(rounds, 0.9):.0f}"),
        row(
            case,
            "time",
            "s",
            [each.ours_s for each in found],
            [each.peer_s for each in found],
            note="all cells in one process",
        ),
    ]


def _decisions(case: str, found: Sequence[list[tuple[float, float, int]]]) -> list[Row]:
    rows = []
    for which, at in (("first", 0), ("fourth", 3)):
        gaps, seconds, rounds = zip(*(each[at] for each in found), strict=True)
        of = f"{case}, the {which} of a stage's decisions"
        rows += [
            row(of, "gap to as many rounds as it takes, median", "", list(gaps), note=f"largest {max(gaps):.2g}"),
            row(of, "time", "s", list(seconds), note=f"at most {max(rounds)} rounds"),
        ]
    return rows


def _agents(case: str, found: Sequence[tuple[int, int, Agreement | None]]) -> list[Row]:
    agreed = [each for each in found if each[2] is not None and not each[2].left_out]
    texts = statistics.median(each[1] for each in found)
    note = f"{len(agreed)} of {len(found)} agreed with all cells; texts, median {texts:.0f}"
    return [
        row(
            f"{case.rsplit(',', 1)[0]}, agents, 20 % lost",
            "ticks",
            "ticks",
            [float(each[0]) for each in found],
            note=note,
        )
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    options = parse("isac_collaboration", __doc__, repeats=6, quick=1, arguments=arguments)
    options.finish({"tolerances": [TOLERANCE, TIGHT], "peer": "CVXPY with Clarabel"}, rows_of(options))


if __name__ == "__main__":
    main()
