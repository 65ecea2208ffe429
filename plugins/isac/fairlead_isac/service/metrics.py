"""Metrics in Prometheus's form, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from .cell import Cell

_PREFIX = "fairlead_isac_"
_COUNTERS = {
    "decisions": "Slot decisions.",
    "decision_deadline_misses": "Slot decisions that took longer than their period.",
    "skipped_slots": "Periods in which no decision could be made.",
    "failed_slots": "Slot decisions that ended in an error; the last one held.",
    "fallbacks": "Decisions that are not the optimum that was asked for.",
    "estimates": "Intervals of looks that were turned into estimates.",
    "estimate_deadline_misses": "Estimates that came later than their request's refresh.",
    "failed_estimates": "Intervals that ended in an error.",
    "requests_admitted": "Sensing requests that could be met.",
    "requests_refused": "Sensing requests that could not.",
    "controls": "Settings from outside.",
    "radio_losses": "Times that the radio went.",
    "agreements": "Of this cell with others.",
    "failed_agreements": "That ended in an error; the cell decides alone then.",
    "letters_heard": "Of other cells.",
    "letters_refused": "That made no sense.",
    "letters_unknown": "Of cells that are not known here; dropped.",
    "letters_of_another_epoch": "Of cells whose lease has another epoch; dropped.",
    "letters_overflowed": "That came while too many were waiting; dropped.",
    "letters_unsent": "That another cell did not take.",
    "messages_of_another_period": "Of other cells' agents; dropped.",
}
_GAUGES = {
    "sensing_share": "Share of air time that is for sensing alone.",
    "looks_share": "Share of air time that looks take, with or without data.",
    "radio_up": "1 while the radio is there.",
    "sensing_requests": "Requests that are served.",
}
_FIGURES = {
    "rate_p5_bits_per_s": ("rate_p5_bits_per_s", "5th percentile of users' rates."),
    "rate_p50_bits_per_s": ("rate_p50_bits_per_s", "Median of users' rates."),
    "proportional_fairness_bits_per_s": ("proportional_fairness_bits_per_s", "Geometric mean of users' rates."),
    "sinr_violations": ("sinr_violations", "Users below their least rate."),
    "sensing_violations": ("sensing_violations", "Targets with a requirement that is missed."),
    "self_interference_margin_db": ("self_interference_margin_db", "Noise over what is left of the own signal."),
}
_SENSING = {
    "range_std_m": ("range_std_m", "Bound of the range's deviation."),
    "velocity_std_m_per_s": ("velocity_std_m_per_s", "Bound of the velocity's deviation."),
    "angle_std_rad": ("angle_std_rad", "Bound of the angle's deviation."),
    "detection_probability": ("detection_probability", "Of a request's target."),
    "false_alarm_probability": ("false_alarm", "At which it is detected."),
}
_OF_QUEUES = {
    "queue_sent_bits_per_s": ("throughput_bits_per_s", "That left towards a user."),
    "queue_loss": ("loss", "Share of packets that a user's queue dropped."),
    "queue_wait_seconds": ("latency_s", "That what is in a user's queue will wait."),
}
_QUANTILES = (0.5, 0.9, 0.99)


class CellCollector(Collector):
    """Reads a cell; ``workload`` and ``replica`` label everything."""

    def __init__(self, cell: Cell, workload: str, replica: int) -> None:
        self._cell = cell
        self._labels = {"workload": workload, "replica": str(replica)}

    def collect(self) -> Iterator[Metric]:
        """Yield all of them."""
        for name, meaning in _COUNTERS.items():
            family = CounterMetricFamily(_PREFIX + name, meaning, labels=list(self._labels))
            family.add_metric(list(self._labels.values()), self._cell.counters.total(name))
            yield family
        yield from self._gauges()
        yield from self._figures()
        yield from self._of_requests()
        yield from self._of_users()
        yield from self._of_cells()
        yield from self._times()

    def _gauges(self) -> Iterator[Metric]:
        status = self._cell.status()
        values = {
            "sensing_share": status["sensing_share"],
            "looks_share": status["looks_share"],
            "radio_up": float(status["radio"]["state"] == "there"),
            "sensing_requests": len(status["requests"]),
        }
        for name, meaning in _GAUGES.items():
            family = GaugeMetricFamily(_PREFIX + name, meaning, labels=list(self._labels))
            family.add_metric(list(self._labels.values()), values[name])
            yield family

    def _figures(self) -> Iterator[Metric]:
        figures = self._cell.figures()
        for name, (attribute, meaning) in _FIGURES.items():
            family = GaugeMetricFamily(_PREFIX + name, meaning, labels=list(self._labels))
            value = None if figures is None else getattr(figures, attribute)
            if value is not None:
                family.add_metric(list(self._labels.values()), float(value))
            yield family

    def _of_requests(self) -> Iterator[Metric]:
        """What each request gets, with its class."""
        labels, figures = [*self._labels, "request", "class"], self._cell.figures()
        classes = {entry.id: str(entry.request.sensing_class or "") for entry in self._cell.book.live()}
        for name, (attribute, meaning) in _SENSING.items():
            family = GaugeMetricFamily(_PREFIX + name, meaning, labels=labels)
            for request, result in ({} if figures is None else figures.sensing).items():
                value = getattr(result, attribute)
                if request in classes and value is not None:
                    family.add_metric([*self._labels.values(), request, classes[request]], float(value))
            yield family

    def _of_users(self) -> Iterator[Metric]:
        labels = [*self._labels, "user"]
        capacity = GaugeMetricFamily(_PREFIX + "rate_bits_per_s", "That a user is given.", labels=labels)
        free = GaugeMetricFamily(_PREFIX + "free_bits_per_s", "Of it, beside the user's own traffic.", labels=labels)
        latency = GaugeMetricFamily(_PREFIX + "latency_seconds", "Of a packet to a user.", labels=labels)
        for name, each in self._cell.links.items():
            values = [*self._labels.values(), name]
            capacity.add_metric(values, each.capacity_bits_per_s)
            free.add_metric(values, each.free_bits_per_s)
            latency.add_metric(values, each.latency_s)
        yield from (capacity, free, latency)
        yield from self._of_queues(labels)

    def _of_queues(self, labels: list[str]) -> Iterator[Metric]:
        for name, (attribute, meaning) in _OF_QUEUES.items():
            family = GaugeMetricFamily(_PREFIX + name, meaning, labels=labels)
            for user, values in self._cell.traffic().items():
                family.add_metric([*self._labels.values(), user], values[attribute])
            yield family

    def _of_cells(self) -> Iterator[Metric]:
        if self._cell.partners is None:
            return
        told = self._cell.partners.body()
        partners = GaugeMetricFamily(_PREFIX + "partners", "Cells in the agreement.", labels=list(self._labels))
        partners.add_metric(list(self._labels.values()), len(told["with"]))
        out = GaugeMetricFamily(_PREFIX + "left_out", "1: the cell takes no part.", labels=[*self._labels, "cell"])
        for cell in told["left_out"]:
            out.add_metric([*self._labels.values(), cell], 1.0)
        yield from (partners, out)

    def _times(self) -> Iterator[Metric]:
        labels = [*self._labels, "quantile"]
        for name, meaning in (
            ("decision", "Of a slot decision."),
            ("estimate", "Of one interval's looks."),
        ):
            family = GaugeMetricFamily(f"{_PREFIX}{name}_seconds", meaning, labels=labels)
            for share in _QUANTILES:
                value = self._cell.counters.quantile(name, share)
                if value is not None:
                    family.add_metric([*self._labels.values(), f"{share:g}"], value)
            yield family
