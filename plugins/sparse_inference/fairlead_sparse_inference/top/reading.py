"""An instance's counters at one time. Pure: from the text of /metrics to numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "fairlead_sparse_"
_SUFFIX = "_total"


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters and gauges by name (without prefix and `_total`) and label value ("" for none); `at_s` is a time."""

    at_s: float
    node: str
    samples: Mapping[str, Mapping[str, float]]

    def of(self, name: str, label: str = "") -> float | None:
        """Return one number; None where the instance does not report it."""
        return self.samples.get(name, {}).get(label)

    def sum(self, name: str) -> float | None:
        """Return the sum over a metric's labels; None where the instance does not report it."""
        values = self.samples.get(name)
        return sum(values.values()) if values else None

    def label(self, name: str) -> str | None:
        """Return the first label of a metric whose text is what it tells; None where it is not reported."""
        return next(iter(self.samples.get(name, ())), None)

    def since(self, earlier: Reading | None) -> Reading:
        """Return this reading with counters counted from an earlier one of the same instance.

        An instance that was started anew in between counts from its start.
        """
        if earlier is None or earlier.node != self.node or self._restarted(earlier):
            return self
        counted = {name: dict(self._difference(name, earlier)) for name in self.samples}
        return Reading(self.at_s, self.node, counted)

    def _restarted(self, earlier: Reading) -> bool:
        return (self.sum("requests") or 0) < (earlier.sum("requests") or 0)

    def _difference(self, name: str, earlier: Reading) -> Iterator[tuple[str, float]]:
        for label, value in self.samples[name].items():
            yield label, value if name in GAUGES else value - (earlier.of(name, label) or 0.0)


GAUGES = frozenset({"kv_pages", "sequences", "memory_bytes", "neurons_silent", "energy_source", "energy_unmeasured"})


def parse(text: str, node: str, at_s: float) -> Reading:
    """Read the text of /metrics.

    Raises:
        ValueError: it is no Prometheus text, or not that of this engine.
    """
    samples: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith(_PREFIX) and not sample.name.endswith("_created"):
                name = sample.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
                samples.setdefault(name, {})[next(iter(sample.labels.values()), "")] = sample.value
    if "tokens" not in samples:
        raise ValueError(f"no metric {_PREFIX}tokens_total: accepted: a workload of the plugin sparse_inference")
    return Reading(at_s, node, samples)
