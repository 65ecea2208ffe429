"""The engine's measurements in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..engine import Engine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, float]


def render(engine: Engine) -> str:
    """Return all metrics as text; times in seconds, sizes in bytes."""
    return "\n".join(line for family in _families(engine) for line in family) + "\n"


def _families(engine: Engine) -> Iterator[list[str]]:
    telemetry, (used, pages) = engine.telemetry, engine.pages
    active, waiting = engine.load
    yield _family(
        "tokens_total",
        "counter",
        "Tokens computed.",
        [('{kind="prompt"}', telemetry.prompt_tokens), ('{kind="completion"}', telemetry.completion_tokens)],
    )
    yield _family("requests_total", "counter", "Requests taken.", [("", telemetry.requests)])
    yield _family(
        "requests_ended_early_total",
        "counter",
        "Requests that did not end by themselves.",
        [('{why="aborted"}', telemetry.aborted), ('{why="failed"}', telemetry.failed)],
    )
    yield _family("preemptions_total", "counter", "Sequences put back to make room.", [("", telemetry.preempted)])
    yield _family(
        "neurons_active_total",
        "counter",
        "Neurons whose gate was not zero, by layer.",
        [(f'{{layer="{layer}"}}', int(count)) for layer, count in enumerate(telemetry.active)],
    )
    yield _family("neurons_computed_total", "counter", "Gates computed in each layer.", [("", telemetry.computed)])
    yield _family(
        "neurons_silent",
        "gauge",
        "Neurons that no token has activated, by layer.",
        [(f'{{layer="{layer}"}}', int((counts == 0).sum())) for layer, counts in enumerate(engine.model.activations)],
    )
    yield _family(
        "kv_pages", "gauge", "Pages of keys and values.", [('{state="used"}', used), ('{state="free"}', pages - used)]
    )
    yield _family(
        "sequences", "gauge", "Requests under way.", [('{state="active"}', active), ('{state="waiting"}', waiting)]
    )
    yield _family(
        "compute_seconds_total",
        "counter",
        "Time spent computing.",
        [('{phase="prefill"}', telemetry.prefill_s), ('{phase="decode"}', telemetry.decode_s)],
    )
    yield _family("memory_bytes", "gauge", "Memory that counts against the budget.", [("", engine.memory_in_use())])


def _family(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> list[str]:
    full = f"fairlead_sparse_{name}"
    return [
        f"# HELP {full} {meaning}",
        f"# TYPE {full} {kind}",
        *(f"{full}{labels} {value:.9g}" for labels, value in samples),
    ]
