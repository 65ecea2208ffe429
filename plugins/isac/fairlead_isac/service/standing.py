"""How a cell stands, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cell import Cell


def standing(cell: Cell) -> dict[str, Any]:
    """Radio, stage, rates, links, sensing's share, requests, times and misses, controls, shaping, other cells."""
    decision, radio, counters = cell.engine.decision, cell.loop.radio, cell.counters
    live = cell.book.live()
    return {
        "cell": cell.settings.cell.name,
        "radio": {"state": radio.state, "reason": radio.reason, "since_unix_s": radio.since_unix_s},
        "stage": None if decision is None else decision.stage,
        "duplex": None if decision is None else decision.duplex,
        "sensing_share": 0.0 if decision is None else decision.time_fraction_sensing,
        "looks_share": cell.engine.sensing_share(),
        "rate_bits_per_s": dict(cell.rates.by_user),
        "links": {
            name: {
                "capacity_bits_per_s": each.capacity_bits_per_s,
                "free_bits_per_s": each.free_bits_per_s,
                "latency_s": each.latency_s,
            }
            for name, each in cell.links.items()
        },
        "unmet": [] if decision is None else list(decision.unmet),
        "requests": [entry.id for entry in live],
        "decision_p50_s": counters.quantile("decision", 0.5),
        "decision_p99_s": counters.quantile("decision", 0.99),
        "decision_deadline_misses": counters.total("decision_deadline_misses"),
        "estimate_deadline_misses": counters.total("estimate_deadline_misses"),
        "fallbacks": counters.total("fallbacks"),
        "samples_per_s": cell.samples_per_s,
        "control": cell.engine.controls.body(),
        "shaping": cell.queues.body(),
        "cells": None if cell.partners is None else cell.partners.body(),
    }
