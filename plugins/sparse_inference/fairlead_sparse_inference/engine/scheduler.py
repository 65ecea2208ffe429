"""Who generates next. Pure: no thread, no clock, no kernels."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from fairlead_language_model.graph import KVPages

from .errors import QueueFull
from .sequence import Sequence


class Scheduler:
    """A bounded queue of waiting sequences and the active ones, in order of arrival.

    A sequence is admitted when the pages of its longest possible answer are free, so that it never stops half-way for
    want of pages. First come, first served: a small one behind a large one waits, and so cannot starve it.
    """

    def __init__(self, pages: KVPages, max_sequences: int, max_waiting: int) -> None:
        self.pages, self.max_sequences, self.max_waiting = pages, max_sequences, max_waiting
        self.waiting: deque[Sequence] = deque()
        self.active: list[Sequence] = []

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; raises QueueFull."""
        if len(self.waiting) >= self.max_waiting and not self._room(sequence):
            raise QueueFull(len(self.waiting))
        self.waiting.append(sequence)

    def admit(self) -> None:
        """Move waiting sequences to the active ones while there is room."""
        while self.waiting and self._room(self.waiting[0]):
            sequence = self.waiting.popleft()
            self.pages.reserve(sequence.table, sequence.limit)
            self.active.append(sequence)

    def _room(self, sequence: Sequence) -> bool:
        return len(self.active) < self.max_sequences and self.pages.pages_for(sequence.limit) <= self.pages.free

    def remove(self, sequences: Iterable[Sequence]) -> None:
        """Forget sequences and take their pages back."""
        for sequence in tuple(sequences):
            if sequence in self.active:
                self.active.remove(sequence)
                self.pages.release(sequence.table)
            elif sequence in self.waiting:
                self.waiting.remove(sequence)

    def fit(self, pages: int) -> int:
        """Resize the arena; the youngest active sequences that no longer fit wait again, and return how many.

        What they generated is kept; their keys and values are computed again when they are admitted.
        """
        preempted = 0
        while sum(len(sequence.table.pages) for sequence in self.active) > pages:
            youngest = self.active.pop()
            self.pages.release(youngest.table)
            self.waiting.appendleft(youngest)
            preempted += 1
        self.pages.resize(pages, [sequence.table for sequence in self.active])
        return preempted
