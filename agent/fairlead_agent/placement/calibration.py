"""Learn by how much estimates of a variant were wrong on this node, and correct the next ones."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

from fairlead_agent.messages import Estimate, Quantiles

#: Ratios beyond these are taken for broken measurements, and clipped.
RATIO_LIMIT = 100.0
#: How uncertain a correction is that was learnt from other variants: a factor between its median and its p90.
BORROWED_SPREAD = 1.25
#: 10th and 90th percentile of a normal distribution, in standard deviations.
Z90 = 1.2815515655446004


@dataclass(frozen=True, slots=True)
class Ratio:
    """Exponentially weighted mean and variance of ln(measured / estimated)."""

    mean: float = 0.0
    variance: float = 0.0
    count: int = 0

    def observed(self, ratio: float, weight: float) -> Ratio:
        """With one more observation (West 1979, exponentially weighted form)."""
        value = log(min(RATIO_LIMIT, max(1 / RATIO_LIMIT, ratio)))
        if self.count == 0:
            return Ratio(value, 0.0, 1)
        step = max(weight, 1 / (self.count + 1))
        delta = value - self.mean
        return Ratio(self.mean + step * delta, (1 - step) * (self.variance + step * delta * delta), self.count + 1)

    @property
    def factor(self) -> float:
        """The median correction."""
        return exp(self.mean)

    @property
    def spread(self) -> float:
        """How uncertain the correction is, as a factor of at least 1 between its median and its p90."""
        return exp(Z90 * sqrt(self.variance)) if self.count else 1.0


class Calibration:
    """Per (plugin, variant): measured over estimated throughput and latency.

    A variant that never ran here is corrected by what the plugin's other variants showed. Most errors are the
    device's, a slow or a busy one; left alone, each untried variant would look better than all that were measured, and
    instances would move from one to the next.

    Args:
        weight: of the newest observation, 0 to 1.
    """

    def __init__(self, weight: float = 0.2) -> None:
        if not 0 < weight <= 1:
            raise ValueError(f"weight: {weight} is not accepted; a share above 0 and at most 1 is")
        self._weight = weight
        self._throughput: dict[tuple[str, str], Ratio] = {}
        self._latency: dict[tuple[str, str], Ratio] = {}

    def observe(
        self, plugin: str, variant: str, estimate: Estimate, throughput_per_s: float | None, latency_p90_s: float | None
    ) -> None:
        """Learn from what an instance measured. ``estimate`` is the plugin's own, before any correction."""
        name = (plugin, variant)
        if throughput_per_s and estimate.throughput_per_s.p50 > 0:
            ratio = throughput_per_s / estimate.throughput_per_s.p50
            self._throughput[name] = self._throughput.get(name, Ratio()).observed(ratio, self._weight)
        if latency_p90_s and estimate.latency_s.p90 > 0:
            ratio = latency_p90_s / estimate.latency_s.p90
            self._latency[name] = self._latency.get(name, Ratio()).observed(ratio, self._weight)

    def factor(self, plugin: str, variant: str) -> float:
        """The learnt factor on throughput; 1 where nothing of the plugin was measured."""
        return (_known(self._throughput, plugin, variant) or Ratio()).factor

    def apply(self, plugin: str, variant: str, estimate: Estimate) -> Estimate:
        """The estimate, corrected; what is still uncertain widens its quantiles."""
        throughput = _known(self._throughput, plugin, variant)
        latency = _known(self._latency, plugin, variant)
        changes: dict[str, Quantiles] = {}
        if throughput is not None:
            changes["throughput_per_s"] = _corrected(estimate.throughput_per_s, throughput)
        if latency is not None:
            changes["latency_s"] = _corrected(estimate.latency_s, latency)
        return estimate.model_copy(update=changes) if changes else estimate

    def dump(self) -> dict[str, list[float]]:
        """What was learnt, as plain values for a file."""
        kinds = (("throughput", self._throughput), ("latency", self._latency))
        return {
            f"{kind} {plugin} {variant}": [ratio.mean, ratio.variance, ratio.count]
            for kind, ratios in kinds
            for (plugin, variant), ratio in ratios.items()
        }

    def load(self, values: dict[str, list[float]]) -> None:
        """Take back what :meth:`dump` returned.

        Raises:
            ValueError: an entry that is no dump of this class.
        """
        for name, value in values.items():
            try:
                kind, plugin, variant = name.split(" ")
                mean, variance, count = value
                ratios = {"throughput": self._throughput, "latency": self._latency}[kind]
            except (ValueError, KeyError):
                raise ValueError(f"calibration {name!r}: {value!r} is not 'kind plugin variant': [m, v, n]") from None
            ratios[(plugin, variant)] = Ratio(float(mean), max(0.0, float(variance)), int(count))


def _known(ratios: dict[tuple[str, str], Ratio], plugin: str, variant: str) -> Ratio | None:
    """What a variant has shown, or else what the plugin's others have: their mean, weighted by what was observed."""
    own = ratios.get((plugin, variant))
    others = [ratio for (other, _), ratio in ratios.items() if other == plugin and ratio.count > 0]
    if own is not None or not others:
        return own
    count = sum(ratio.count for ratio in others)
    mean = sum(ratio.mean * ratio.count for ratio in others) / count
    variance = sum((ratio.variance + (ratio.mean - mean) ** 2) * ratio.count for ratio in others) / count
    return Ratio(mean, variance + (log(BORROWED_SPREAD) / Z90) ** 2, count)


def _corrected(quantiles: Quantiles, ratio: Ratio) -> Quantiles:
    spread = ratio.spread
    return Quantiles(
        p10=quantiles.p10 * ratio.factor / spread,
        p50=quantiles.p50 * ratio.factor,
        p90=quantiles.p90 * ratio.factor * spread,
    )
