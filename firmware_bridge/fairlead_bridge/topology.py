"""How cores, caches and memory are arranged: clusters of like cores, shared caches, NUMA nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fairlead_bridge.reading import Missing, convert
from fairlead_bridge.tree import Tree

CPU = "devices/system/cpu"
NODE = "devices/system/node"
_SIZE = re.compile(r"([0-9]{1,9})([KMG]?)")
_SCALE = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_MEMORY = re.compile(r"(MemTotal|MemFree):\s+([0-9]{1,15}) kB")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Logical cores that are alike. ``capacity`` is the kernel's relative speed (the fastest is 1024)."""

    cores: tuple[int, ...]
    model: str
    capacity: int | Missing
    frequency_min_hz: int | Missing
    frequency_max_hz: int | Missing


@dataclass(frozen=True, slots=True)
class Cache:
    """One cache and the logical cores that share it; ``kind`` is Data, Instruction or Unified."""

    level: int
    kind: str
    size_bytes: int
    cores: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NumaNode:
    """A NUMA node. ``distances`` are relative (10 = local), one for each node in order of their numbers."""

    number: int
    cores: tuple[int, ...]
    memory_total_bytes: int | Missing
    memory_free_bytes: int | Missing
    distances: tuple[int, ...]


def frequency_hz(sys: Tree, core: int, name: str) -> int | Missing:
    """A cpufreq file of one core; the kernel counts in kHz."""
    kilohertz = sys.integer(f"{CPU}/cpu{core}/cpufreq/{name}", 1, 10**8)
    return convert(kilohertz, lambda value: value * 1000)


def read_clusters(sys: Tree, models: dict[int, str], cores: tuple[int, ...]) -> tuple[Cluster, ...]:
    """Group cores by model, capacity and frequency range: big and little cores fall apart."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for core in cores:
        key = (
            models.get(core, ""),
            _capacity(sys, core),
            frequency_hz(sys, core, "cpuinfo_min_freq"),
            frequency_hz(sys, core, "cpuinfo_max_freq"),
        )
        # A missing reading names its core, so it may not be part of what cores are compared by.
        groups.setdefault(tuple(None if isinstance(item, Missing) else item for item in key), []).append(core)
    return tuple(_cluster(sys, models, tuple(group)) for group in groups.values())


def read_caches(sys: Tree, cores: tuple[int, ...]) -> tuple[Cache, ...]:
    """Every cache once; one that does not parse is left out."""
    caches: dict[tuple[int, str, tuple[int, ...]], Cache] = {}
    for core in cores:
        for name in sys.matches(f"{CPU}/cpu{core}/cache", r"index[0-9]{1,2}"):
            cache = _cache(sys, f"{CPU}/cpu{core}/cache/{name}")
            if cache is not None:
                caches[cache.level, cache.kind, cache.cores] = cache
    return tuple(caches[key] for key in sorted(caches))


def read_numa_nodes(sys: Tree) -> tuple[NumaNode, ...]:
    """All NUMA nodes; none where the kernel is built without NUMA."""
    return tuple(_numa_node(sys, name) for name in sys.matches(NODE, r"node[0-9]{1,4}"))


def count_physical_cores(sys: Tree, cores: tuple[int, ...]) -> int | Missing:
    """Distinct groups of hardware threads among the online cores."""
    groups: set[tuple[int, ...]] = set()
    for core in cores:
        siblings = sys.numbers(f"{CPU}/cpu{core}/topology/thread_siblings_list")
        if isinstance(siblings, Missing):
            return siblings
        groups.add(siblings)
    return len(groups) or Missing("physical cores", "no core is known to be online")


def _capacity(sys: Tree, core: int) -> int | Missing:
    return sys.integer(f"{CPU}/cpu{core}/cpu_capacity", 1, 65536)


def _cluster(sys: Tree, models: dict[int, str], cores: tuple[int, ...]) -> Cluster:
    first = cores[0]
    return Cluster(
        cores=cores,
        model=models.get(first, ""),
        capacity=_capacity(sys, first),
        frequency_min_hz=frequency_hz(sys, first, "cpuinfo_min_freq"),
        frequency_max_hz=frequency_hz(sys, first, "cpuinfo_max_freq"),
    )


def _cache(sys: Tree, path: str) -> Cache | None:
    level, kind = sys.integer(f"{path}/level", 1, 9), sys.line(f"{path}/type")
    size, cores = sys.text(f"{path}/size"), sys.numbers(f"{path}/shared_cpu_list")
    if isinstance(level, Missing) or isinstance(kind, Missing):
        return None
    if isinstance(size, Missing) or isinstance(cores, Missing):
        return None
    match = _SIZE.fullmatch(size)
    return Cache(level, kind, int(match[1]) * _SCALE[match[2]], cores) if match else None


def _numa_node(sys: Tree, name: str) -> NumaNode:
    path = f"{NODE}/{name}"
    cores = sys.numbers(f"{path}/cpulist")
    text = sys.text(f"{path}/meminfo")
    sizes = {} if isinstance(text, Missing) else {key: int(kib) * 1024 for key, kib in _MEMORY.findall(text)}
    missing = text if isinstance(text, Missing) else Missing(sys.name(f"{path}/meminfo"), "no such line", "garbled")
    return NumaNode(
        number=int(name[4:]),
        cores=() if isinstance(cores, Missing) else cores,
        memory_total_bytes=sizes.get("MemTotal", missing),
        memory_free_bytes=sizes.get("MemFree", missing),
        distances=_distances(sys.text(f"{path}/distance")),
    )


def _distances(text: str | Missing) -> tuple[int, ...]:
    words = [] if isinstance(text, Missing) else text.split()
    numbers = [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 6]
    return tuple(numbers) if len(numbers) == len(words) else ()
