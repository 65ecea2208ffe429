"""What every radio can do, and how it fails."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.complexfloating]

SPEED_OF_LIGHT = 299_792_458.0


class RadioError(Exception):
    """A request that no radio, or not this one, can carry out: names the field, the value and what is accepted."""


class RadioLost(Exception):
    """The radio did not answer within its timeout, or said that it is gone. It may come back."""


@dataclass(frozen=True, slots=True)
class RadioConfiguration:
    """How a radio is set. ``timeout_s`` is how long a call may take beyond the samples' own duration.

    Samples are complex envelopes whose squared magnitude is the power at the antenna in watts. A device of which the
    samples are relative to its full scale has ``full_scale_watts`` there (known from a calibration, else 1).
    """

    carrier_hz: float
    sample_rate_hz: float
    transmit_antennas: int = 1
    receive_antennas: int = 1
    transmit_gain_db: float | None = None
    receive_gain_db: float | None = None
    full_scale_watts: float = 1.0
    timeout_s: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("antennas"):
                accepted = isinstance(value, int) and 1 <= value <= 1024
            elif field.name.endswith("_db"):
                accepted = value is None or math.isfinite(value)
            else:
                accepted = math.isfinite(value) and value > 0
            if not accepted:
                raise RadioError(f"{field.name}: {value!r}; accepted: {_ACCEPTED.get(field.name, 'a number above 0')}")

    @property
    def wavelength_m(self) -> float:
        return SPEED_OF_LIGHT / self.carrier_hz


_ACCEPTED = {
    "transmit_antennas": "1 to 1024",
    "receive_antennas": "1 to 1024",
    "transmit_gain_db": "a finite number, or None",
    "receive_gain_db": "a finite number, or None",
}


@runtime_checkable
class Radio(Protocol):
    """Sends and receives samples at the same time, both on one clock that starts at 0 with the radio.

    Arrays are complex [samples] where there is one antenna, else [antennas, samples].
    """

    @property
    def configuration(self) -> RadioConfiguration:
        """How it is set, as the device confirmed it."""
        ...

    def transmit(self, samples: Samples) -> None:
        """Queue samples behind those that were queued before; where the queue ran dry, from now on.

        Raises:
            RadioLost: the radio did not take them within the timeout.
            RadioError: their shape is not that of the transmit antennas, or some are not finite.
        """
        ...

    def receive(self, count: int) -> Samples:
        """Return the next ``count`` samples.

        Raises:
            RadioLost: they did not come within the timeout.
            RadioError: ``count`` is not above zero.
        """
        ...

    def close(self) -> None:
        """Stop, and give the device back; more than once does no harm."""
        ...
