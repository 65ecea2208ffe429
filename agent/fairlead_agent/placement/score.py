"""Score offers against a workload's objectives: lower is better, and every term can be said in words.

Latency counts with its p90 and throughput with its p10, so that an uncertain offer pays for its uncertainty.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fairlead_agent.messages import Estimate, Objectives, Offer

#: An objective that is missed costs this much, times how far it is missed.
VIOLATION = 10.0
#: No term grows beyond this, so that one absurd number cannot hide all others.
TERM_LIMIT = 1000.0
STARTUP_REFERENCE_S = 60.0
TRANSFER_REFERENCE_BYTES = float(1 << 30)
TERMS = ("latency", "throughput", "energy", "startup", "transfer", "memory")


@dataclass(frozen=True, slots=True)
class References:
    """What 1.0 means in each relative term: the objective, or else the best offer of the round."""

    latency_s: float
    throughput_per_s: float
    energy_j: float
    worst_energy: float
    """What an offer with unknown energy is charged: as much as the worst known one."""


@dataclass(frozen=True, slots=True)
class Score:
    """A total and its terms, already weighted; ``violations`` names the objectives that would be missed."""

    total: float
    terms: dict[str, float] = field(default_factory=dict[str, float])
    violations: tuple[str, ...] = ()


def references(objectives: Objectives, offers: Iterable[Offer]) -> References:
    """The yardsticks of a round."""
    estimates = [offer.estimate for offer in offers if offer.estimate is not None]
    best_latency = min((e.latency_s.p90 for e in estimates), default=1.0)
    best_throughput = max((e.throughput_per_s.p10 for e in estimates), default=1.0)
    energies = [e.energy_j.p50 for e in estimates if e.energy_j is not None]
    energy = objectives.energy_max_j or min(energies, default=1.0) or 1e-9
    return References(
        latency_s=objectives.latency_p90_s or best_latency or 1e-9,
        throughput_per_s=objectives.throughput_min_per_s or best_throughput or 1e-9,
        energy_j=energy,
        worst_energy=max((_limited(value / energy) for value in energies), default=1.0),
    )


def score(estimate: Estimate, objectives: Objectives, reference: References, memory_share: float = 0.0) -> Score:
    """Score one offer.

    Args:
        estimate: of the offer.
        objectives: of the workload, with weights; a weight that is not given keeps its default.
        reference: yardsticks of the round.
        memory_share: largest share of a memory tier of its node, 0 to 1.
    """
    weights = {**Objectives().weights, **objectives.weights}
    raw = {
        "latency": estimate.latency_s.p90 / reference.latency_s,
        "throughput": _inverse(reference.throughput_per_s, estimate.throughput_per_s.p10),
        "energy": estimate.energy_j.p50 / reference.energy_j if estimate.energy_j else reference.worst_energy,
        "startup": estimate.startup_s.p90 / STARTUP_REFERENCE_S,
        "transfer": estimate.transfer_bytes / TRANSFER_REFERENCE_BYTES,
        "memory": memory_share,
    }
    terms = {name: weights.get(name, 0.0) * _limited(value) for name, value in raw.items()}
    violations = violated(estimate, objectives)
    if violations:
        terms["objectives"] = sum(VIOLATION * _limited(factor) for factor in violations.values())
    return Score(sum(terms.values()), terms, tuple(violations))


def violated(estimate: Estimate, objectives: Objectives) -> dict[str, float]:
    """By objective that an estimate would miss: by what factor (above 1)."""
    found = {
        "latency_p90_s": _excess(estimate.latency_s.p90, objectives.latency_p90_s),
        "startup_max_s": _excess(estimate.startup_s.p90, objectives.startup_max_s),
    }
    if estimate.energy_j is not None:
        found["energy_max_j"] = _excess(estimate.energy_j.p50, objectives.energy_max_j)
    if objectives.throughput_min_per_s:
        found["throughput_min_per_s"] = _inverse(objectives.throughput_min_per_s, estimate.throughput_per_s.p10)
    return {name: factor for name, factor in found.items() if factor > 1}


def in_words(term: str, estimate: Estimate, memory_share: float = 0.0) -> str:
    """The quantity behind a term, with its unit."""
    match term:
        case "latency":
            return f"p90 latency {seconds(estimate.latency_s.p90)}"
        case "throughput":
            return f"p10 throughput {estimate.throughput_per_s.p10:.3g} {estimate.throughput_unit}/s"
        case "energy":
            joules = f"{estimate.energy_j.p50:.3g} J" if estimate.energy_j else "unknown"
            return f"energy per {estimate.throughput_unit} {joules}"
        case "startup":
            return f"start-up {seconds(estimate.startup_s.p90)}"
        case "transfer":
            return f"transfer {estimate.transfer_bytes / 2**20:.0f} MiB"
        case "memory":
            return f"memory {memory_share:.0%} of its node"
        case _:
            return term


def seconds(value: float) -> str:
    """A time with a unit that suits it."""
    return f"{value * 1e3:.3g} ms" if value < 0.1 else f"{value:.3g} s"


def _excess(value: float, bound: float | None) -> float:
    if bound is None:
        return 0.0
    return value / bound if bound > 0 else (TERM_LIMIT if value > 0 else 0.0)


def _inverse(wanted: float, got: float) -> float:
    return wanted / got if got > 0 else TERM_LIMIT


def _limited(value: float) -> float:
    return min(TERM_LIMIT, value)
