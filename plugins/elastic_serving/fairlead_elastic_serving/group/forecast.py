"""How many pages an instance's requests will hold in a moment: so that layers are given away before anybody waits.

Until a plan is in force some time goes by. Within it running requests grow, or end and give back what they hold, and
others come in as they did of late. No I/O and no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LATELY_S = 1.0
#: Answers that say how long others will be; those that end first are the short ones.
ANSWERS = 32


@dataclass(frozen=True, slots=True)
class Growing:
    """A running request: tokens that it has, and how many more are expected of it."""

    tokens: int
    left: int


def expected_left(generated: int, most: int, mean_answer: float | None) -> int:
    """Return how many tokens an answer still gets: what it may get, and not more than other answers had.

    One that is longer than those already is expected to go on for as long as they were.

    Args:
        generated: tokens of it so far.
        most: that it may have in all.
        mean_answer: tokens of the answers that ended; None: none did.
    """
    if mean_answer is None:
        return max(0, most - generated)
    others = mean_answer - generated if generated < mean_answer else mean_answer
    return max(0, min(most - generated, round(others)))


class Arrivals:
    """Who came lately, from polls of who is there."""

    def __init__(self, lately_s: float = LATELY_S) -> None:
        self._lately_s = lately_s
        self._came: deque[tuple[float, int]] = deque()
        self._seen = float("-inf")

    def see(self, now: float, arrived: Iterable[tuple[float, int]]) -> None:
        """Take requests that are there: when each arrived, and the tokens of its prompt."""
        fresh = sorted(item for item in arrived if item[0] > self._seen)
        if fresh:
            self._seen = fresh[-1][0]
            self._came += fresh
        while self._came and self._came[0][0] <= now - self._lately_s:
            self._came.popleft()

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return len(self._came) / self._lately_s

    @property
    def prompts(self) -> tuple[int, ...]:
        """Tokens of the prompts that came lately."""
        return tuple(tokens for _, tokens in self._came)

    @property
    def lately_s(self) -> float:
        """For how long a request counts as one of late."""
        return self._lately_s


class Pace:
    """Tokens a second of a running request, smoothed over polls of a sum of gaps and their number."""

    def __init__(self, share: float = 0.3) -> None:
        self._share, self._total, self._count, self._gap_s = share, 0.0, 0, 0.0

    def see(self, total_s: float, count: int) -> None:
        """Take the sum of all gaps between tokens since the start, and how many there were."""
        if count > self._count:
            gap_s = (total_s - self._total) / (count - self._count)
            self._gap_s = gap_s if not self._gap_s else (1 - self._share) * self._gap_s + self._share * gap_s
        self._total, self._count = total_s, count

    @property
    def tokens_per_s(self) -> float:
        """0 where nothing was seen."""
        return 1 / self._gap_s if self._gap_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a forecast is made of."""

    arrivals: Arrivals
    pace: Pace


def coming(
    running: Iterable[Growing],
    arrivals: Arrivals,
    tokens_per_s: float,
    ahead_s: float,
    needed: Callable[[int], int],
    mean_answer: float = 0.0,
) -> int:
    """Return how many pages more are held in a while than now, if everything goes on as it is; 0 where it is fewer.

    Args:
        running: requests that hold pages.
        arrivals: of late.
        tokens_per_s: of a running request.
        ahead_s: how far to look.
        needed: pages of so many tokens.
        mean_answer: tokens of an answer: nobody who comes grows beyond.
    """
    more, steps = 0, int(tokens_per_s * ahead_s)
    for one in running:
        ends = one.left < steps
        more += (0 if ends else needed(one.tokens + steps)) - needed(one.tokens)
    # Who comes is there for half of the time on average, and grows for as long.
    grown = min(steps // 2, round(mean_answer))
    share = ahead_s / arrivals.lately_s
    return max(0, more + round(share * sum(needed(prompt + grown) for prompt in arrivals.prompts)))
