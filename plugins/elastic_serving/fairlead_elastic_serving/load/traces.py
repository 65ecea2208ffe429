"""When requests come and how long they are: from the Azure code trace, or drawn in its shape.

The trace (Patel et al., "Splitwise", ISCA 2024, CC-BY) is a file of the user's. What ships is a generator of the same
shape: rates in steps of five seconds and lengths as in the trace's busiest window.
"""

from __future__ import annotations

import csv
import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

#: Where the window lies in the Azure trace: half a minute before its busiest minute begins.
WINDOW_START_S, WINDOW_S = 539.0, 120.0
BURST_S = (15.0, 90.0)
"""The seconds of the window between which the burst lies, in the trace and in what is generated."""
_BIN_S = 5.0
#: Requests of the generated window in each five seconds.
_BINS = (0, 0, 0, 20, 30, 30, 150, 100, 80, 55, 0, 0, 15, 60, 65, 65, 65, 55, 0, 20, 40, 15, 0, 15)
_PROMPT_MEDIAN, _PROMPT_SIGMA, _PROMPT_MOST = 1500.0, 1.05, 7437
_ANSWER_MEDIAN, _ANSWER_SIGMA, _ANSWER_MOST = 14.0, 0.95, 1899


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: seconds since the window began, tokens of its prompt and of its answer (1 and above)."""

    at_s: float
    prompt: int
    answer: int

    def __post_init__(self) -> None:
        if self.at_s < 0 or self.prompt < 1 or self.answer < 1:
            raise ValueError(f"{self}: accepted: at_s 0 and above, prompt and answer 1 and above")


def read_azure(file: Path) -> list[Arrival]:
    """Read a trace with columns TIMESTAMP, ContextTokens, GeneratedTokens; the first request comes at 0.

    Raises:
        ValueError: a row is no such row; the file and its line are named.
        OSError: the file cannot be read.
    """
    found: list[tuple[float, int, int]] = []
    with file.open(newline="") as text:
        for number, entry in enumerate(csv.DictReader(text), start=2):
            try:
                at = datetime.fromisoformat(entry["TIMESTAMP"][:26]).timestamp()
                found.append((at, int(entry["ContextTokens"]), int(entry["GeneratedTokens"])))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{file}, line {number}: {error}; accepted: TIMESTAMP, ContextTokens, GeneratedTokens"
                ) from error
    found.sort()
    return [Arrival(at - found[0][0], max(1, prompt), max(1, answer)) for at, prompt, answer in found]


def window(trace: Sequence[Arrival], start_s: float = WINDOW_START_S, seconds: float = WINDOW_S) -> list[Arrival]:
    """The requests of a window, its begin at 0; raises ValueError where it holds none."""
    times = [item.at_s for item in trace]
    held = trace[bisect_left(times, start_s) : bisect_left(times, start_s + seconds)]
    if not held:
        raise ValueError(f"no request between {start_s:g} and {start_s + seconds:g} s; the trace has {len(trace)}")
    return [replace(item, at_s=item.at_s - start_s) for item in held]


def generated(seed: int) -> list[Arrival]:
    """A window of the same shape: arrivals drawn evenly in each five seconds, lengths from clipped lognormals."""
    drawn = random.Random(seed)
    times = sorted(_BIN_S * (index + drawn.random()) for index, count in enumerate(_BINS) for _ in range(count))
    return [
        Arrival(
            at,
            _length(drawn, _PROMPT_MEDIAN, _PROMPT_SIGMA, 16, _PROMPT_MOST),
            _length(drawn, _ANSWER_MEDIAN, _ANSWER_SIGMA, 6, _ANSWER_MOST),
        )
        for at in times
    ]


def _length(drawn: random.Random, median: float, sigma: float, least: int, most: int) -> int:
    return min(most, max(least, round(drawn.lognormvariate(math.log(median), sigma))))
