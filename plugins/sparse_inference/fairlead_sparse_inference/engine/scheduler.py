"""Who generates next. Pure: no thread, no clock, no kernels."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from fairlead_language_model.graph import KVPages, PrefixCache
from fairlead_language_model.serving import QueueFull

from .sequence import Sequence


class Scheduler:
    """A bounded queue of waiting sequences and the active ones, in order of arrival.

    A sequence is admitted when the pages of its longest possible answer are free, so that it never stops half-way for
    want of pages. First come, first served: a small one behind a large one waits, and so cannot starve it. What ended
    sequences leave in the cache is given up where a new one needs the room. With `keep_answers` false that is their
    prompts alone: where answers are computed otherwise than prompts, a prompt that holds one must not find it there.
    """

    def __init__(
        self,
        pages: KVPages,
        max_sequences: int,
        max_waiting: int,
        *,
        prefix_cache: bool = True,
        keep_answers: bool = True,
    ) -> None:
        self.pages, self.max_sequences, self.max_waiting = pages, max_sequences, max_waiting
        self._keep_answers = keep_answers
        self.cache = PrefixCache(pages, enabled=prefix_cache)
        self.waiting: deque[Sequence] = deque()
        self.active: list[Sequence] = []

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; raises QueueFull."""
        if len(self.waiting) >= self.max_waiting and not self._room(sequence):
            raise QueueFull(len(self.waiting))
        self.waiting.append(sequence)

    def admit(self) -> list[Sequence]:
        """Move waiting sequences to the active ones while there is room; return those moved."""
        admitted: list[Sequence] = []
        while self.waiting and self._room(self.waiting[0]):
            # It leaves the queue once it has its pages: an error leaves it where it is found.
            sequence = self.waiting[0]
            sequence.cached_tokens = self.cache.reserve(sequence.table, sequence.tokens, sequence.limit)
            self.active.append(self.waiting.popleft())
            admitted.append(sequence)
        return admitted

    def _room(self, sequence: Sequence) -> bool:
        return len(self.active) < self.max_sequences and self.cache.room(sequence.tokens, sequence.limit)

    def remove(self, sequences: Iterable[Sequence]) -> None:
        """Forget sequences; their pages stay in the cache until others need them."""
        for sequence in tuple(sequences):
            sequence.drafter.close()
            if sequence in self.active:
                self.active.remove(sequence)
                kept = sequence.tokens if self._keep_answers else sequence.request.prompt
                self.cache.retire(kept, sequence.table)
            elif sequence in self.waiting:
                self.waiting.remove(sequence)

    def fit(self, pages: int) -> int:
        """Resize the arena; the youngest active sequences that no longer fit wait again, and return how many.

        The cache gives way first. What the sequences generated is kept; their keys and values are computed again when
        they are admitted.
        """
        preempted = 0
        while (excess := self.pages.pool.used - pages) > 0:
            if self.cache.evict(excess):
                continue
            youngest = self.active.pop()
            self.pages.release(youngest.table)
            self.waiting.appendleft(youngest)
            preempted += 1
        self.cache.renumber(self.pages.resize(pages, [sequence.table for sequence in self.active]))
        return preempted
