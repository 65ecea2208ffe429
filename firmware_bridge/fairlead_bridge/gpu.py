"""Graphics processors: NVML where there is an NVIDIA driver, sysfs for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.gpu_record import Gpu
from fairlead_bridge.gpu_sysfs import read_sysfs_gpus
from fairlead_bridge.reading import Missing, attempt
from fairlead_bridge.roots import Roots

if TYPE_CHECKING:
    from fairlead_bridge.gpu_nvml import Nvml


@dataclass(frozen=True, slots=True)
class Gpus:
    """All processors; ``nvml`` says why NVIDIA's own interface was not used, and is None where it was."""

    at: Moment
    gpus: tuple[Gpu, ...]
    nvml: Missing | None


class GpuSensor:
    """NVML knows NVIDIA devices better than sysfs, so a device that both show is taken from NVML.

    The library stays loaded from its first use. It costs some 6 MiB resident and is not even imported on a
    device without /dev/nvidiactl.
    """

    def __init__(self, roots: Roots | None = None, nvml: Callable[[], Nvml | Missing] | None = None) -> None:
        self._roots = roots or Roots()
        self._load = nvml or self._load_nvml
        self._nvml: Nvml | Missing | None = None

    def read(self, at: Moment | None = None) -> Gpus | Missing:
        from_nvml = self._read_nvml()
        gpus = list(from_nvml or ())
        taken = {gpu.bus_address for gpu in gpus if gpu.bus_address}
        gpus.extend(gpu for gpu in read_sysfs_gpus(self._roots.sys_tree) if gpu.bus_address not in taken)
        missing = from_nvml if isinstance(from_nvml, Missing) else None
        if not gpus:
            return Missing("graphics processors", f"none in sysfs; {missing}" if missing else "none")
        return Gpus(at or now(), tuple(gpus), missing)

    def _read_nvml(self) -> tuple[Gpu, ...] | Missing:
        # A driver that is not there yet may be loaded later; one that is stays.
        if not self._nvml:
            self._nvml = attempt("NVML", self._load)
        loaded = self._nvml
        return loaded if isinstance(loaded, Missing) else attempt("NVML", loaded.gpus)

    def _load_nvml(self) -> Nvml | Missing:
        if not self._roots.dev_tree.holds("nvidiactl"):
            return Missing(self._roots.dev_tree.name("nvidiactl"), "no NVIDIA driver is loaded")
        if not self._roots.live:
            return Missing("NVML", "these roots are not the running kernel's")
        from fairlead_bridge.gpu_nvml import load_nvml

        return load_nvml()
