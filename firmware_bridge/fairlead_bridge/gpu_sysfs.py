"""Graphics processors as sysfs shows them: DRM devices of any driver, and the GPUs of phones."""

from __future__ import annotations

import os
import re

from fairlead_bridge.gpu_record import Gpu
from fairlead_bridge.reading import Missing, convert, first_known, is_known, value_or
from fairlead_bridge.tree import Tree

_DRM, _KGSL, _MALI = "class/drm", "class/kgsl/kgsl-3d0", "class/misc/mali0/device"
_VENDORS = {
    0x10DE: "NVIDIA",
    0x1002: "AMD",
    0x8086: "Intel",
    0x1AF4: "virtio",
    0x1234: "QEMU",
    0x1A03: "ASPEED",
    0x102B: "Matrox",
}
# Drivers whose devices have no PCI vendor: parts of a system on chip.
_DRIVER_VENDORS = {
    "msm_dpu": "Qualcomm",
    "msm": "Qualcomm",
    "adreno": "Qualcomm",
    "panfrost": "Arm",
    "panthor": "Arm",
    "lima": "Arm",
    "v3d": "Broadcom",
    "vc4-drm": "Broadcom",
    "etnaviv": "Vivante",
    "tegra-gr2d": "NVIDIA",
}
_PCI_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_PERCENT = re.compile(r"([0-9]{1,3}) ?%?")
_ABSENT = Missing("graphics processor", "its driver does not say it")


def read_sysfs_gpus(sys: Tree) -> tuple[Gpu, ...]:
    """All graphics processors that sysfs shows."""
    cards = [_card(sys, name) for name in sys.matches(_DRM, r"card[0-9]{1,3}")]
    phones = [read(sys) for read, path in ((_kgsl, _KGSL), (_mali, _MALI)) if sys.holds(path)]
    return (*cards, *phones)


def _card(sys: Tree, name: str) -> Gpu:
    path = f"{_DRM}/{name}/device"
    driver = sys.target(f"{path}/driver")
    vendor = _vendor(sys, path, str(value_or(driver, "")))
    address = os.path.basename(os.path.realpath(sys.path(path)))
    total = sys.integer(f"{path}/mem_info_vram_total")
    return Gpu(
        name=str(value_or(sys.line(f"{path}/product_name"), f"{vendor} {value_or(driver, name)}")),
        vendor=vendor,
        driver=driver,
        source="drm",
        bus_address=address if _PCI_ADDRESS.fullmatch(address) else "",
        uuid=sys.line(f"{path}/unique_id"),
        renders=bool(sys.matches(f"{path}/drm", r"renderD[0-9]{1,4}")),
        shared_memory=_shares_memory(sys, path, vendor, str(value_or(driver, ""))),
        memory_total_bytes=total,
        memory_used_bytes=sys.integer(f"{path}/mem_info_vram_used"),
        utilisation_fraction=_percent(sys, f"{path}/gpu_busy_percent"),
        power_watts=_monitored(sys, path, ("power1_average", "power1_input"), 1e-6),
        power_limit_watts=_monitored(sys, path, ("power1_cap",), 1e-6),
        temperature_celsius=_monitored(sys, path, ("temp1_input",), 1e-3),
        frequency_max_hz=_megahertz(sys, f"{_DRM}/{name}/gt_max_freq_mhz"),
        compute_capability=_ABSENT,
        numa_node=sys.integer(f"{path}/numa_node", 0, 65535),
    )


def _kgsl(sys: Tree) -> Gpu:
    """Adreno with Qualcomm's own driver, as on most phones."""
    return _phone_gpu(
        sys,
        name=str(value_or(sys.line(f"{_KGSL}/gpu_model"), "Adreno")),
        vendor="Qualcomm",
        source_path=_KGSL,
        utilisation=_percent(sys, f"{_KGSL}/gpu_busy_percentage"),
        frequency_max_hz=first_known(
            lambda: sys.integer(f"{_KGSL}/max_gpuclk", 1, 10**11),
            lambda: sys.integer(f"{_KGSL}/devfreq/max_freq", 1, 10**11),
        ),
    )


def _mali(sys: Tree) -> Gpu:
    """Mali with Arm's own driver."""
    return _phone_gpu(
        sys,
        name=str(value_or(sys.line(f"{_MALI}/gpuinfo"), "Mali")),
        vendor="Arm",
        source_path=_MALI,
        utilisation=_percent(sys, f"{_MALI}/utilization"),
        frequency_max_hz=_ABSENT,
    )


def _phone_gpu(
    sys: Tree,
    *,
    name: str,
    vendor: str,
    source_path: str,
    utilisation: float | Missing,
    frequency_max_hz: int | Missing,
) -> Gpu:
    return Gpu(
        name=name,
        vendor=vendor,
        driver="kgsl" if source_path == _KGSL else "mali",
        source="kgsl" if source_path == _KGSL else "mali",
        bus_address="",
        uuid=_ABSENT,
        renders=True,
        shared_memory=True,
        memory_total_bytes=_ABSENT,
        memory_used_bytes=_ABSENT,
        utilisation_fraction=utilisation,
        power_watts=_ABSENT,
        power_limit_watts=_ABSENT,
        temperature_celsius=convert(sys.integer(f"{source_path}/temp", -100_000, 250_000), lambda milli: milli / 1000),
        frequency_max_hz=frequency_max_hz,
        compute_capability=_ABSENT,
        numa_node=_ABSENT,
    )


def _vendor(sys: Tree, path: str, driver: str) -> str:
    text = sys.line(f"{path}/vendor")
    if isinstance(text, str) and re.fullmatch(r"0x[0-9a-fA-F]{4}", text):
        return _VENDORS.get(int(text, 16), text)
    return _DRIVER_VENDORS.get(driver, "unknown")


def _shares_memory(sys: Tree, path: str, vendor: str, driver: str) -> bool | Missing:
    if sys.holds(f"{path}/mem_info_vram_total"):
        return False
    if driver in _DRIVER_VENDORS or (vendor == "Intel" and driver == "i915"):
        return True
    return Missing(sys.name(path), "its driver does not say whether it has memory of its own")


def _percent(sys: Tree, path: str) -> float | Missing:
    text = sys.line(path)
    if isinstance(text, Missing):
        return text
    match = _PERCENT.fullmatch(text)
    if match and int(match[1]) <= 100:
        return int(match[1]) / 100
    return Missing(sys.name(path), f"expected a percentage, found {text[:40]!r}", "garbled")


def _megahertz(sys: Tree, path: str) -> int | Missing:
    return convert(sys.integer(path, 1, 10**5), lambda megahertz: megahertz * 1_000_000)


def _monitored(sys: Tree, path: str, names: tuple[str, ...], factor: float) -> float | Missing:
    """A value of the device's hardware monitor."""
    for monitor in sys.matches(f"{path}/hwmon", r"hwmon[0-9]{1,4}"):
        for name in names:
            value = sys.integer(f"{path}/hwmon/{monitor}/{name}", -(10**9), 10**12)
            if is_known(value) or value.kind != "absent":
                return convert(value, lambda number: number * factor)
    return Missing(sys.name(f"{path}/hwmon"), f"no {names[0]} in it")
