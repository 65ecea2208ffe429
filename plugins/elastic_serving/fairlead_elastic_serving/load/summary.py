"""What a replay came to, in the figures that serving is judged by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from .client import Outcome

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a request must keep to count as good: seconds to the first token, and mean seconds of each further one."""

    ttft_s: float
    tpot_s: float

    def kept_by(self, outcome: Outcome) -> bool:
        """Whether a request that was answered whole was quick enough."""
        if outcome.error or outcome.ttft_s is None or outcome.ttft_s > self.ttft_s:
            return False
        return outcome.tpot_s is None or outcome.tpot_s <= self.tpot_s


@dataclass(frozen=True, slots=True)
class Summary:
    """A replay in numbers.

    Attributes:
        requests, failed: all of them, and those that were not answered whole.
        seconds: from the first request to the last token.
        ttft_s, tpot_s, e2e_s: percentiles by name, of requests that were answered whole.
        goodput_per_s: requests a second that kept the goal.
        tokens_per_s: of answers.
        errors: how often each was met.
        nodes: requests by who served them.
    """

    requests: int
    failed: int
    seconds: float
    ttft_s: dict[str, float]
    tpot_s: dict[str, float]
    e2e_s: dict[str, float]
    goodput_per_s: float
    tokens_per_s: float
    errors: dict[str, int]
    nodes: dict[str, int]

    def as_json(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


def summarize(outcomes: Sequence[Outcome], goal: Goal) -> Summary:
    """Sum a replay up; percentiles are empty where no request was answered whole."""
    whole = [outcome for outcome in outcomes if not outcome.error]
    ends = [outcome.last_s for outcome in outcomes if outcome.last_s is not None]
    seconds = max(ends, default=0.0) - min((outcome.due_s for outcome in outcomes), default=0.0)
    rate = 1 / seconds if seconds > 0 else 0.0
    return Summary(
        requests=len(outcomes),
        failed=len(outcomes) - len(whole),
        seconds=seconds,
        ttft_s=_percentiles([outcome.ttft_s for outcome in whole]),
        tpot_s=_percentiles([outcome.tpot_s for outcome in whole]),
        e2e_s=_percentiles([None if o.last_s is None else o.last_s - o.due_s for o in whole]),
        goodput_per_s=sum(map(goal.kept_by, outcomes)) * rate,
        tokens_per_s=sum(outcome.tokens for outcome in outcomes) * rate,
        errors=dict(Counter(outcome.error for outcome in outcomes if outcome.error)),
        nodes=dict(Counter(outcome.node for outcome in outcomes if outcome.node)),
    )


def _percentiles(values: Sequence[float | None]) -> dict[str, float]:
    known = [value for value in values if value is not None]
    return {f"p{share}": float(np.percentile(known, share)) for share in PERCENTILES} if known else {}
