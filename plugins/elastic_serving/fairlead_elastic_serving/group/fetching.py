"""Brings layers back: from an instance that has them, a slice at a time and behind everything else, or from disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import torch

from ..errors import OutOfPages
from ..links.link import Lane, Message
from ..model.loading import LoadedModel
from .post import Post

SLICE_BYTES = 1 << 20


class Fetcher:
    """Layers that come back to one instance, one after the other.

    Attributes:
        from_peers, from_disk: layers that came that way.

    Args:
        model: where they go.
        wanted: layers, with the instances that may have each, the best first.
        post: sends questions.
        make_room: says whether so many pages of the arena may be taken for weights now.
        moved: copies pages, and lets tables follow, as the arena says.
        clock: in seconds.
        patience_s: for an answer.
    """

    def __init__(
        self,
        model: LoadedModel,
        wanted: Mapping[int, Sequence[str]],
        post: Post,
        make_room: Callable[[int], bool],
        moved: Callable[..., None],
        clock: Callable[[], float],
        patience_s: float = 5.0,
    ) -> None:
        self.from_peers = 0
        self.from_disk = 0
        self.fetched: list[int] = []
        self._model, self._post, self._make_room, self._moved = model, post, make_room, moved
        self._clock, self._patience_s = clock, patience_s
        self._queue: deque[tuple[int, deque[str]]] = deque(
            (layer, deque(peers)) for layer, peers in sorted(wanted.items())
        )
        self._placed = False
        self._offset = 0
        self._asked_at: float | None = None

    @property
    def done(self) -> bool:
        """Whether all layers are here."""
        return not self._queue

    def step(self) -> bool:
        """Ask for the next slice, or read from disk; false if there is nothing to do but wait."""
        if self.done or not self._place():
            return False
        layer, peers = self._queue[0]
        if self._asked_at is not None:
            if self._clock() - self._asked_at <= self._patience_s:
                return False
            self._next_source()
        while peers:
            asked = Message("weights", {"layer": layer, "offset": self._offset, "bytes": SLICE_BYTES})
            if self._post.try_send(peers[0], Lane.EXCHANGE, asked):
                self._asked_at = self._clock()
                return True
            self._next_source()
        self._model.load_layer(layer)
        self.from_disk += 1
        self._arrived(layer)
        return True

    def take(self, peer: str, layer: int, offset: int, content: torch.Tensor | None) -> None:
        """Take an answer: bytes from ``offset`` on, or nothing where the instance does not have the layer."""
        if self.done or self._queue[0][0] != layer or not self._queue[0][1] or self._queue[0][1][0] != peer:
            return
        if self._asked_at is None or offset != self._offset:
            return
        self._asked_at = None
        if content is None:
            self._next_source()
            return
        flat = self._flat(layer)
        flat[offset : offset + len(content)] = content.to(flat.device)
        self._offset += len(content)
        if self._offset >= self._model.layout.layer_bytes:
            self._model.adopt_layer(layer)
            self.from_peers += 1
            self._arrived(layer)

    def lost(self, peer: str) -> None:
        """Take note that an instance is gone."""
        if self._queue and self._queue[0][1] and self._queue[0][1][0] == peer:
            self._next_source()
        for _, peers in self._queue:
            while peer in peers:
                peers.remove(peer)

    def _place(self) -> bool:
        """Take the next layer's pages back for it, if there is room for what stands in them."""
        if self._placed:
            return True
        layer, arena = self._queue[0][0], self._model.arena
        if layer not in arena.dropped:
            self._placed = True
            return True
        if not self._make_room(len(arena.layer_range(layer))):
            return False
        try:
            moves = arena.restore(layer)
        except OutOfPages:
            return False
        self._moved(moves)
        self._placed = True
        return True

    def _next_source(self) -> None:
        self._asked_at, self._offset = None, 0
        if self._queue[0][1]:
            self._queue[0][1].popleft()

    def _arrived(self, layer: int) -> None:
        self._queue.popleft()
        self.fetched.append(layer)
        self._placed, self._offset, self._asked_at = False, 0, None

    def _flat(self, layer: int) -> torch.Tensor:
        return self._model.memory.layer(self._model.arena.layer_range(layer))


def layer_slice(model: LoadedModel, layer: int, offset: int, number: int) -> torch.Tensor | None:
    """Return bytes of a layer that is here; None where it is not."""
    if layer not in model.layers:
        return None
    flat = model.memory.layer(model.arena.layer_range(layer))
    return flat[offset : min(offset + number, model.layout.layer_bytes)].cpu()
