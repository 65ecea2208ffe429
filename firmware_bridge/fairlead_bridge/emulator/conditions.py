"""What a link does to packets, and how its losses come. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from random import Random

from fairlead_bridge.emulator.trace import RateTrace


class ConditionsError(ValueError):
    """Names the field, its value and what is accepted."""

    def __init__(self, field: str, value: object, accepted: str) -> None:
        super().__init__(f"{field}: {value!r}; accepted: {accepted}")


@dataclass(frozen=True, slots=True)
class Conditions:
    """One direction of a link.

    A packet waits its turn (``queue_bytes`` wait at the most, what comes on top is dropped), passes at the trace's
    rate, and arrives ``delay_s`` later, give or take ``jitter_s`` (standard deviation of a normal distribution that is
    cut off at zero). Packets keep their order, but the share ``reordering`` skips the delay and overtakes. The share
    ``loss`` is lost on the way, in bursts of ``loss_burst`` packets in the mean (Gilbert 1960: a good state that loses
    nothing and a bad one that loses all); 1 / (1 - loss) is what independent losses give.
    """

    rate: RateTrace | None = None
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    loss_burst: float | None = None
    reordering: float = 0.0
    queue_bytes: int = 256 * 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("delay_s", "jitter_s") and not 0 <= value <= 3600:
                raise ConditionsError(field.name, value, "0 to 3600 s")
            if field.name in ("loss", "reordering") and not 0 <= value <= 1:
                raise ConditionsError(field.name, value, "a share, 0 to 1")
        least = 1 / (1 - self.loss) if self.loss < 1 else math.inf
        if self.loss_burst is not None and self.loss < 1 and not (self.loss_burst >= 1 and self.loss_burst < math.inf):
            raise ConditionsError("loss_burst", self.loss_burst, f"1 packet or more ({least:g} if independent)")
        if not 0 < self.queue_bytes <= 2**40:
            raise ConditionsError("queue_bytes", self.queue_bytes, "1 to 2**40")


class Losses:
    """Which packets of a direction are lost, one after the other."""

    def __init__(self, conditions: Conditions, random: Random) -> None:
        self._random = random
        self._loss = conditions.loss
        burst = conditions.loss_burst
        # Stationary share of the bad state = loss; it is left with probability 1 / burst after each packet.
        self._leave = 1 / burst if burst else None
        self._bad = burst is not None and random.random() < conditions.loss

    def next(self) -> bool:
        """Whether the next packet is lost."""
        if self._leave is None or self._loss in (0.0, 1.0):
            return self._random.random() < self._loss
        lost = self._bad
        enter = min(1.0, self._leave * self._loss / (1 - self._loss))
        self._bad = self._random.random() >= self._leave if self._bad else self._random.random() < enter
        return lost
