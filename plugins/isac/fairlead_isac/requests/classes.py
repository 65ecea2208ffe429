"""Sensing service classes of 3GPP TS 22.137 (table 6.2-1, categories 1 to 7) as a typed table.

Accuracies hold at a confidence of 95 %. Where the standard gives a range, both ends are kept: the loosest one is what a
request of the class asks for, the tightest one what a ``strict`` request does.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import IsacError


@dataclass(frozen=True, slots=True)
class Span:
    """A bound that the standard gives as a range: all values are upper bounds."""

    tightest: float
    loosest: float

    def pick(self, strict: bool) -> float:
        """The end that a request asks for."""
        return self.tightest if strict else self.loosest


@dataclass(frozen=True, slots=True)
class SensingClass:
    """One class. None: the class says nothing of it.

    Attributes:
        number: 1 to 7.
        scenario: of the standard.
        use: an example of what it is for.
        horizontal_m, vertical_m: accuracy of a position, 95 %.
        velocity_m_per_s: accuracy of a velocity, 95 %.
        range_resolution_m, velocity_resolution_m_per_s: what must be told apart.
        latency_s: from the event to the estimate.
        refresh_s: between two estimates.
        missed_detection, false_alarm: probabilities, 0 to 1.
    """

    number: int
    scenario: str
    use: str
    horizontal_m: float | None = None
    vertical_m: float | None = None
    velocity_m_per_s: Span | None = None
    range_resolution_m: float | None = None
    velocity_resolution_m_per_s: float | None = None
    latency_s: Span = Span(1.0, 1.0)
    refresh_s: Span = Span(1.0, 1.0)
    missed_detection: Span | None = None
    false_alarm: float | None = None


def _one(value: float) -> Span:
    return Span(value, value)


_OBJECTS, _MOTIONS = "object detection and tracking", "motion monitoring"
_TABLE = (
    SensingClass(
        1, _OBJECTS, "people and drones, indoors or outdoors", 10, 10, None, 10, 5, _one(1), _one(1), _one(0.05), 0.02
    ),
    SensingClass(
        2, _OBJECTS, "people and drones outdoors", 2, 5, _one(1), 1, 1, _one(1), _one(0.2), Span(0.001, 0.05), 0.05
    ),
    # On a motorway 5 s of latency would do; that is not taken as the rule.
    SensingClass(
        3, _OBJECTS, "people, animals, drones", 1, 1, _one(1), 1, 1, Span(0.1, 1), Span(0.05, 1), _one(0.02), 0.02
    ),
    # Velocity: 15 m/s for vehicles, 1.5 m/s for pedestrians, else 0.1 m/s.
    SensingClass(
        4,
        _OBJECTS,
        "vehicles, guided and on roads",
        0.5,
        0.5,
        Span(0.1, 15),
        0.5,
        0.5,
        Span(0.1, 5),
        _one(0.1),
        _one(0.01),
        0.03,
    ),
    SensingClass(
        5,
        "environment monitoring",
        "rain and floods",
        10,
        0.2,
        latency_s=_one(60),
        refresh_s=Span(60, 600),
        missed_detection=Span(0.001, 0.05),
        false_alarm=0.03,
    ),
    SensingClass(
        6,
        _MOTIONS,
        "movements of people",
        latency_s=_one(60),
        refresh_s=_one(60),
        missed_detection=_one(0.05),
        false_alarm=0.05,
    ),
    SensingClass(
        7, _MOTIONS, "gestures", 0.2, 0.2, _one(0.1), 0.375, 0.3, Span(0.005, 0.05), _one(0.1), _one(0.05), 0.05
    ),
)
CLASSES: dict[int, SensingClass] = {each.number: each for each in _TABLE}
"""By number."""


def sensing_class(number: int) -> SensingClass:
    """The class of a number.

    Raises:
        IsacError: there is none.
    """
    if number not in CLASSES:
        raise IsacError(f"class = {number!r}; accepted: {', '.join(map(str, CLASSES))} (3GPP TS 22.137)")
    return CLASSES[number]
