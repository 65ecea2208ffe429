"""The part of the graph that one node writes, as a join-semilattice.

A shard is the pair (newest full snapshot, later changes by key). Shards of one writer are joined by taking the higher
incarnation; within one incarnation, the snapshot with the higher seq, and of the changes the later one by key. What a
snapshot covers is forgotten, tombstones too, so that a shard does not grow with its history. The join is commutative,
associative and idempotent for any input, also for a writer that contradicts itself, so the order in which updates
arrive, and how often they do, does not matter (Shapiro et al., "Conflict-free replicated data types", 2011).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fairlead_agent.graph.entry import Entry
from fairlead_agent.graph.update import ShardUpdate


@dataclass(slots=True)
class Shard:
    """What is known of one writer's part."""

    incarnation: int = 0
    floor: int = -1
    """``seq`` of the newest snapshot; -1: none came yet."""
    snapshot: dict[str, Entry] = field(default_factory=dict[str, Entry])
    changes: dict[str, Entry] = field(default_factory=dict[str, Entry])
    """Entries later than ``floor``; ``None`` values are tombstones."""

    @classmethod
    def of(cls, update: ShardUpdate) -> Shard:
        """The shard that knows one update and nothing else."""
        shard = cls()
        shard.take(update)
        return shard

    def current(self, key: str) -> Entry | None:
        """The entry in force; None where it is unknown or gone."""
        entry = self.changes.get(key) if self.changes else None
        entry = entry or self.snapshot.get(key)
        return None if entry is None or entry.value is None else entry

    def live(self) -> Iterator[Entry]:
        """All entries in force."""
        yield from (entry for entry in self.changes.values() if entry.value is not None)
        for key, entry in self.snapshot.items():
            if key not in self.changes and entry.value is not None:
                yield entry

    def take(self, update: ShardUpdate) -> set[str]:
        """Join an update in place; returns the keys whose entries may have changed."""
        if update.incarnation < self.incarnation:
            return set()
        touched = self._restart(update.incarnation) if update.incarnation > self.incarnation else set[str]()
        if update.full:
            return touched | self._take_snapshot(update.seq, update.entries)
        return touched | _join_into(self.changes, (entry for entry in update.entries if entry.seq > self.floor))

    def join(self, other: Shard) -> Shard:
        """The shard that knows what both know."""
        joined = Shard()
        for shard in (self, other):
            for update in shard.updates():
                joined.take(update)
        return joined

    def updates(self, node: str = "") -> Iterator[ShardUpdate]:
        """Updates from which the shard can be made again."""
        if self.floor >= 0:
            yield ShardUpdate(node, self.incarnation, self.floor, True, tuple(self.snapshot.values()))
        seq = max((entry.seq for entry in self.changes.values()), default=self.floor)
        yield ShardUpdate(node, self.incarnation, max(seq, 0), False, tuple(self.changes.values()))

    def _restart(self, incarnation: int) -> set[str]:
        keys = self.snapshot.keys() | self.changes.keys()
        self.incarnation, self.floor = incarnation, -1
        self.snapshot, self.changes = {}, {}
        return keys

    def _take_snapshot(self, seq: int, entries: tuple[Entry, ...]) -> set[str]:
        if seq < self.floor:
            return set()
        if seq == self.floor:
            return _join_into(self.snapshot, entries)
        touched = self.snapshot.keys() | self.changes.keys()
        self.floor, self.snapshot = seq, {}
        touched |= _join_into(self.snapshot, entries)
        if self.changes:
            self.changes = {key: entry for key, entry in self.changes.items() if entry.seq > seq}
        return touched


def _join_into(entries: dict[str, Entry], added: Iterable[Entry]) -> set[str]:
    touched: set[str] = set()
    for entry in added:
        known = entries.get(entry.key)
        if known is None or entry.newer(known) is not known:
            entries[entry.key] = entry
            touched.add(entry.key)
    return touched
