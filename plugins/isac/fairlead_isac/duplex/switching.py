"""When to send and hear at the same time: the break-even of a cell, and a switch with hysteresis around it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from fairlead_isac.errors import IsacError
from fairlead_isac.scenario import Budget, Channels, Duplex
from fairlead_isac.stages.decision import Decision
from fairlead_isac.stages.protocol import Stage

_BISECTIONS = 14


@dataclass(slots=True)
class DuplexSwitch:
    """Full duplex above the break-even cancellation, half below; in between it stays as it is.

    Args:
        hysteresis_db: how far beyond the break-even the cancellation must be for a change.
        mode: to begin with.
    """

    hysteresis_db: float = 1.0
    mode: Duplex = "half"

    def __post_init__(self) -> None:
        if not self.hysteresis_db >= 0:
            raise IsacError(f"hysteresis_db is {self.hysteresis_db!r}; accepted: a number of at least 0")

    def choose(self, cancellation_db: float | None, break_even_db: float | None) -> Duplex:
        """The mode from now on. A cancellation that was not measured (None, NaN) or no break-even (None) means half."""
        if cancellation_db is None or break_even_db is None or math.isnan(cancellation_db):
            self.mode = "half"
        elif cancellation_db >= break_even_db + self.hysteresis_db:
            self.mode = "full"
        elif cancellation_db < break_even_db - self.hysteresis_db:
            self.mode = "half"
        return self.mode


def break_even_db(ratio: Callable[[float], float], low_db: float = 40.0, high_db: float = 160.0) -> float | None:
    """Cancellation at which full duplex equals half duplex, by bisection of a ratio that grows with it.

    Args:
        ratio: full over half duplex, at a cancellation in dB.
        low_db: where it is already above 1, this is the answer.
        high_db: where it is still below 1, there is no break-even: None.
    """
    if ratio(high_db) < 1:
        return None
    if ratio(low_db) >= 1:
        return low_db
    for _ in range(_BISECTIONS):
        middle = (low_db + high_db) / 2
        low_db, high_db = (low_db, middle) if ratio(middle) >= 1 else (middle, high_db)
    return (low_db + high_db) / 2


def measured_break_even_db(stage: Stage, channels: Channels, budget: Budget) -> float | None:
    """Break-even of a stage's own decisions under channels as they were measured; None: half duplex is always better.

    Compares the weighted sums of rates of users that receive and that send. A decision that meets fewer needs does not
    count as better.
    """
    half = stage.decide(channels, replace(budget, duplex="half"))
    weight = {user.name: user.weight for user in stage.users}

    def ratio(cancellation_db: float) -> float:
        seen = replace(channels, cancellation_db=cancellation_db)
        full = stage.decide(seen, replace(budget, duplex="full"))
        if _missed(full) > _missed(half):
            return 0.0
        return _worth(full, weight) / max(_worth(half, weight), 1e-300)

    return break_even_db(ratio)


def _worth(decision: Decision, weight: dict[str, float]) -> float:
    return sum(weight[name] * rate for name, rate in decision.rate_bits_per_s.items())


def _missed(decision: Decision) -> int:
    return len(decision.unmet) + sum(len(result.unmet) for result in decision.sensing.values())
