"""The neuron cache's policy in plain Python: what the native one is tested against, and its fallback."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

#: Lookups of an average item between two halvings of its count; the largest count, and that of a hot item at first.
AGING_PERIOD, LARGEST, HOT_COUNT = 8, 255, 16
_LISTS = 16

FIXED, HOT, COLD = "fixed", "hot", "cold"
REGIONS = (FIXED, HOT, COLD)


def _list_of(count: int) -> int:
    """Two lists for each doubling of the count."""
    width = count.bit_length()
    return count if count < 4 else 2 * width - 2 + (count >> (width - 2) & 1)


class ReferenceCache:
    """Which clusters of neurons lie in which slots: fixed, hot by group, cold by least frequent use.

    Items are layer * clusters + cluster, clusters in their order on disk. The leading groups of a layer (``group``
    consecutive clusters each) are its most active ones: first the fixed, then the hot ones. What ``lookup``,
    ``admit`` and ``admit_group`` return is held until ``release``; what was admitted is loading until ``arrived`` or
    ``forget``. Neither is evicted. After PowerInfer-2, section 4.2.

    Every item, cached or not, has a count of its lookups, at first that of its place in the profile, which is halved
    for every 8 lookups of an average item. The cold item with the lowest count (two classes for each doubling) goes
    first, and of several the least recently used.
    """

    def __init__(
        self,
        layers: int,
        clusters: int,
        group: int,
        fixed_groups: Sequence[int],
        hot_groups: Sequence[int],
        slots: int,
        hot_slots: int,
    ) -> None:
        """Start empty.

        Raises:
            ValueError: the shape is empty, or the slots do not hold the fixed region and one more.
        """
        if min(layers, clusters, group) < 1:
            raise ValueError("cache: layers, clusters and group must be at least 1")
        self.layers, self.clusters, self.group = layers, clusters, group
        self._groups = -(-clusters // group)
        self._fixed = [min(count, self._groups) for count in fixed_groups] or [0] * layers
        hot = list(hot_groups) or [0] * layers
        if len(self._fixed) != layers or len(hot) != layers:
            raise ValueError("cache: fixed_groups and hot_groups must have one entry a layer")
        self._hot_end = [min(fixed + more, self._groups) for fixed, more in zip(self._fixed, hot, strict=True)]
        self.minimum_slots = 1 + sum(min(count * group, clusters) for count in self._fixed)
        self._slot: dict[int, int] = {}
        self._region: dict[int, str] = {}
        self._count_of = [HOT_COUNT if rank < end * group else 0 for end in self._hot_end for rank in range(clusters)]
        self._looked_up = self._hand = 0
        self._cold: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(_LISTS)]  # by their counts
        self._list_of: dict[int, int] = {}
        self._hot: OrderedDict[int, None] = OrderedDict()  # groups, the least recently used first
        self._held: set[int] = set()
        self._loading: set[int] = set()
        self._free: list[int] = []
        self.slots = 0
        self.hits = [0, 0, 0]
        self.misses = self.evictions = 0
        self.resize(slots, hot_slots)

    @property
    def used(self) -> int:
        """Slots that hold an item."""
        return len(self._slot)

    def slot_of(self, item: int) -> int:
        """Return the slot of an item, or -1."""
        return self._slot.get(item, -1)

    def region(self, item: int) -> str | None:
        """Return the region of a cached item."""
        return self._region.get(item)

    def lookup(self, item: int) -> int:
        """Return the slot of an item, or -1; counts a hit of its region or a miss."""
        region = self._region.get(item)
        self._looked_up += 1
        self._count_of[item] = min(self._count_of[item] + 1, LARGEST)
        if region is None:
            self.misses += 1
            return -1
        self.hits[REGIONS.index(region)] += 1
        self._held.add(item)
        if region == COLD and not self._holds_all():
            self._link(item)
        elif region == HOT:
            self._hot.move_to_end(self._group_of(item))
        return self._slot[item]

    def admit(self, item: int) -> int:
        """Give an item that is not cached a slot in the cold region; -1 when all of that is held or loading."""
        if not (self._free or self._evict_cold() or (not self._list_of and self._evict_hot(None))):
            return -1
        self._occupy(item, COLD)
        return self._slot[item]

    def admit_group(self, layer: int, group: int) -> list[tuple[int, int]]:
        """Give slots to those members of a fixed or hot group that are not cached; stops where there is no room."""
        if group >= self.resident_groups(layer):
            return []
        region = FIXED if group < self._fixed[layer] else HOT
        members = self._members(layer * self._groups + group)
        for item in members:
            if self._region.get(item) == COLD:
                if region == HOT and self._count(HOT) >= self._hot_slots:
                    break
                self._leave(item)
                self._enter(item, region)
        admitted: list[tuple[int, int]] = []
        for item in members:
            if item in self._slot:
                continue
            if not self._room(self._group_of(item), region):
                break
            self._occupy(item, region)
            admitted.append((item, self._slot[item]))
        return admitted

    def arrived(self, item: int) -> None:
        """Say that an item's bytes are there."""
        self._loading.discard(item)

    def forget(self, item: int) -> None:
        """Free the slot of an item whose bytes did not come."""
        self._leave(item)
        self._loading.discard(item)
        self._held.discard(item)
        self._free.append(self._slot.pop(item))
        del self._region[item]

    def release(self) -> None:
        """Let go of everything that is held, and age counts by what was looked up since."""
        self._held.clear()
        for _ in range(self._looked_up // AGING_PERIOD):
            self._count_of[self._hand] //= 2
            if not self._holds_all():
                self._relist(self._hand)
            self._hand = (self._hand + 1) % len(self._count_of)
        self._looked_up %= AGING_PERIOD

    def resident_groups(self, layer: int) -> int:
        """Return how many leading groups of a layer are fixed or hot at this size."""
        return max(self._fixed[layer], min(self._hot_end[layer], self._rank))

    def resize(self, slots: int, hot_slots: int) -> list[tuple[int, int]]:
        """Change the number of slots; returns (from, to) of the slots to be copied.

        Raises:
            ValueError: the slots do not hold the fixed region and one more. RuntimeError: a slot is loading.
        """
        if slots < self.minimum_slots:
            raise ValueError(f"cache: {slots} slots: accepted: at least {self.minimum_slots}")
        if self._loading:
            raise RuntimeError("cache: cannot be resized while slots are loading")
        self.release()
        # While there was room for everything the lists did not follow the counts.
        for item in range(len(self._count_of)) if self._holds_all() else ():
            self._relist(item)
        self._hot_slots = min(hot_slots, slots - self.minimum_slots)
        self._rank = self._rank_within(self._hot_slots)
        while self._count(HOT) > self._hot_slots:
            self._evict_group(self._least_active())
        while self.used > slots and self._evict_cold():
            pass
        while self.used > slots:
            self._evict_group(self._least_active())
        moves = self._compact(slots)
        self._free += range(max(slots, self.slots) - 1, self.slots - 1, -1)
        self.slots = slots
        return moves

    def _holds_all(self) -> bool:
        return self.slots == len(self._count_of)

    def _link(self, item: int) -> None:
        if item in self._list_of:
            self._unlink(item)
        self._list_of[item] = _list_of(self._count_of[item])
        self._cold[self._list_of[item]][item] = None

    def _unlink(self, item: int) -> None:
        del self._cold[self._list_of.pop(item)][item]

    def _relist(self, item: int) -> None:
        if self._list_of.get(item) not in (None, _list_of(self._count_of[item])):
            self._link(item)

    def _compact(self, slots: int) -> list[tuple[int, int]]:
        self._free = [slot for slot in self._free if slot < slots]
        moves: list[tuple[int, int]] = []
        for slot, item in sorted((slot, item) for item, slot in self._slot.items() if slot >= slots):
            self._slot[item] = self._free.pop()
            moves.append((slot, self._slot[item]))
        return moves

    def _rank_within(self, hot_slots: int) -> int:
        needed = 0
        for rank in range(self._groups):
            hot = [layer for layer in range(self.layers) if self._fixed[layer] <= rank < self._hot_end[layer]]
            needed += sum(len(self._members(layer * self._groups + rank)) for layer in hot)
            if needed > hot_slots:
                return rank
        return self._groups

    def _members(self, group: int) -> range:
        layer, rank = divmod(group, self._groups)
        first = layer * self.clusters + rank * self.group
        return range(first, min(first + self.group, (layer + 1) * self.clusters))

    def _group_of(self, item: int) -> int:
        return item // self.clusters * self._groups + item % self.clusters // self.group

    def _count(self, region: str) -> int:
        return sum(1 for found in self._region.values() if found == region)

    def _busy(self, item: int) -> bool:
        return item in self._held or item in self._loading

    def _hot_members(self, group: int) -> list[int]:
        return [item for item in self._members(group) if self._region.get(item) == HOT]

    def _group_busy(self, group: int) -> bool:
        return any(map(self._busy, self._hot_members(group)))

    def _occupy(self, item: int, region: str) -> None:
        self._slot[item] = self._free.pop()
        self._held.add(item)
        self._loading.add(item)
        self._enter(item, region)

    def _enter(self, item: int, region: str) -> None:
        self._region[item] = region
        if region == COLD:
            self._link(item)
        elif region == HOT:
            self._hot[self._group_of(item)] = None
            self._hot.move_to_end(self._group_of(item))

    def _leave(self, item: int) -> None:
        region = self._region[item]
        if region == COLD:
            self._unlink(item)
        elif region == HOT and len(self._hot_members(self._group_of(item))) == 1:
            del self._hot[self._group_of(item)]

    def _evict(self, item: int) -> None:
        self.evictions += 1
        self.forget(item)

    def _evict_cold(self) -> bool:
        victim = next((item for line in self._cold for item in line if not self._busy(item)), None)
        if victim is not None:
            self._evict(victim)
        return victim is not None

    def _evict_hot(self, spared: int | None) -> bool:
        victim = next((group for group in self._hot if group != spared and not self._group_busy(group)), None)
        if victim is not None:
            self._evict_group(victim)
        return victim is not None

    def _evict_group(self, group: int) -> None:
        for item in self._hot_members(group):
            self._evict(item)

    def _least_active(self) -> int:
        # Sorting is stable: of one rank the least recently used comes first.
        return min(self._hot, key=lambda group: -(group % self._groups))

    def _room(self, group: int, region: str) -> bool:
        if region == HOT and self._count(HOT) >= self._hot_slots and not self._evict_hot(group):
            return False
        return bool(self._free) or self._evict_cold() or self._evict_hot(group)
