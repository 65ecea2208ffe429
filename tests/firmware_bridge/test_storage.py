from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairlead_bridge.clock import Moment
from fairlead_bridge.mounts import Mount, mount_of, read_mounts
from fairlead_bridge.reading import Missing
from fairlead_bridge.storage import FileSystem, StorageSensor
from fairlead_bridge.storage_speed import StorageSpeed, StorageSpeedSensor
from tests.firmware_bridge.trees import Device

MEBIBYTE = 2**20


def file_system(device: Device) -> FileSystem:
    found = StorageSensor(device.roots, str(device.root)).read().file_system
    assert isinstance(found, FileSystem), found
    return found


def test_a_partition_leads_to_its_whole_device(a_phone: Device) -> None:
    found = file_system(a_phone)
    assert (found.mount_point, found.kind, found.device) == ("/", "ext4", "mmcblk0")
    assert found.rotational is False
    assert 0 <= found.available_bytes <= found.total_bytes


def test_a_mount_without_a_device_number_is_found_by_its_source(an_edge_box: Device) -> None:
    assert file_system(an_edge_box).device == "nvme0n1"


def test_a_file_system_without_a_device_says_so(an_edge_box: Device) -> None:
    an_edge_box.write({"proc/self/mountinfo": "20 1 0:31 / / rw - overlay overlay rw"})
    device = file_system(an_edge_box).device
    assert isinstance(device, Missing)
    assert "overlay" in device.why


def test_devices_have_bytes_and_empty_loops_are_left_out(an_edge_box: Device, a_server: Device) -> None:
    devices = StorageSensor(an_edge_box.roots).devices()
    assert not isinstance(devices, Missing)
    assert [(each.name, each.size_bytes) for each in devices] == [("nvme0n1", 512_000_000_000)]
    spinning = StorageSensor(a_server.roots).devices()
    assert spinning and spinning[0].rotational is True and spinning[0].model == "Example HDD"


def test_the_latest_and_longest_mount_wins() -> None:
    def mount(point: str, kind: str) -> Mount:
        return Mount(point, "/", "8:0", kind, "x", False, ())

    mounts = (mount("/", "ext4"), mount("/data", "xfs"), mount("/data", "btrfs"), mount("/data2", "f2fs"))
    assert [getattr(mount_of(mounts, path), "filesystem", None) for path in ("/data/a", "/data2", "/other")] == [
        "btrfs",
        "f2fs",
        "ext4",
    ]


def test_escaped_mount_points_and_broken_lines(a_phone: Device) -> None:
    a_phone.write({"proc/self/mountinfo": "nonsense\n20 1 8:1 / /my\\040disk ro - ext4 /dev/sda1 rw\n1 2 x:y / / -"})
    mounts = read_mounts(a_phone.roots)
    assert not isinstance(mounts, Missing)
    assert [(mount.point, mount.read_only) for mount in mounts] == [("/my disk", True)]


def test_speed_is_measured_within_its_bound_and_leaves_nothing(tmp_path: Path) -> None:
    speed = StorageSpeedSensor(str(tmp_path), bytes_max=2 * MEBIBYTE).read(Moment(1.0, 1e9))
    assert isinstance(speed, StorageSpeed)
    assert speed.sequential_bytes_per_s > 0 and speed.random_4k_reads_per_s > 0
    assert 2 * MEBIBYTE < speed.bytes_read <= 4 * MEBIBYTE
    assert speed.sequential_uncertainty_bytes_per_s >= 0
    assert list(tmp_path.iterdir()) == []


def test_a_slow_device_ends_each_phase_at_the_deadline(tmp_path: Path) -> None:
    ticks = iter(range(10**6))  # every look at the clock is a second later
    sensor = StorageSpeedSensor(
        str(tmp_path), bytes_max=8 * MEBIBYTE, duration_max_s=4.0, timer=lambda: float(next(ticks))
    )
    speed = sensor.read()
    assert isinstance(speed, StorageSpeed)
    assert speed.sequential_bytes_per_s == MEBIBYTE
    assert speed.bytes_read <= 2 * MEBIBYTE + 2 * 4096


def test_results_are_kept_for_a_device_over_restarts_until_they_age(tmp_path: Path) -> None:
    cache = str(tmp_path / "speed.json")

    def measure(wall_s: float) -> StorageSpeed:
        sensor = StorageSpeedSensor(str(tmp_path), cache_path=cache, bytes_max=MEBIBYTE, age_max_s=100.0)
        speed = sensor.read(Moment(1.0, wall_s))
        assert isinstance(speed, StorageSpeed)
        return speed

    first = measure(1000.0)
    assert measure(1099.0) == first
    assert measure(1101.0).at.wall_s == 1101.0
    assert measure(500.0).at.wall_s == 500.0  # a result from the future is no result


@pytest.mark.parametrize("text", ["", "[]", "{", '{"X": 3}', '{"X": {"at": 3}}', '{"X": null}', "[[1]]", "7"])
def test_a_garbled_cache_is_measured_over(tmp_path: Path, text: str) -> None:
    cache = tmp_path / "speed.json"
    sensor = StorageSpeedSensor(str(tmp_path), cache_path=str(cache), bytes_max=MEBIBYTE)
    number = sensor.read()
    assert isinstance(number, StorageSpeed)
    cache.write_text(text.replace("X", number.device_number))
    again = StorageSpeedSensor(str(tmp_path), cache_path=str(cache), bytes_max=MEBIBYTE).read()
    assert isinstance(again, StorageSpeed)
    assert json.loads(cache.read_text())[number.device_number]["bytes_read"] == again.bytes_read


def test_where_no_file_can_be_written_the_speed_is_missing() -> None:
    for path in ("/proc", "/nonexistent-directory"):
        assert isinstance(StorageSpeedSensor(path).read(), Missing)


def test_a_bound_below_one_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes_max is 5"):
        StorageSpeedSensor("/", bytes_max=5)
