"""NVIDIA's management library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fairlead_bridge.gpu_record import Gpu
from fairlead_bridge.reading import Missing, convert, value_or

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
        return tuple(self._gpu(index, driver) for index in range(count))

    def _gpu(self, index: int, driver: str | Missing) -> Gpu:
        api = self._api
        handle: Any = self._ask(f"handle of device {index}", lambda: api.nvmlDeviceGetHandleByIndex(index))

        def ask(what: str, query: Callable[[Any], T]) -> T | Missing:
            # A device that fell off its bus has no handle; the others are still read.
            return handle if isinstance(handle, Missing) else self._ask(what, lambda: query(handle))

        memory: Any = ask("memory", api.nvmlDeviceGetMemoryInfo)
        return Gpu(
            name=value_or(ask("name", lambda each: _text(api.nvmlDeviceGetName(each))), "NVIDIA"),
            vendor="NVIDIA",
            driver=driver,
            source="nvml",
            bus_address=value_or(ask("bus address", self._bus_address), ""),
            uuid=ask("uuid", lambda each: _text(api.nvmlDeviceGetUUID(each))),
            renders=True,
            shared_memory=convert(memory, lambda _: False),
            memory_total_bytes=convert(memory, lambda info: int(info.total)),
            memory_used_bytes=convert(memory, lambda info: int(info.used)),
            utilisation_fraction=ask("utilisation", lambda each: api.nvmlDeviceGetUtilizationRates(each).gpu / 100),
            power_watts=ask("power", lambda each: api.nvmlDeviceGetPowerUsage(each) / 1000),
            power_limit_watts=ask("power limit", lambda each: api.nvmlDeviceGetEnforcedPowerLimit(each) / 1000),
            temperature_celsius=ask("temperature", self._temperature_celsius),
            frequency_max_hz=ask("frequency", self._frequency_max_hz),
            compute_capability=ask("compute capability", self._capability),
            numa_node=ask("NUMA node", lambda each: int(api.nvmlDeviceGetNumaNodeId(each))),
        )

    def _bus_address(self, handle: Any) -> str:
        return sysfs_address(_text(self._api.nvmlDeviceGetPciInfo(handle).busId))

    def _temperature_celsius(self, handle: Any) -> float:
        return float(self._api.nvmlDeviceGetTemperature(handle, self._api.NVML_TEMPERATURE_GPU))

    def _frequency_max_hz(self, handle: Any) -> int:
        return int(self._api.nvmlDeviceGetMaxClockInfo(handle, self._api.NVML_CLOCK_SM)) * 1_000_000

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
