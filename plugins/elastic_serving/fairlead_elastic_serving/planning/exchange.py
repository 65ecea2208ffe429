"""Moving running requests' keys and values to whoever holds the layer now, without getting in anyone's way.

After a drop each request's keys and values of a layer that its instance gave away belong to the stage that kept it.
They move in chunks of about one pipeline stage's time, and a chunk starts only where no activation waits for the same
link (KunServe, "coordinated exchange"). Until all of a layer has arrived the request goes on generating with
attention computed where the keys and values still are (remote attention); what would take longer to move than to
attend to from afar stays there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import ElasticServingError
from .drop_plan import DropPlan

Link = tuple[str, str]
"""Source and target instance."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A running request whose keys and values an instance holds.

    Attributes:
        request: its name.
        instance: which holds them.
        tokens: that are stored.
        remaining: that it may still generate.
    """

    request: str
    instance: str
    tokens: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens [first, end) of one layer of one request that go over a link."""

    epoch: int
    request: str
    layer: int
    source: str
    target: str
    first: int
    end: int

    @property
    def link(self) -> Link:
        """The link."""
        return self.source, self.target


def chunk_tokens(stage_s: float, bytes_per_s: float, layer_token_bytes: float) -> int:
    """Return how many tokens of one layer a link moves in one stage's time, at least 1."""
    return max(1, int(stage_s * bytes_per_s / layer_token_bytes))


def worth_moving(
    stored: Stored, layer_token_bytes: float, query_bytes: float, bytes_per_s: float, latency_s: float
) -> bool:
    """Return whether a layer's keys and values should move, rather than be attended to from afar until the end.

    From afar each token that is generated sends its query there and its result back, one after the other, with the
    link's latency both times; moving takes the bytes once.

    Args:
        stored: the request.
        layer_token_bytes: kappa of one layer.
        query_bytes: of one token's query, and of its result.
        bytes_per_s: of the link.
        latency_s: of the link, one way.
    """
    afar = stored.remaining * 2 * (query_bytes / bytes_per_s + latency_s)
    return stored.tokens * layer_token_bytes / bytes_per_s + latency_s < afar


def parts_of(plan: DropPlan, stored: Iterable[Stored], tokens: int) -> list[Part]:
    """Cut what a plan makes move into parts of up to ``tokens`` tokens.

    A layer goes to the instance that keeps it in the group. Parts of one link stand in the order of the requests, so
    that the first request is whole again first.

    Raises:
        ElasticServingError: an instance that is in no group holds keys and values.
        ValueError: ``tokens`` below 1.
    """
    if tokens < 1:
        raise ValueError(f"tokens {tokens}: accepted: 1 and above")
    keeper = {
        (stage.instance, layer): other.instance
        for group in plan.groups
        for stage in group
        for other in group
        for layer in other.layers
    }
    known = {stage.instance for group in plan.groups for stage in group}
    parts: list[Part] = []
    for item in stored:
        if item.instance not in known:
            raise ElasticServingError(f"request {item.request!r} is on {item.instance!r}, which is in no group")
        for layer in plan.dropped.get(item.instance, ()):
            target = keeper[item.instance, layer]
            for first in range(0, item.tokens, tokens):
                end = min(first + tokens, item.tokens)
                parts.append(Part(plan.epoch, item.request, layer, item.instance, target, first, end))
    return parts


class Exchange:
    """The exchange that one plan started: which part may go now, and what is still where it was.

    Args:
        epoch: of the plan; parts of others are refused.
        parts: from `parts_of`.
    """

    def __init__(self, epoch: int, parts: Sequence[Part]) -> None:
        self.epoch = epoch
        self._queues: dict[Link, deque[Part]] = {}
        self._missing: dict[tuple[str, int], set[Part]] = {}
        for part in parts:
            self._refuse_other_epochs(part)
            self._queues.setdefault(part.link, deque()).append(part)
            self._missing.setdefault((part.request, part.layer), set()).add(part)
        self._flying: dict[Link, Part] = {}

    @property
    def done(self) -> bool:
        """Whether everything has arrived."""
        return not self._missing

    def next(self, link: Link, *, activations: int) -> Part | None:
        """Return the part that goes over a link next; None while activations wait, or another part is on its way."""
        queue = self._queues.get(link)
        if activations or link in self._flying or not queue:
            return None
        part = self._flying[link] = queue.popleft()
        return part

    def arrived(self, part: Part) -> bool:
        """Take note of a part; returns whether the request's layer is whole at its target now.

        A part that arrives twice, or of a request that is gone, changes nothing. Raises ElasticServingError for one of
        another epoch.
        """
        self._refuse_other_epochs(part)
        if self._flying.get(part.link) == part:
            del self._flying[part.link]
        missing = self._missing.get((part.request, part.layer))
        if missing is None or part not in missing:
            return False
        missing.discard(part)
        if missing:
            return False
        del self._missing[part.request, part.layer]
        return True

    def lost(self, part: Part) -> None:
        """Put a part that did not arrive in time back to the front of its link's queue."""
        self._refuse_other_epochs(part)
        if self._flying.get(part.link) == part:
            del self._flying[part.link]
            if part in self._missing.get((part.request, part.layer), ()):
                self._queues[part.link].appendleft(part)

    def remote(self, request: str, layer: int) -> bool:
        """Return whether attention over a request's layer is still computed where its keys and values were."""
        return (request, layer) in self._missing

    def forget(self, request: str) -> None:
        """Drop a request's parts: it ended or was aborted."""
        for queue in self._queues.values():
            kept = [part for part in queue if part.request != request]
            queue.clear()
            queue.extend(kept)
        self._missing = {key: parts for key, parts in self._missing.items() if key[0] != request}

    def fail(self, instance: str) -> tuple[str, ...]:
        """Take note that an instance died.

        Returns:
            the requests of which something was to move from it or to it and has not arrived whole: they are computed
            again. Their parts are dropped. Whose keys and values had all arrived there is for the owner of the group
            to know.
        """
        open_parts = [part for parts in self._missing.values() for part in parts]
        hit = sorted({part.request for part in open_parts if instance in part.link})
        for request in hit:
            self.forget(request)
        self._flying = {link: part for link, part in self._flying.items() if instance not in link}
        return tuple(hit)

    def progress(self) -> Mapping[Link, int]:
        """Return how many parts still wait on each link, those on their way included."""
        waiting = {link: len(queue) + (link in self._flying) for link, queue in self._queues.items()}
        return {link: number for link, number in waiting.items() if number}

    def _refuse_other_epochs(self, part: Part) -> None:
        if part.epoch != self.epoch:
            raise ElasticServingError(f"{part} is of epoch {part.epoch}; accepted: {self.epoch}")
