"""Estimates as they are streamed to who asked for them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Detection:
    """One object that was found. Deviations are bounds at the measured SNR; None where they mean nothing."""

    range_m: float
    velocity_m_per_s: float
    """Positive: it goes away."""
    angle_degrees: float
    """Of the beam that found it, refined over the array where the radio has one channel for each antenna."""
    snr_db: float
    range_std_m: float | None
    velocity_std_m_per_s: float | None


@dataclass(frozen=True, slots=True)
class Fused:
    """What several cells' estimates of one target come to, in the plane in which the workload's sites stand."""

    cells: tuple[str, ...]
    x_m: float
    y_m: float
    vx_m_per_s: float
    vy_m_per_s: float
    position_std_m: float
    unlike: tuple[str, ...] = ()
    """Cells whose estimate cannot be of the same thing; left out."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one interval of looks gave.

    Attributes:
        request: its id.
        number: 1, 2, ... of the request.
        measured_unix_s: when the last look was sent.
        latency_s: from then to the estimate.
        late: the refresh that was admitted was missed.
        detections: strongest first.
        problem: why there are none, where the radio is gone.
        fused: with other cells' estimates of the target; None: there are none.
    """

    request: str
    number: int
    measured_unix_s: float
    latency_s: float
    late: bool
    detections: tuple[Detection, ...] = ()
    problem: str | None = None
    fused: Fused | None = None

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
