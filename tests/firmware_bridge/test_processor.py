from __future__ import annotations

import platform

from fairlead_bridge.clock import Moment
from fairlead_bridge.cpuinfo import parse_cpuinfo
from fairlead_bridge.processor import Processor, ProcessorSensor
from fairlead_bridge.reading import Missing
from tests.firmware_bridge.trees import Device


def read(device: Device) -> Processor:
    processor = ProcessorSensor(device.roots).read(Moment(5.0, 1e9))
    assert isinstance(processor, Processor)
    return processor


def test_big_and_little_cores_are_two_clusters(a_phone: Device) -> None:
    processor = read(a_phone)
    little, big = processor.clusters
    assert (little.cores, little.model, little.capacity) == ((0, 1, 2, 3), "Cortex-A55", 325)
    assert (big.cores, big.model, big.frequency_max_hz) == ((4, 5, 6, 7), "Cortex-A78", 2_840_000_000)
    assert processor.model == "Cortex-A55 + Cortex-A78"
    assert processor.frequency_min_hz == 300_000_000
    assert processor.frequency_max_hz == 2_840_000_000
    assert processor.frequency_now_hz == 1_570_000_000


def test_a_feature_counts_only_where_every_core_has_it(a_phone: Device) -> None:
    features = read(a_phone).features
    assert {"asimd", "neon", "dotprod", "fp16", "lse"} <= set(features)
    assert "i8mm" not in features


def test_threads_numa_nodes_and_shared_caches_of_a_server(a_server: Device) -> None:
    processor = read(a_server)
    assert processor.physical_cores == 8
    assert processor.cores_online == tuple(range(16))
    assert [node.distances for node in processor.numa_nodes] == [(10, 21), (21, 10)]
    assert processor.numa_nodes[1].cores == (4, 5, 6, 7, 12, 13, 14, 15)
    assert processor.numa_nodes[0].memory_total_bytes == 264_000_000 * 1024
    assert len(processor.caches) == 2
    assert processor.last_level_cache_bytes == 60 * 2**20
    assert {"avx512f", "avx512_vnni", "amx_int8"} <= set(processor.features)


def test_one_cluster_where_all_cores_are_alike(an_edge_box: Device) -> None:
    processor = read(an_edge_box)
    assert [cluster.cores for cluster in processor.clusters] == [(0, 1, 2, 3)]
    assert isinstance(processor.clusters[0].capacity, Missing)
    assert processor.model == "Example N100"


def test_load_pressure_and_time_are_current_on_every_read(a_phone: Device) -> None:
    sensor = ProcessorSensor(a_phone.roots)
    first = sensor.read(Moment(1.0, 1e9))
    a_phone.write({"proc/loadavg": "7.75 0.80 0.40 2/300 4242", "proc/self/status": "Cpus_allowed_list:\t0-1"})
    second = sensor.read(Moment(2.0, 1e9))
    assert isinstance(first, Processor) and isinstance(second, Processor)
    assert (first.load_1min, second.load_1min) == (1.25, 7.75)
    assert second.cores_allowed == (0, 1)
    assert second.at == Moment(2.0, 1e9)
    assert second.pressure and second.pressure.some_avg10_fraction == 0.125


def test_a_core_that_goes_offline_leaves_the_clusters(a_phone: Device) -> None:
    sensor = ProcessorSensor(a_phone.roots)
    sensor.read()
    a_phone.write({"sys/devices/system/cpu/online": "0-5"})
    after = sensor.read()
    assert isinstance(after, Processor)
    assert after.clusters[1].cores == (4, 5)


def test_without_sysfs_the_cores_come_from_cpuinfo(a_phone: Device) -> None:
    (a_phone.root / "sys/devices/system/cpu/online").unlink()
    assert read(a_phone).cores_online == tuple(range(8))


def test_unknown_arm_part_is_named_by_its_numbers() -> None:
    cores, machine = parse_cpuinfo("processor: 0\nCPU implementer: 0x7f\nCPU part: 0x123\n\nModel: A Board\n")
    assert cores[0].model == "Arm implementer 0x7f part 0x123"
    assert machine == "A Board"


def test_architecture_is_the_roots_and_not_this_machines(a_phone: Device) -> None:
    assert read(a_phone).architecture == "aarch64"
    (a_phone.root / "proc/sys/kernel/arch").unlink()
    assert isinstance(read(a_phone).architecture, Missing)


def test_this_device_is_what_its_programs_run_as() -> None:
    """Also under qemu-user, where the kernel's files tell of the machine below."""
    processor = ProcessorSensor().read()
    assert isinstance(processor, Processor)
    assert processor.architecture == platform.machine()
    foreign = {"x86_64": "neon", "aarch64": "avx2"}[platform.machine()]
    assert foreign not in processor.features


def test_a_virtual_machine_without_cpufreq_states_its_frequency_in_cpuinfo(an_edge_box: Device) -> None:
    for number in range(4):
        (an_edge_box.root / f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_cur_freq").unlink()
    assert isinstance(read(an_edge_box).frequency_now_hz, Missing)
    text = (an_edge_box.root / "proc/cpuinfo").read_text()
    an_edge_box.write({"proc/cpuinfo": text.replace("flags", "cpu MHz\t\t: 2596.136\nflags")})
    assert read(an_edge_box).frequency_now_hz == 2_596_136_000
