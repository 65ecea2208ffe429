from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from fairlead_bridge.gpu import Gpus, GpuSensor
from fairlead_bridge.gpu_nvml import Nvml, load_nvml, sysfs_address
from fairlead_bridge.reading import Missing
from tests.firmware_bridge.trees import Device


def read(device: Device) -> Gpus:
    gpus = GpuSensor(device.roots).read()
    assert isinstance(gpus, Gpus), gpus
    return gpus


def test_a_server_gpu_and_a_display_controller(a_server: Device) -> None:
    display, gpu = read(a_server).gpus
    assert (display.vendor, display.renders) == ("ASPEED", False)
    assert (gpu.name, gpu.vendor, gpu.driver) == ("Example Instinct", "AMD", "amdgpu")
    assert gpu.bus_address == "0000:43:00.0"
    assert gpu.memory_total_bytes == 68_702_699_520 and gpu.shared_memory is False
    assert gpu.utilisation_fraction == 0.37
    assert gpu.power_watts == pytest.approx(93.0) and gpu.power_limit_watts == pytest.approx(300.0)
    assert gpu.temperature_celsius == pytest.approx(48.0)
    assert gpu.numa_node == 1


def test_an_integrated_gpu_shares_the_main_memory(an_edge_box: Device) -> None:
    (gpu,) = read(an_edge_box).gpus
    assert (gpu.vendor, gpu.renders, gpu.shared_memory) == ("Intel", True, True)
    assert isinstance(gpu.memory_total_bytes, Missing)
    assert gpu.frequency_max_hz == 750_000_000


def test_a_phones_gpu(a_phone: Device) -> None:
    (gpu,) = read(a_phone).gpus
    assert (gpu.name, gpu.source, gpu.utilisation_fraction) == ("Adreno642L", "kgsl", 0.12)
    assert gpu.temperature_celsius == 39.0


def test_why_nvml_was_not_used_is_told(a_server: Device) -> None:
    nvml = read(a_server).nvml
    assert isinstance(nvml, Missing) and nvml.what == "/dev/nvidiactl"


def test_no_gpu(a_phone: Device) -> None:
    os.rename(a_phone.root / "sys/class/kgsl", a_phone.root / "sys/class/other")
    assert isinstance(GpuSensor(a_phone.roots).read(), Missing)


class NvmlRefusal(Exception):
    """Stands for pynvml.NVMLError."""


def two_cards() -> Any:
    """The part of pynvml that is used, for a card that answers all and a slice that refuses most."""

    def only_whole(value: Any) -> Any:
        def query(handle: int, *_: Any) -> Any:
            if handle == 1:
                raise NvmlRefusal("Not Supported")
            return value

        return query

    return SimpleNamespace(
        NVMLError=NvmlRefusal,
        NVML_TEMPERATURE_GPU=0,
        NVML_CLOCK_SM=1,
        nvmlSystemGetDriverVersion=lambda: b"575.1",
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: "Example H200",
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
        nvmlDeviceGetPciInfo=lambda handle: SimpleNamespace(busId=f"00000000:4{3 + handle}:00.0"),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=150_000_000_000, used=1_000_000_000),
        nvmlDeviceGetUtilizationRates=only_whole(SimpleNamespace(gpu=80)),
        nvmlDeviceGetPowerUsage=only_whole(512_300),
        nvmlDeviceGetEnforcedPowerLimit=only_whole(700_000),
        nvmlDeviceGetTemperature=only_whole(61),
        nvmlDeviceGetMaxClockInfo=only_whole(1980),
        nvmlDeviceGetCudaComputeCapability=lambda handle: (9, 0),
    )


def test_one_refused_query_leaves_the_others(a_server: Device) -> None:
    gpus = GpuSensor(a_server.roots, nvml=lambda: Nvml(two_cards())).read()
    assert isinstance(gpus, Gpus)
    whole, part = gpus.gpus[:2]
    assert whole.power_watts == pytest.approx(512.3)
    assert whole.utilisation_fraction == pytest.approx(0.8)
    assert whole.compute_capability == "9.0"
    assert whole.frequency_max_hz == 1_980_000_000
    assert part.memory_total_bytes == 150_000_000_000
    assert isinstance(part.power_watts, Missing) and part.power_watts.why == "Not Supported"
    assert isinstance(part.numa_node, Missing)


def test_a_card_that_nvml_and_sysfs_show_is_one_card(a_server: Device) -> None:
    gpus = GpuSensor(a_server.roots, nvml=lambda: Nvml(two_cards())).read()
    assert isinstance(gpus, Gpus)
    assert [gpu.bus_address for gpu in gpus.gpus] == ["0000:43:00.0", "0000:44:00.0", "0000:03:00.0"]
    assert gpus.nvml is None


def test_a_driver_that_fails_leaves_sysfs(a_server: Device) -> None:
    api = two_cards()
    api.nvmlDeviceGetCount = lambda: (_ for _ in ()).throw(NvmlRefusal("GPU is lost"))
    gpus = GpuSensor(a_server.roots, nvml=lambda: Nvml(api)).read()
    assert isinstance(gpus, Gpus)
    assert gpus.nvml is not None and "GPU is lost" in gpus.nvml.why
    assert len(gpus.gpus) == 2


def test_a_card_that_fell_off_its_bus_leaves_the_others(a_server: Device) -> None:
    api = two_cards()
    api.nvmlDeviceGetHandleByIndex = lambda index: index if index else (_ for _ in ()).throw(NvmlRefusal("GPU is lost"))
    lost, found = Nvml(api).gpus()
    assert isinstance(lost.uuid, Missing) and lost.uuid.why == "GPU is lost"
    assert found.uuid == "GPU-1"


def test_addresses_of_nvml_and_sysfs_agree() -> None:
    assert sysfs_address("00000000:3B:00.0") == "0000:3b:00.0"


def test_real_library_without_a_driver_is_missing() -> None:
    pytest.importorskip("pynvml", reason="the extra 'gpu' is not installed")
    if os.path.exists("/dev/nvidiactl"):
        pytest.skip("this machine has an NVIDIA driver")
    assert isinstance(load_nvml(), Missing)


def test_real_nvidia_gpu() -> None:
    if not os.path.exists("/dev/nvidiactl"):
        pytest.skip("this machine has no NVIDIA driver")
    gpus = GpuSensor().read()
    assert isinstance(gpus, Gpus)
    gpu = next(each for each in gpus.gpus if each.source == "nvml")
    assert gpu.memory_total_bytes and gpu.memory_used_bytes is not None
    assert gpu.uuid
