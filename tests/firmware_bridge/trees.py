"""Kernel file systems of three unlike devices, written as files: a phone, an edge box, a GPU server."""

from __future__ import annotations

import os
from pathlib import Path

from fairlead_bridge.roots import Roots

BOOT_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
PSI = "some avg10=12.50 avg60=1.00 avg300=0.10 total=12345\nfull avg10=3.25 avg60=0.50 avg300=0.05 total=2345\n"


class Device:
    """A fake device below ``root``; files are given as a text for each path."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("sys", "proc", "dev"):
            (root / name).mkdir(parents=True)

    @property
    def roots(self) -> Roots:
        return Roots(str(self.root / "sys"), str(self.root / "proc"), str(self.root / "dev"))

    def write(self, files: dict[str, str | int], under: str = "") -> None:
        for name, text in files.items():
            path = self.root / under / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    def link(self, path: str, target: str) -> None:
        """A symbolic link at ``path`` to another path of this device."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        (self.root / target).mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(self.root / target, place.parent))

    def files(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink())


def common(device: Device, *, cores: int, architecture: str, memory_kib: int) -> None:
    device.write(
        {
            "sys/kernel/random/boot_id": BOOT_ID,
            "sys/kernel/arch": architecture,
            "loadavg": "1.25 0.80 0.40 2/300 4242",
            "meminfo": f"MemTotal: {memory_kib} kB\nMemFree: {memory_kib // 4} kB\n"
            f"MemAvailable: {memory_kib // 2} kB\nSwapTotal: 1024 kB\nSwapFree: 512 kB\nHugePages_Total:   0",
            "self/status": f"Name:\tpython\nCpus_allowed_list:\t0-{cores - 1}",
            "pressure/memory": PSI,
            "pressure/cpu": PSI,
            "pressure/io": PSI,
        },
        under="proc",
    )
    device.write({"sys/devices/system/cpu/online": f"0-{cores - 1}"})


def core(
    device: Device, number: int, *, low_khz: int, high_khz: int, siblings: str, capacity: int | None = None
) -> None:
    device.write(
        {
            "cpufreq/cpuinfo_min_freq": low_khz,
            "cpufreq/cpuinfo_max_freq": high_khz,
            "cpufreq/scaling_cur_freq": (low_khz + high_khz) // 2,
            "topology/thread_siblings_list": siblings,
            **({} if capacity is None else {"cpu_capacity": capacity}),
        },
        under=f"sys/devices/system/cpu/cpu{number}",
    )


def cache(device: Device, number: int, index: int, *, level: int, kind: str, size: str, cores: str) -> None:
    device.write(
        {"level": level, "type": kind, "size": size, "shared_cpu_list": cores},
        under=f"sys/devices/system/cpu/cpu{number}/cache/index{index}",
    )


def interface(device: Device, name: str, index: int, files: dict[str, str | int]) -> None:
    counters = dict.fromkeys(("rx_errors", "tx_errors", "rx_dropped", "tx_dropped"), 0)
    device.write(
        {
            "ifindex": index,
            "type": 1,
            "operstate": "up",
            "carrier": 1,
            "mtu": 1500,
            "address": f"02:00:00:00:00:{index:02x}",
            **{f"statistics/{key}": value for key, value in counters.items()},
            "statistics/rx_bytes": 1000 * index,
            "statistics/tx_bytes": 500 * index,
            **files,
        },
        under=f"sys/class/net/{name}",
    )


def disk(device: Device, name: str, number: str, files: dict[str, str | int]) -> None:
    home = f"sys/devices/block/{name}"
    device.write({"dev": number, "removable": 0, "queue/logical_block_size": 4096, **files}, under=home)
    device.link(f"sys/block/{name}", home)
    device.link(f"sys/class/block/{name}", home)
    device.link(f"sys/dev/block/{number}", home)


def phone(root: Path) -> Device:
    """Four little and four big cores, a battery in microampere-hours, WLAN, a version 2 group, an Adreno."""
    device = Device(root)
    common(device, cores=8, architecture="aarch64", memory_kib=7_800_000)
    flags = "fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp"
    block = "processor\t: {0}\nFeatures\t: {1}\nCPU implementer\t: 0x41\nCPU part\t: {2}\n"
    blocks = [block.format(n, flags + (" i8mm" if n > 3 else ""), "0xd05" if n < 4 else "0xd41") for n in range(8)]
    device.write({"proc/cpuinfo": "\n".join(blocks) + "\nHardware\t: Example SoC 8000\n"})
    for number in range(8):
        little = number < 4
        core(
            device,
            number,
            low_khz=300_000,
            high_khz=1_800_000 if little else 2_840_000,
            siblings=str(number),
            capacity=325 if little else 1024,
        )
    device.write(
        {
            "type": "Battery",
            "status": "Discharging",
            "capacity": 57,
            "charge_now": 2_280_000,
            "charge_full": 4_000_000,
            "voltage_now": 3_850_000,
            "current_now": -450_000,
            "temp": 314,
            "health": "Good",
        },
        under="sys/class/power_supply/battery",
    )
    device.write({"type": "USB", "online": 0}, under="sys/class/power_supply/usb")
    device.write(
        {
            "type": "cpu-0-0",
            "temp": 41_500,
            "trip_point_0_temp": 95_000,
            "trip_point_0_type": "passive",
            "trip_point_1_temp": 115_000,
            "trip_point_1_type": "critical",
        },
        under="sys/class/thermal/thermal_zone0",
    )
    device.write({"type": "modem", "temp": -274_000}, under="sys/class/thermal/thermal_zone1")
    device.write(
        {"type": "skin", "temp": 36_000, "trip_point_0_temp": 43_000, "trip_point_0_type": "passive"},
        under="sys/class/thermal/thermal_zone2",
    )
    device.write({"type": "cpufreq-cpu4", "cur_state": 2, "max_state": 20}, under="sys/class/thermal/cooling_device0")
    interface(device, "wlan0", 3, {"phy80211/index": 0})
    interface(device, "rmnet_data0", 4, {"type": 519, "carrier": 0, "operstate": "down"})
    device.write(
        {
            "proc/net/wireless": "Inter-| sta-|   Quality        |   Discarded packets\n"
            " face | tus | link level noise |  nwid  crypt\n wlan0: 0000   54.  -56.  -256        0      0"
        }
    )
    device.write(
        {"gpu_model": "Adreno642L", "gpu_busy_percentage": "12 %", "max_gpuclk": 608_000_000, "temp": 39_000},
        under="sys/class/kgsl/kgsl-3d0",
    )
    disk(device, "mmcblk0", "179:0", {"size": 240_000_000, "queue/rotational": 0})
    device.write({"partition": 1, "dev": "179:1"}, under="sys/devices/block/mmcblk0/mmcblk0p1")
    device.link("sys/dev/block/179:1", "sys/devices/block/mmcblk0/mmcblk0p1")
    device.write(
        {
            "proc/self/cgroup": "0::/apps/agent",
            "proc/self/mountinfo": "20 1 179:1 / / rw,relatime - ext4 /dev/mmcblk0p1 rw\n"
            "31 20 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw",
        }
    )
    group(device, "sys/fs/cgroup", {"cgroup.controllers": "cpu memory pids"})
    group(device, "sys/fs/cgroup/apps", {"memory.max": 2_000_000_000, "cpu.max": "max 100000", "pids.max": 900})
    group(
        device,
        "sys/fs/cgroup/apps/agent",
        {
            "cgroup.controllers": "cpu memory pids",
            "cgroup.subtree_control": "",
            "memory.max": "max",
            "memory.current": 50_331_648,
            "memory.events": "low 0\nhigh 3\nmax 2\noom 1\noom_kill 1",
            "memory.pressure": PSI,
            "cpu.max": "150000 100000",
            "pids.max": "max",
        },
    )
    return device


def group(device: Device, path: str, files: dict[str, str | int]) -> None:
    device.write({"cgroup.procs": 4242, **files}, under=path)


def edge_box(root: Path) -> Device:
    """Four like cores without big.LITTLE, wired, no battery, version 1 groups, btrfs, an integrated GPU."""
    device = Device(root)
    common(device, cores=4, architecture="x86_64", memory_kib=16_000_000)
    block = "processor\t: {0}\nmodel name\t: Example N100\nflags\t\t: fpu sse4_2 ssse3 avx avx2 fma f16c avx_vnni aes\n"
    device.write({"proc/cpuinfo": "\n".join(block.format(number) for number in range(4))})
    for number in range(4):
        core(device, number, low_khz=700_000, high_khz=3_400_000, siblings=str(number))
        cache(device, number, 0, level=1, kind="Data", size="32K", cores=str(number))
        cache(device, number, 1, level=2, kind="Unified", size="2048K", cores="0-3")
        cache(device, number, 2, level=3, kind="Unified", size="6144K", cores="0-3")
    device.write({"name": "coretemp"}, under="sys/class/hwmon/hwmon0")
    device.write(
        {"temp1_input": 55_000, "temp1_label": "Package id 0", "temp1_max": 90_000, "temp1_crit": 105_000},
        under="sys/class/hwmon/hwmon0",
    )
    device.write(
        {"name": "package-0", "energy_uj": 262_000_000_000, "max_energy_range_uj": 262_143_328_850},
        under="sys/class/powercap/intel-rapl:0",
    )
    device.write({"constraint_0_max_power_uw": 6_000_000}, under="sys/class/powercap/intel-rapl:0")
    interface(device, "enp1s0", 2, {"speed": 2500, "duplex": "full", "device/vendor": "0x8086"})
    interface(device, "lo", 1, {"type": 772, "operstate": "unknown", "mtu": 65536})
    interface(device, "wg0", 5, {"type": 65534, "speed": -1, "duplex": "unknown"})
    card = "sys/devices/pci0000:00/0000:00:02.0"
    device.write({"vendor": "0x8086", "drm/renderD128/dev": "226:128", "numa_node": -1}, under=card)
    device.link(f"{card}/driver", "sys/bus/pci/drivers/i915")
    device.link("sys/class/drm/card0/device", card)
    device.write({"sys/class/drm/card0/gt_max_freq_mhz": 750, "sys/class/drm/card0-HDMI-A-1/status": "connected"})
    disk(device, "nvme0n1", "259:0", {"size": 1_000_000_000, "queue/rotational": 0, "device/model": "Example SSD"})
    disk(device, "loop0", "7:0", {"size": 0})
    device.write({"dev/nvme0n1": "a block device"})
    device.write(
        {
            "proc/self/cgroup": "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc",
            "proc/self/mountinfo": "20 1 0:31 / / rw,relatime - btrfs /dev/nvme0n1 rw\n"
            "31 20 0:28 /docker/abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n"
            "32 20 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        }
    )
    group(
        device,
        "sys/fs/cgroup/memory",
        {
            "memory.limit_in_bytes": 4_294_967_296,
            "memory.usage_in_bytes": 104_857_600,
            "memory.failcnt": 7,
            "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2",
        },
    )
    group(device, "sys/fs/cgroup/cpu,cpuacct", {"cpu.cfs_quota_us": 250_000, "cpu.cfs_period_us": 100_000})
    return device


def server(root: Path) -> Device:
    """Two sockets, two NUMA nodes, threads, AVX-512, two RAPL packages with memory, an AMD GPU."""
    device = Device(root)
    common(device, cores=16, architecture="x86_64", memory_kib=528_000_000)
    flags = "sse4_2 ssse3 avx avx2 fma f16c avx512f avx512bw avx512vl avx512_vnni amx_tile amx_int8 amx_bf16"
    block = "processor\t: {0}\nmodel name\t: Example Xeon\nflags\t\t: {1}\n"
    device.write({"proc/cpuinfo": "\n".join(block.format(number, flags) for number in range(16))})
    for number in range(16):
        twin = f"{number % 8},{number % 8 + 8}"
        core(device, number, low_khz=800_000, high_khz=3_800_000, siblings=twin)
        socket = "0-3,8-11" if number % 8 < 4 else "4-7,12-15"
        cache(device, number, 3, level=3, kind="Unified", size="60M", cores=socket)
    for number, cores in enumerate(("0-3,8-11", "4-7,12-15")):
        device.write(
            {
                "cpulist": cores,
                "meminfo": f"Node {number} MemTotal: 264000000 kB\nNode {number} MemFree: 200000000 kB",
                "distance": "10 21" if number == 0 else "21 10",
            },
            under=f"sys/devices/system/node/node{number}",
        )
        device.write(
            {"name": f"package-{number}", "energy_uj": 1_000_000, "max_energy_range_uj": 262_143_328_850},
            under=f"sys/class/powercap/intel-rapl:{number}",
        )
        device.write(
            {"name": "dram", "energy_uj": 500_000, "max_energy_range_uj": 65_712_999_613},
            under=f"sys/class/powercap/intel-rapl:{number}:0",
        )
    device.write({"energy_uj": 1}, under="sys/class/powercap/intel-rapl-mmio:0")
    card = "sys/devices/pci0000:40/0000:43:00.0"
    device.write(
        {
            "vendor": "0x1002",
            "product_name": "Example Instinct",
            "mem_info_vram_total": 68_702_699_520,
            "mem_info_vram_used": 1_000_000_000,
            "gpu_busy_percent": 37,
            "hwmon/hwmon2/power1_average": 93_000_000,
            "hwmon/hwmon2/power1_cap": 300_000_000,
            "hwmon/hwmon2/temp1_input": 48_000,
            "drm/renderD128/dev": "226:128",
            "numa_node": 1,
        },
        under=card,
    )
    device.link(f"{card}/driver", "sys/bus/pci/drivers/amdgpu")
    device.link("sys/class/drm/card1/device", card)
    display = "sys/devices/pci0000:00/0000:03:00.0"
    device.write({"vendor": "0x1a03"}, under=display)
    device.link(f"{display}/driver", "sys/bus/pci/drivers/ast")
    device.link("sys/class/drm/card0/device", display)
    interface(device, "eth0", 2, {"speed": 100_000, "duplex": "full", "device/vendor": "0x15b3"})
    disk(device, "sda", "8:0", {"size": 4_000_000_000, "queue/rotational": 1, "device/model": "Example HDD"})
    device.write({"proc/self/mountinfo": "20 1 8:0 / / rw - xfs /dev/sda rw", "proc/self/cgroup": "0::/"})
    return device
