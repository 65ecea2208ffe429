"""Splits a memory budget into pinned neurons and a cache, and predicts what that gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conversion.convert import hot_first, most_frequent
from ..profile.file import Profile
from .file import VERSION
from .program import Placement, Problem, fewest_neurons, solve
from .simulate import Traffic, cluster_trace, simulate
from .sizes import ModelBytes
from .speeds import Speeds

#: Shares of the cache that are tried as pinned.
SPLITS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
#: Firings that are simulated at most: a longer trace takes longer and says no more.
_MOST_EVENTS = 4_000_000


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a plan is made for: budget in bytes, mode, seconds to hand over to the fast device, predicted to firing."""

    budget: int
    exact: bool
    sync_s: float = 0.0
    overshoot: float = 1.0
    trace_tokens: int = 1024


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to split the cache, and what it would give; times in seconds a token."""

    pinned_share: float
    pinned_bytes: int
    slots: int
    traffic: Traffic
    placement: Placement
    compute_s: float
    disk_s: float

    @property
    def overlapped_s(self) -> float:
        """A token's time where reading and computing overlap fully."""
        return max(self.compute_s, self.disk_s)

    def record(self) -> dict[str, Any]:
        """Return the numbers for the plan."""
        return {
            "pinned_share": self.pinned_share,
            "pinned_bytes": self.pinned_bytes,
            "cache_slots": self.slots,
            "clusters_a_token": round(self.traffic.wanted, 2),
            "reads_a_token": round(self.traffic.read, 2),
            "hit_rate": round(self.traffic.hit_rate, 4),
            "tokens_per_s": round(1 / self.overlapped_s, 1),
            "tokens_per_s_without_overlap": round(1 / (self.compute_s + self.disk_s), 1),
        }


def make_plan(
    profile: Profile, sizes: ModelBytes, speeds: Speeds, wanted: Conditions, advance: Callable[..., None]
) -> dict[str, Any]:
    """Try the splits and return the plan of the best one. Raises ValueError for a budget below the minimum."""
    cache = wanted.budget - sizes.fixed(wanted.exact)
    computed = float(np.mean([frequencies.sum() for frequencies in profile.frequencies()])) * wanted.overshoot
    least = minimum_cache(sizes, computed)
    if cache < least:
        fixed, rest = sizes.fixed(wanted.exact), "gates" if wanted.exact else "predictors"
        raise ValueError(
            f"memory {wanted.budget} bytes: accepted: {fixed + least} and above: {fixed} for attention, tables, "
            f"keys and values and {rest}, {least} for one layer's neurons of one token"
        )
    found: list[Candidate] = []
    for share in SPLITS:
        found.append(
            _candidate(profile, sizes, speeds, wanted, min(cache, sizes.layers * sizes.network), share, computed)
        )
        advance(f"{share:.0%} pinned")
    # Of equals the one with more pinned: it needs no bookkeeping.
    best = min(found, key=lambda c: (round(c.overlapped_s, 9), round(c.traffic.read, 2), -c.pinned_share))
    return _content(profile, sizes, speeds, wanted, cache, found, best)


def minimum_cache(sizes: ModelBytes, computed: float) -> int:
    """Return the bytes that the neurons of one token and layer take, on average, in whole clusters."""
    clusters = min(sizes.layout.clusters(sizes.neurons), max(1, round(computed)))
    return clusters * sizes.layout.cluster_bytes


def _candidate(
    profile: Profile, sizes: ModelBytes, speeds: Speeds, wanted: Conditions, cache: int, share: float, computed: float
) -> Candidate:
    disk_bytes_per_s = speeds.disk_reads_per_s * speeds.read_bytes
    fewest = fewest_neurons(sizes.layout.stride, speeds.memory_bytes_per_s, disk_bytes_per_s, wanted.sync_s)
    frequencies = profile.frequencies()
    placement = solve(Problem(frequencies, sizes.layout.stride, int(share * cache), fewest))
    pinned, slots = _regions(placement.pinned, sizes, cache)
    tokens = _trace_tokens(profile, wanted.trace_tokens, computed)
    orders = [hot_first(layer.order, mask) for layer, mask in zip(profile.layers, placement.pinned, strict=True)]
    traces = [layer.trace[:tokens] for layer in profile.layers]
    seen = simulate(cluster_trace(traces, orders, sizes.layout.cluster_neurons), pinned, slots)
    traffic = Traffic(seen.wanted * wanted.overshoot, seen.read * wanted.overshoot)
    compute_s = sizes.read_a_token(wanted.exact, computed) / speeds.memory_bytes_per_s
    pinned_bytes = sum(pinned) * sizes.layout.cluster_bytes
    return Candidate(share, pinned_bytes, slots, traffic, placement, compute_s, traffic.read / speeds.disk_reads_per_s)


def _regions(masks: list[NDArray[np.bool_]], sizes: ModelBytes, cache: int) -> tuple[list[int], int]:
    """Return pinned clusters by layer, and the slots that are left."""
    cluster = sizes.layout.cluster_neurons
    pinned = [sizes.layout.clusters(sizes.neurons) if mask.all() else int(mask.sum()) // cluster for mask in masks]
    return pinned, max(0, cache // sizes.layout.cluster_bytes - sum(pinned))


def _trace_tokens(profile: Profile, most: int, computed: float) -> int:
    kept = len(profile.layers[0].trace)
    if kept < 64:
        raise ValueError(f"the profile kept {kept} tokens; accepted: 64 and above (`profile --trace-tokens`)")
    events = max(1.0, computed * len(profile.layers))
    return int(max(64, min(kept, most, _MOST_EVENTS / events)))


def _content(
    profile: Profile,
    sizes: ModelBytes,
    speeds: Speeds,
    wanted: Conditions,
    cache: int,
    found: list[Candidate],
    best: Candidate,
) -> dict[str, Any]:
    attention_s = sizes.attention / speeds.memory_bytes_per_s
    return {
        "version": VERSION,
        "model": profile.summary["model"],
        "mode": "exact" if wanted.exact else "predictor",
        "bits": sizes.layout.bits,
        "budget_bytes": wanted.budget,
        "fixed_bytes": sizes.fixed(wanted.exact),
        "neurons_bytes": sizes.layers * sizes.network,
        "cache_bytes": cache,
        "cluster_bytes": sizes.layout.cluster_bytes,
        "cluster_neurons": sizes.layout.cluster_neurons,
        "prefetch_bytes": int(attention_s * speeds.disk_bytes_per_s),
        "speeds": asdict(speeds),
        "solver": best.placement.solver,
        "predicted": {**best.record(), "bound": "disk" if best.disk_s > best.compute_s else "memory"},
        "reason": _reason(sizes, wanted, cache, found, best),
        "candidates": [candidate.record() for candidate in found],
        "layers": _layers(profile, best),
    }


def _layers(profile: Profile, best: Candidate) -> list[dict[str, Any]]:
    """Return pinned neurons, hot ones of the rest, which a cache keeps longest, and how many are cold."""
    layers: list[dict[str, Any]] = []
    for frequencies, pinned in zip(profile.frequencies(), best.placement.pinned, strict=True):
        hot = most_frequent(np.where(pinned, 0.0, frequencies), 0.5) & ~pinned
        layers.append(
            {
                "pinned": np.flatnonzero(pinned).tolist(),
                "hot": np.flatnonzero(hot).tolist(),
                "cold": int((~pinned & ~hot).sum()),
            }
        )
    return layers


def _reason(sizes: ModelBytes, wanted: Conditions, cache: int, found: list[Candidate], best: Candidate) -> str:
    if cache >= sizes.layers * sizes.network:
        return f"all neurons fit: {sizes.layers * sizes.network} of {cache} bytes; nothing is read while generating"
    worst = max(found, key=lambda candidate: candidate.traffic.read)
    bound = "the disk" if best.disk_s > best.compute_s else "memory bandwidth"
    return (
        f"{cache} of {wanted.budget} bytes are left for {sizes.layers * sizes.network} bytes of neurons; with "
        f"{best.pinned_share:.0%} of that pinned and {best.slots} clusters for the least recently used, "
        f"{best.traffic.read:.1f} of {best.traffic.wanted:.1f} clusters a token are read "
        f"(worst split {worst.pinned_share:.0%}: {worst.traffic.read:.1f}); {bound} decides the speed"
    )
