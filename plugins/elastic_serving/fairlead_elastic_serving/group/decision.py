"""What to do about missing memory, by the delay that it costs all requests together.

Dropping takes its exchange and its bubbles from everybody; compressing takes the time to read and write what is
compressed; waiting (which is what preempting comes to: whoever gives pages up waits in another's place) takes until as
much is given back by requests that end. Each is counted in seconds times the requests that wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..planning.handling import Way, choose, compress_way, drop_way
from .plan import Report

UNKNOWN_RESIDENCE_S = 3600.0
LEAST_RESIDENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What actions cost on this fleet.

    Attributes:
        page_bytes: of a page.
        token_bytes: of one token's keys and values in all layers.
        link_bytes_per_s: between two instances.
        memory_bytes_per_s: of an instance.
        microbatches: that a pipeline has in flight.
        ratio: of compression; 1: there is none.
        allowed: actions that may be taken at all.
    """

    page_bytes: int
    token_bytes: float
    link_bytes_per_s: float = 1e9
    memory_bytes_per_s: float = 1e10
    microbatches: int = 4
    ratio: float = 1.0
    allowed: frozenset[str] = frozenset({"drop", "compress"})


def decide(
    reports: Sequence[Report], stages: int, freed_bytes: int, missing_pages: int, costs: Costs
) -> tuple[str, ...]:
    """Return which of "drop" and "compress" to do; neither: waiting is less bad.

    Args:
        reports: of the instances that a merge would touch.
        stages: of the largest group that it would make; 1 where nothing can be merged.
        freed_bytes: by it.
        missing_pages: of all that wait.
        costs: of the fleet.
    """
    ways = [way for way in _ways(reports, stages, freed_bytes, costs) if way.name in costs.allowed]
    # Whoever comes while the first ones wait, waits behind them.
    residence = max((report.residence_s for report in reports), default=0.0)
    behind = sum(report.arriving for report in reports) * max(residence, LEAST_RESIDENCE_S)
    waiting = max(1.0, sum(len(report.queued) for report in reports) + behind)

    def waited(missing: int) -> float:
        return wait_seconds(reports, missing, costs.page_bytes) * waiting

    return tuple(way.name for way in choose(ways, missing_pages * costs.page_bytes, waited))


def _ways(reports: Sequence[Report], stages: int, freed_bytes: int, costs: Costs) -> list[Way]:
    everybody = max(1, sum(len(report.queued) + report.running for report in reports))
    ways = []
    if stages > 1:
        tokens = sum(report.running_tokens for report in reports)
        work = sum(report.work_s for report in reports)
        ways.append(
            drop_way(freed_bytes, costs.token_bytes, tokens, stages, costs.link_bytes_per_s, work, costs.microbatches)
        )
    compressible = sum(report.compressible_tokens for report in reports)
    if costs.ratio > 1 and compressible:
        ways.append(compress_way(costs.token_bytes, compressible, costs.ratio, costs.memory_bytes_per_s))
    return [replace(way, seconds=way.seconds * everybody) for way in ways]


def wait_seconds(reports: Sequence[Report], required_bytes: int, page_bytes: int) -> float:
    """Return how long it takes until requests that end have given so much back: D_missing T_res / D_held."""
    held = max(1, sum(report.held for report in reports) * page_bytes)
    residence = max((report.residence_s for report in reports), default=0.0)
    # Where nobody knows yet how long requests stay, they may stay for long: what frees memory now is preferred.
    return required_bytes * (residence or UNKNOWN_RESIDENCE_S) / held
