"""What to do about missing memory, by what it costs: compress, drop, swap, or compute again.

Each way frees so many bytes and takes so many seconds from the instance's work. Of all combinations that free enough
the one that takes the least is chosen. The seconds, with kappa bytes of keys and values a token, bandwidth B and g
stages a group: exchange kappa T (g - 1) / (g B) for T running tokens, bubbles (g - 1) / (m + g - 1) of the work while
it lasts; a swap moves its bytes twice; what is computed again costs its prefill.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from .cost_model import Chunk, CostModel
from .microbatches import bubble_share

MOST_WAYS = 12


@dataclass(frozen=True, slots=True)
class Way:
    """One way to free memory.

    Attributes:
        name: for people.
        freed_bytes: what it frees.
        seconds: what it takes from the instance's work.
        excludes: names of ways that cannot be taken beside it.
    """

    name: str
    freed_bytes: int
    seconds: float
    excludes: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.freed_bytes < 0 or not self.seconds >= 0:
            raise ValueError(f"{self}: accepted: no negative bytes or seconds")


def choose(ways: Sequence[Way], required_bytes: int, waited: Callable[[int], float] | None = None) -> tuple[Way, ...]:
    """Return the combination that frees enough in the least seconds, then of the fewest ways.

    If none frees enough: of those that free the most, the one that takes the least.

    Args:
        ways: to combine.
        required_bytes: to be freed.
        waited: seconds until so many bytes are given back by themselves: what is not freed is waited for then, and the
            least seconds in all decide. None: what is not freed is never had.

    Raises:
        ValueError: more ways than can be combined.
    """
    if len(ways) > MOST_WAYS:
        raise ValueError(f"{len(ways)} ways: accepted: up to {MOST_WAYS}")
    best: tuple[Way, ...] = ()
    for size in range(len(ways) + 1):
        for some in combinations(ways, size):
            if not _exclude(some) and _rank(some, required_bytes, waited) < _rank(best, required_bytes, waited):
                best = some
    return best


def exchange_seconds(token_bytes: float, running_tokens: int, stages: int, bytes_per_s: float) -> float:
    """Return how long a group of ``stages`` exchanges its running requests' keys and values: kappa T (g-1) / (g B)."""
    return token_bytes * running_tokens * (stages - 1) / (stages * bytes_per_s)


def drop_way(
    layer_bytes_freed: int,
    token_bytes: float,
    running_tokens: int,
    stages: int,
    bytes_per_s: float,
    work_s: float,
    microbatches: int,
) -> Way:
    """Return dropping as a way: the exchange, and the bubbles of the work that is done while it lasts.

    Args:
        layer_bytes_freed: of this instance.
        token_bytes: kappa, of keys and values of a token.
        running_tokens: whose keys and values move.
        stages: of the group that it makes.
        bytes_per_s: between two instances.
        work_s: prefill seconds that are expected until the layers come back.
        microbatches: that are in flight in a pipeline.

    Raises:
        ValueError: stages or microbatches below 1.
    """
    share = bubble_share(stages, microbatches)
    bubbles = work_s * share / (1 - share) if stages > 1 else 0.0
    return Way("drop", layer_bytes_freed, exchange_seconds(token_bytes, running_tokens, stages, bytes_per_s) + bubbles)


def compress_way(token_bytes: float, tokens: int, ratio: float, bytes_per_s: float) -> Way:
    """Return compressing as a way: keys and values are read, and written ``ratio`` times smaller."""
    if ratio < 1:
        raise ValueError(f"ratio {ratio}: accepted: 1 and above")
    whole = token_bytes * tokens
    return Way("compress", int(whole * (1 - 1 / ratio)), whole * (1 + 1 / ratio) / bytes_per_s)


def recompute_way(token_bytes: float, requests: Sequence[int], model: CostModel) -> Way:
    """Return preempting requests of so many tokens and computing them again later."""
    seconds = sum(model.chunk(Chunk(0, tokens)) for tokens in requests)
    return Way("recompute", int(token_bytes * sum(requests)), seconds, frozenset({"swap"}))


def swap_way(token_bytes: float, requests: Sequence[int], bytes_per_s: float) -> Way:
    """Return preempting requests of so many tokens and moving their keys and values to host memory and back."""
    moved = token_bytes * sum(requests)
    return Way("swap", int(moved), 2 * moved / bytes_per_s, frozenset({"recompute"}))


def _exclude(ways: Sequence[Way]) -> bool:
    names = {way.name for way in ways}
    return any(way.excludes & (names - {way.name}) for way in ways)


def _rank(ways: Sequence[Way], required_bytes: int, waited: Callable[[int], float] | None) -> tuple[int, float, int]:
    missing = max(0, required_bytes - sum(way.freed_bytes for way in ways))
    seconds = sum(way.seconds for way in ways)
    return (missing, seconds, len(ways)) if waited is None else (0, seconds + waited(missing), len(ways))
