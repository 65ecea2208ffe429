"""NVIDIA's management library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fairlead_bridge.gpu_record import Gpu
from fairlead_bridge.reading import Missing, convert

T = TypeVar("T")


class Nvml:
    """The initialised library; ``api`` is the module pynvml (distribution nvidia-ml-py).

    A query that a device does not support (a display card has no power limit, a MIG slice no utilisation) is
    missing, and the others are still answered.
    """

    def __init__(self, api: Any) -> None:
        self._api = api

    def gpus(self) -> tuple[Gpu, ...]:
        driver = self._ask("driver", lambda: _text(self._api.nvmlSystemGetDriverVersion()))
        count: int = self._api.nvmlDeviceGetCount()
        return tuple(self._gpu(self._api.nvmlDeviceGetHandleByIndex(index), driver) for index in range(count))

    def _gpu(self, handle: Any, driver: str | Missing) -> Gpu:
        api = self._api
        memory: Any = self._ask("memory", lambda: api.nvmlDeviceGetMemoryInfo(handle))
        name = self._ask("name", lambda: _text(api.nvmlDeviceGetName(handle)))
        bus = self._ask("bus address", lambda: _text(api.nvmlDeviceGetPciInfo(handle).busId))
        return Gpu(
            name=name if isinstance(name, str) else "NVIDIA",
            vendor="NVIDIA",
            driver=driver,
            source="nvml",
            bus_address=sysfs_address(bus) if isinstance(bus, str) else "",
            uuid=self._ask("uuid", lambda: _text(api.nvmlDeviceGetUUID(handle))),
            renders=True,
            shared_memory=convert(memory, lambda _: False),
            memory_total_bytes=convert(memory, lambda info: int(info.total)),
            memory_used_bytes=convert(memory, lambda info: int(info.used)),
            utilisation_fraction=self._ask("utilisation", lambda: api.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
            power_watts=self._ask("power", lambda: api.nvmlDeviceGetPowerUsage(handle) / 1000),
            power_limit_watts=self._ask("power limit", lambda: api.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000),
            temperature_celsius=self._ask(
                "temperature", lambda: float(api.nvmlDeviceGetTemperature(handle, api.NVML_TEMPERATURE_GPU))
            ),
            frequency_max_hz=self._ask(
                "frequency", lambda: int(api.nvmlDeviceGetMaxClockInfo(handle, api.NVML_CLOCK_SM)) * 1_000_000
            ),
            compute_capability=self._ask("compute capability", lambda: self._capability(handle)),
            numa_node=self._ask("NUMA node", lambda: int(api.nvmlDeviceGetNumaNodeId(handle))),
        )

    def _capability(self, handle: Any) -> str:
        major, minor = self._api.nvmlDeviceGetCudaComputeCapability(handle)
        return f"{major}.{minor}"

    def _ask(self, what: str, query: Callable[[], T]) -> T | Missing:
        try:
            return query()
        except (self._api.NVMLError, AttributeError, ValueError) as error:
            return Missing(f"NVML {what}", str(error), "refused")


def load_nvml() -> Nvml | Missing:
    """Import and initialise the library; missing where it is not installed or the driver does not answer."""
    try:
        import pynvml  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        return Missing("NVML", f"{error}: install the extra 'gpu'")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Missing("NVML", str(error), "refused")
    return Nvml(pynvml)


def sysfs_address(address: str) -> str:
    """NVML writes the PCI domain with eight digits (00000000:3B:00.0), sysfs with four (0000:3b:00.0)."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
