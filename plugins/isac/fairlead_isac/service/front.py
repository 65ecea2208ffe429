"""The radio as the sensing loop uses it: send looks, get back what was received of them on the same grid."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..physics.numerology import Numerology
from ..requests.admission import Looks
from ..requests.request import Area

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


class Front(Protocol):
    """A radio with beams. Every method raises ``RadioUnavailable`` where it is not there or does not answer in time."""

    @property
    def centres(self) -> Float:
        """Phase centres of the receiving channels, [channels], in wavelengths along the array."""
        ...

    def open(self) -> None:
        """Take the radio; again, where it was lost."""
        ...

    def look(self, sent: Complex, numerology: Numerology, looks: Looks, area: Area) -> Complex:
        """Send looks towards an area and receive them.

        Args:
            sent: complex [N, M] of lit subcarriers, unit power an element.
            numerology: of the looks: symbols as far apart as looks are.
            looks: repeats of each, and which subcarriers are lit.
            area: where the beams go, sending and receiving.

        Returns:
            complex [channels, N, M]; periods are added up, so that noise has the power of one.
        """
        ...

    def close(self) -> None:
        """Give it back."""
        ...
