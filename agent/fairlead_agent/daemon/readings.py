"""What the bridge reads of this device, reduced to what placement needs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from fairlead_bridge.inventory import InventoryReader
from fairlead_bridge.power import Power
from fairlead_bridge.processor import Processor
from fairlead_bridge.radio.wifi import WifiSensor, radio_facts
from fairlead_bridge.reading import Missing
from fairlead_bridge.roots import Roots

log = structlog.get_logger()

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Measured:
    """What takes a second to measure, and is measured once."""

    memory_bandwidth_bytes_per_s: float | None = None
    memory_bandwidth_uncertainty: float = 0.0
    storage_read_bytes_per_s: float | None = None
    storage_random_4k_reads_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One real GPU."""

    name: str
    total_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True)
class RadioReading:
    """One Wi-Fi interface; ``facts`` by attribute of the resource graph's radios."""

    name: str
    mode: str
    facts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Readings:
    """A device at one time. None: not known."""

    at_unix_s: float
    architecture: str
    model: str
    features: tuple[str, ...]
    cores: int
    load: float | None
    memory_total_bytes: int
    memory_available_bytes: int
    memory_pressure: float | None
    storage_total_bytes: int | None
    storage_free_bytes: int | None
    battery_charge: float | None
    battery_charging: bool
    temperature_celsius: float | None
    thermal_headroom_celsius: float | None
    power_watts: float | None
    gpus: tuple[GpuReading, ...]
    pretended: bool
    """The readings are of another tree than the running kernel's."""
    radios: tuple[RadioReading, ...] = ()


def known(value: T | Missing | None, change: Callable[[T], U]) -> U | None:
    """``change(value)``, or None where the value is missing."""
    return None if value is None or isinstance(value, Missing) else change(value)


class DeviceReader:
    """Reads the device again and again; what cannot change is read once."""

    def __init__(
        self, roots: Roots, path: Path, unix_time: Callable[[], float], wifi: WifiSensor | None = None
    ) -> None:
        """Read from some roots.

        Args:
            roots: of the device's files.
            path: whose file system's storage counts.
            unix_time: Unix seconds.
            wifi: asks for Wi-Fi interfaces; None: the running kernel is asked, where the roots are its.
        """
        self._roots, self._now = roots, unix_time
        self._inventory = InventoryReader(roots, path=str(path))
        self._gpus: tuple[GpuReading, ...] | None = None
        self._wifi_told = False
        self._wifi = wifi if wifi is not None else WifiSensor() if roots.live else None

    def read(self) -> Readings:
        """Read what changes: a few small files."""
        processor, memory = self._inventory.processor.read(), self._inventory.memory.read()
        system, thermal = self._inventory.storage.file_system(), self._inventory.thermal.read()
        power = self._inventory.power.read()
        cores = known(processor, lambda p: known(p.cores_allowed, len)) or 1
        return Readings(
            at_unix_s=self._now(),
            architecture=known(processor, lambda p: known(p.architecture, str)) or "unknown",
            model=known(processor, lambda p: known(p.model, str)) or "",
            features=known(processor, lambda p: p.features) or (),
            cores=cores,
            load=known(processor, lambda p: _load(p, cores)),
            memory_total_bytes=known(memory, lambda m: known(m.total_bytes, int)) or 0,
            memory_available_bytes=known(memory, lambda m: known(m.available_bytes, int)) or 0,
            memory_pressure=known(memory, lambda m: known(m.pressure, lambda p: p.some_avg10_fraction)),
            storage_total_bytes=known(system, lambda s: s.total_bytes),
            storage_free_bytes=known(system, lambda s: s.available_bytes),
            battery_charge=known(power, lambda p: known(p.battery_fraction, float)),
            battery_charging=known(power, _charging) or False,
            temperature_celsius=known(thermal, lambda t: known(t.temperature_celsius, float)),
            thermal_headroom_celsius=known(thermal, lambda t: known(t.headroom_kelvin, float)),
            power_watts=known(power, lambda p: known(p.power_watts, float)),
            gpus=self._read_gpus(),
            pretended=not self._roots.live,
            radios=self._read_radios(),
        )

    def _read_radios(self) -> tuple[RadioReading, ...]:
        # A kernel that tells of no radios at start tells of none later; a made tree has no netlink.
        if self._wifi is None:
            return ()
        found = self._wifi.read()
        if isinstance(found, Missing):
            self._wifi = self._wifi if self._wifi_told else None
            return ()
        self._wifi_told = True
        return tuple(RadioReading(each.name, each.mode, radio_facts(each)) for each in found.interfaces)

    def _read_gpus(self) -> tuple[GpuReading, ...]:
        # Where there is no GPU at start there will be none later; asking NVML again and again costs.
        if self._gpus == ():
            return ()
        found = self._inventory.gpus.read()
        gpus = () if isinstance(found, Missing) else found.gpus
        self._gpus = tuple(
            GpuReading(gpu.name, total, known(gpu.memory_used_bytes, int) or 0)
            for gpu in gpus
            if gpu.renders and (total := known(gpu.memory_total_bytes, int)) is not None
        )
        return self._gpus


def _load(processor: Processor, cores: int) -> float | None:
    return known(processor.load_1min, lambda load: min(1.0, load / cores))


def _charging(power: Power) -> bool:
    return any(each.kind == "Battery" and each.status in ("Charging", "Full") for each in power.supplies)


def measure_once(path: Path, state_dir: Path, timeout_s: float = 30.0) -> Measured:
    """Measure memory bandwidth and storage speed in a process of its own, or take what an earlier start measured.

    The buffers of the measurement would stay in this process's resident memory.
    """
    kept = state_dir / "measured.json"
    if kept.exists():
        try:
            return Measured(**json.loads(kept.read_text()))
        except (OSError, ValueError, TypeError) as error:
            log.warning("readings.measured_again", reason=f"{kept}: {error}")
    measured = _measure(path, timeout_s)
    try:
        kept.write_text(json.dumps({name: getattr(measured, name) for name in Measured.__slots__}))
    except OSError as error:
        log.warning("readings.not_kept", reason=f"{kept}: {error.strerror}")
    return measured


def _measure(path: Path, timeout_s: float) -> Measured:
    command = [sys.executable, "-m", "fairlead_bridge", "--json", "--measure", "--path", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        log.warning("readings.not_measured", reason=f"{type(error).__name__}: {error}")
        return Measured()
    bandwidth: dict[str, Any] = found.get("memory_bandwidth") or {}
    speed: dict[str, Any] = found.get("storage_speed") or {}
    return Measured(
        memory_bandwidth_bytes_per_s=_number(bandwidth.get("traffic_bytes_per_s")),
        memory_bandwidth_uncertainty=_number(bandwidth.get("traffic_uncertainty_bytes_per_s")) or 0.0,
        storage_read_bytes_per_s=_number(speed.get("sequential_bytes_per_s")),
        storage_random_4k_reads_per_s=_number(speed.get("random_4k_reads_per_s")),
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
