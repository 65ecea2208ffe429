"""The processor: which cores are there, what they can do, how busy they are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.cpuinfo import CoreInfo, features_of, frequency_of, parse_cpuinfo
from fairlead_bridge.pressure import Pressure, read_pressure
from fairlead_bridge.reading import Missing, first_known, is_known
from fairlead_bridge.roots import Roots
from fairlead_bridge.topology import (
    CPU,
    Cache,
    Cluster,
    NumaNode,
    count_physical_cores,
    frequency_hz,
    read_caches,
    read_clusters,
    read_numa_nodes,
)
from fairlead_bridge.tree import parse_list

_CPUINFO_LIMIT_BYTES = 8 * 1024 * 1024
_ALLOWED = re.compile(r"^Cpus_allowed_list:\s*([0-9,\-]+)$", re.MULTILINE)
_LOAD = re.compile(r"([0-9]{1,7}\.[0-9]+) ")


@dataclass(frozen=True, slots=True)
class Processor:
    """All processors of a device as one.

    ``cores_online`` and ``cores_allowed`` are logical core numbers; ``cores_allowed`` is this process's
    affinity. ``features`` are the instruction sets that *every* core has (see ``cpuinfo.FEATURES``).
    ``load_1min`` is the load average in runnable tasks.
    """

    at: Moment
    architecture: str | Missing
    model: str | Missing
    features: tuple[str, ...]
    cores_online: tuple[int, ...] | Missing
    cores_allowed: tuple[int, ...] | Missing
    physical_cores: int | Missing
    frequency_min_hz: int | Missing
    frequency_max_hz: int | Missing
    frequency_now_hz: int | Missing
    load_1min: float | Missing
    pressure: Pressure | Missing
    clusters: tuple[Cluster, ...]
    caches: tuple[Cache, ...]
    numa_nodes: tuple[NumaNode, ...]

    @property
    def last_level_cache_bytes(self) -> int:
        """The largest single cache; 0 where none is known."""
        return max((cache.size_bytes for cache in self.caches), default=0)


class ProcessorSensor:
    """Reads /proc/cpuinfo and /sys/devices/system. What cannot change is read again only when a core
    comes or goes: a server with 256 logical cores has some 5,000 such files.
    """

    def __init__(self, roots: Roots | None = None) -> None:
        self._roots = roots or Roots()
        self._sys, self._proc = self._roots.sys_tree, self._roots.proc_tree
        self._fixed: tuple[object, Processor] | None = None

    def read(self, at: Moment | None = None) -> Processor | Missing:
        at = at or now()
        online = self._sys.numbers(f"{CPU}/online")
        if self._fixed is None or self._fixed[0] != online:
            self._fixed = (online, self._read_all(at, online))
        return self._refresh(self._fixed[1], at)

    def _read_all(self, at: Moment, online: tuple[int, ...] | Missing) -> Processor:
        infos, machine = self._cpuinfo()
        cores = online if is_known(online) else tuple(info.number for info in infos)
        clusters = read_clusters(self._sys, {info.number: info.model for info in infos}, cores)
        return Processor(
            at=at,
            architecture=self._architecture(),
            model=self._model(clusters, machine),
            features=() if self._is_emulated() else features_of(infos),
            cores_online=cores or online,
            cores_allowed=self._allowed(),
            physical_cores=count_physical_cores(self._sys, cores),
            frequency_min_hz=_extreme(min, [cluster.frequency_min_hz for cluster in clusters]),
            frequency_max_hz=_extreme(max, [cluster.frequency_max_hz for cluster in clusters]),
            frequency_now_hz=self._frequency_now_hz(clusters),
            load_1min=self._load(),
            pressure=read_pressure(self._proc, "pressure/cpu"),
            clusters=clusters,
            caches=read_caches(self._sys, cores),
            numa_nodes=read_numa_nodes(self._sys),
        )

    def _refresh(self, fixed: Processor, at: Moment) -> Processor:
        if at is fixed.at:
            return fixed
        return replace(
            fixed,
            at=at,
            cores_allowed=self._allowed(),
            frequency_now_hz=self._frequency_now_hz(fixed.clusters),
            load_1min=self._load(),
            pressure=read_pressure(self._proc, "pressure/cpu"),
            numa_nodes=read_numa_nodes(self._sys),
        )

    def _cpuinfo(self) -> tuple[tuple[CoreInfo, ...], str]:
        text = self._proc.text("cpuinfo", _CPUINFO_LIMIT_BYTES)
        return ((), "") if isinstance(text, Missing) else parse_cpuinfo(text)

    def _architecture(self) -> str | Missing:
        """What programs run as; under qemu-user the kernel's files tell of the machine below instead."""
        return os.uname().machine if self._roots.live else self._proc.line("sys/kernel/arch")

    def _is_emulated(self) -> bool:
        told = self._proc.line("sys/kernel/arch")
        return self._roots.live and is_known(told) and told != os.uname().machine

    def _model(self, clusters: tuple[Cluster, ...], machine: str) -> str | Missing:
        names = list(dict.fromkeys(cluster.model for cluster in clusters if cluster.model))
        if names:
            return " + ".join(names)
        nameless = Missing(self._proc.name("cpuinfo"), "it names no model", "garbled")
        return machine or first_known(lambda: self._sys.line("firmware/devicetree/base/model"), lambda: nameless)

    def _allowed(self) -> tuple[int, ...] | Missing:
        text = self._proc.text("self/status")
        match = None if isinstance(text, Missing) else _ALLOWED.search(text)
        cores = parse_list(match[1]) if match else ()
        return cores or Missing(self._proc.name("self/status"), "no Cpus_allowed_list in it")

    def _frequency_now_hz(self, clusters: tuple[Cluster, ...]) -> int | Missing:
        firsts = [cluster.cores[0] for cluster in clusters]
        scaled = _extreme(max, [frequency_hz(self._sys, core, "scaling_cur_freq") for core in firsts])
        if is_known(scaled):
            return scaled
        text = self._proc.text("cpuinfo", _CPUINFO_LIMIT_BYTES)
        return (is_known(text) and frequency_of(text)) or scaled

    def _load(self) -> float | Missing:
        text = self._proc.text("loadavg")
        if isinstance(text, Missing):
            return text
        match = _LOAD.match(text)
        return float(match[1]) if match else Missing(self._proc.name("loadavg"), "not a load average", "garbled")


def _extreme(choose: Callable[[list[int]], int], readings: list[int | Missing]) -> int | Missing:
    numbers = [reading for reading in readings if is_known(reading)]
    if numbers:
        return choose(numbers)
    missing = [reading for reading in readings if isinstance(reading, Missing)]
    return missing[0] if missing else Missing("core frequency", "no core is known to be online")
