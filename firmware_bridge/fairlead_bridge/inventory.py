"""Everything that the hardware says, at one time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fairlead_bridge.cgroup import ControlGroup, ControlGroupSensor
from fairlead_bridge.clock import Clock, ClockSensor, Moment, now
from fairlead_bridge.gpu import Gpus, GpuSensor
from fairlead_bridge.link import Links, LinkSensor
from fairlead_bridge.memory import Memory, MemorySensor
from fairlead_bridge.memory_bandwidth import MemoryBandwidth, MemoryBandwidthSensor
from fairlead_bridge.power import Power, PowerSensor
from fairlead_bridge.processor import Processor, ProcessorSensor
from fairlead_bridge.reading import Missing, attempt, convert, first_known, is_known
from fairlead_bridge.roots import Roots
from fairlead_bridge.storage import Storage, StorageSensor
from fairlead_bridge.storage_speed import StorageSpeed, StorageSpeedSensor
from fairlead_bridge.thermal import Thermal, ThermalSensor

if TYPE_CHECKING:
    from fairlead_bridge.radio.wifi import Wifi
    from fairlead_bridge.shaping.statistics import Queues

T = TypeVar("T")

_BUFFER_BYTES = 32 * 1024 * 1024
_BUFFER_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Inventory:
    """One device. A part, or a value in a part, that could not be read is ``Missing`` and says why.

    ``simulated``: it was read from other roots than the running kernel's, so the hardware is pretended.
    """

    at: Moment
    simulated: bool
    clock: Clock | Missing
    processor: Processor | Missing
    memory: Memory | Missing
    control_group: ControlGroup | Missing
    storage: Storage | Missing
    links: Links | Missing
    queues: Queues | Missing
    wifi: Wifi | Missing
    thermal: Thermal | Missing
    power: Power | Missing
    gpus: Gpus | Missing
    memory_bandwidth: MemoryBandwidth | Missing
    storage_speed: StorageSpeed | Missing

    @property
    def usable_memory_bytes(self) -> int | Missing:
        """What this process may still allocate: the device's available memory within the group's limit."""
        return usable_memory_bytes(self.memory, self.control_group)

    @property
    def usable_cores(self) -> float | Missing:
        """Logical cores that this process may keep busy: its affinity within the group's quota."""
        processor = self.processor
        if isinstance(processor, Missing):
            return processor
        allowed = first_known(lambda: processor.cores_allowed, lambda: processor.cores_online)
        quota = self.control_group.cpu_limit_cores if is_known(self.control_group) else None
        limit = float(quota) if quota else math.inf
        return convert(allowed, lambda cores: min(float(len(cores)), limit))

    def missing(self) -> dict[str, Missing]:
        """All that is missing, by its place: ``processor.frequency_max_hz``, ``power.supplies.0.health``."""
        return dict(_missing(self, ""))


class InventoryReader:
    """Keeps the sensors, so that what cannot change is read once; ``read`` never raises.

    ``path`` is where artifacts are kept: its file system is the one that is described and measured.
    """

    def __init__(self, roots: Roots | None = None, *, path: str = "/", speed_cache_path: str | None = None) -> None:
        self._roots = roots or Roots()
        self._path = path
        self.clock = ClockSensor(self._roots)
        self.processor = ProcessorSensor(self._roots)
        self.memory = MemorySensor(self._roots)
        self.control_group = ControlGroupSensor(self._roots)
        self.storage = StorageSensor(self._roots, path)
        self.links = LinkSensor(self._roots)
        self.thermal = ThermalSensor(self._roots)
        self.power = PowerSensor(self._roots)
        self.gpus = GpuSensor(self._roots)
        self.storage_speed = StorageSpeedSensor(path, cache_path=speed_cache_path)

    def read(self, at: Moment | None = None, *, measure: bool = False) -> Inventory:
        """All parts. ``measure`` also measures memory bandwidth and storage speed, which takes about a second,
        64 MiB of memory or more, and writes a scratch file at ``path``; without it they are missing.
        """
        at = at or now()
        processor = attempt("processor", lambda: self.processor.read(at))
        memory = attempt("memory", lambda: self.memory.read(at))
        control_group = attempt("control group", lambda: self.control_group.read(at))
        return Inventory(
            at=at,
            simulated=not self._roots.live,
            clock=attempt("clock", lambda: self.clock.read(at)),
            processor=processor,
            memory=memory,
            control_group=control_group,
            storage=attempt("storage", lambda: self.storage.read(at)),
            links=attempt("links", lambda: self.links.read(at)),
            queues=self._of_this_kernel("queues", lambda: read_queues(at)),
            wifi=self._of_this_kernel("wifi", lambda: read_wifi(at)),
            thermal=attempt("thermal", lambda: self.thermal.read(at)),
            power=attempt("power", lambda: self.power.read(at)),
            gpus=attempt("graphics processors", lambda: self.gpus.read(at)),
            memory_bandwidth=self._memory_bandwidth(at, measure, processor, usable_memory_bytes(memory, control_group)),
            storage_speed=self._storage_speed(at, measure),
        )

    def _memory_bandwidth(
        self, at: Moment, measure: bool, processor: Processor | Missing, usable_bytes: int | Missing
    ) -> MemoryBandwidth | Missing:
        if not measure or not self._roots.live:
            return self._unmeasured("memory bandwidth")
        if isinstance(usable_bytes, Missing):
            return usable_bytes  # copying blindly could have the agent killed for its memory
        cache_bytes = processor.last_level_cache_bytes if is_known(processor) else 0
        wanted_bytes = max(_BUFFER_BYTES, 2 * cache_bytes)
        buffer_bytes = max(4096, min(wanted_bytes, usable_bytes // 8, _BUFFER_MAX_BYTES))
        sensor = MemoryBandwidthSensor(buffer_bytes=buffer_bytes, cache_bytes=cache_bytes)
        return attempt("memory bandwidth", lambda: sensor.read(at))

    def _storage_speed(self, at: Moment, measure: bool) -> StorageSpeed | Missing:
        if not measure or not self._roots.live:
            return self._unmeasured("storage speed")
        return attempt("storage speed", lambda: self.storage_speed.read(at))

    def _of_this_kernel(self, what: str, reader: Callable[[], T | Missing]) -> T | Missing:
        if not self._roots.live:
            return Missing(what, "these roots are not the running kernel's")
        return attempt(what, reader)

    def _unmeasured(self, what: str) -> Missing:
        why = "nobody asked to measure it" if self._roots.live else "simulated hardware cannot be measured"
        return Missing(what, why, "not_measured")


def read_inventory(
    roots: Roots | None = None, *, at: Moment | None = None, path: str = "/", measure: bool = False
) -> Inventory:
    """Read everything once; see ``InventoryReader``, which is cheaper for a second time."""
    return InventoryReader(roots, path=path).read(at, measure=measure)


def read_queues(at: Moment) -> Queues | Missing:
    """The queues of this machine's links. Imported here: an idle agent, which does not ask, has no memory for it."""
    from fairlead_bridge.shaping.statistics import QueueSensor

    return QueueSensor().read(at)


def read_wifi(at: Moment) -> Wifi | Missing:
    """This machine's Wi-Fi cards; imported here as above."""
    from fairlead_bridge.radio.wifi import WifiSensor

    return WifiSensor().read(at)


def usable_memory_bytes(memory: Memory | Missing, group: ControlGroup | Missing) -> int | Missing:
    """The lesser of the device's available memory and what the control group's limit leaves."""
    available = memory if isinstance(memory, Missing) else memory.available_bytes
    if isinstance(group, Missing) or not group.memory_limit_bytes:
        return available
    limit_bytes, current = group.memory_limit_bytes, group.memory_current_bytes
    left_bytes = max(0, limit_bytes - (current if is_known(current) else 0))
    return convert(available, lambda value: min(value, left_bytes))


def _missing(value: Any, place: str) -> Iterator[tuple[str, Missing]]:
    if isinstance(value, Missing):
        yield place, value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _missing(getattr(value, field.name), f"{place}.{field.name}".lstrip("."))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield from _missing(item, f"{place}.{index}")
