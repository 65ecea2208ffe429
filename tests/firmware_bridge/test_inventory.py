from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fairlead_bridge
from fairlead_bridge.clock import Moment
from fairlead_bridge.form import to_json, to_table
from fairlead_bridge.inventory import Inventory, InventoryReader, read_inventory
from fairlead_bridge.reading import Missing
from fairlead_bridge.roots import Roots
from fairlead_bridge.tree import Tree
from tests.firmware_bridge.trees import Device, edge_box, phone, server

AT = Moment(100.0, 1.8e9)
PACKAGES = str(Path(fairlead_bridge.__file__).parents[1])
SPOILERS: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: None,
    "directory": lambda path: path.mkdir(),
    "fifo": os.mkfifo,
    "dangling": lambda path: path.symlink_to("nothing-here"),
    "loop": lambda path: path.symlink_to(path.name),
    "huge": lambda path: path.write_bytes(b"7" * 200_000),
    "empty": lambda path: path.touch(),
}
MAKERS: list[Callable[[Path], Device]] = [phone, edge_box, server]


def read(device: Device) -> Inventory:
    return read_inventory(device.roots, at=AT, path=str(device.root))


def check(inventory: Inventory) -> None:
    """What holds of every inventory: it is plain JSON, it can be printed, every gap has a reason."""
    json.dumps(to_json(inventory), allow_nan=False)
    assert to_table(inventory)
    assert all(missing.what and missing.why for missing in inventory.missing().values())


@pytest.mark.parametrize("maker", MAKERS)
def test_unlike_devices_have_one_form(maker: Callable[[Path], Device], tmp_path: Path) -> None:
    inventory = read(maker(tmp_path / "device"))
    check(inventory)
    assert inventory.simulated
    assert inventory.processor and inventory.memory and inventory.storage and inventory.links and inventory.power
    assert inventory.processor.at == inventory.memory.at == AT


def test_what_a_device_lacks_is_missing_and_says_so(a_server: Device) -> None:
    missing = read(a_server).missing()
    assert missing["thermal"].kind == "absent"
    assert missing["memory_bandwidth"].kind == "not_measured"
    assert "processor.frequency_max_hz" not in missing


def test_usable_memory_and_cores_respect_the_group(a_phone: Device, an_edge_box: Device, a_server: Device) -> None:
    assert read(a_phone).usable_memory_bytes == 2_000_000_000 - 50_331_648
    assert read(a_phone).usable_cores == 1.5
    assert read(an_edge_box).usable_cores == 2.5
    assert read(a_server).usable_memory_bytes == 264_000_000 * 1024
    assert read(a_server).usable_cores == 16.0


def test_an_empty_machine_is_all_missing(tmp_path: Path) -> None:
    inventory = read_inventory(Roots(*(str(tmp_path / name) for name in ("sys", "proc", "dev"))), at=AT)
    check(inventory)
    for part in ("memory", "control_group", "links", "thermal", "power", "gpus"):
        assert isinstance(getattr(inventory, part), Missing), part


@settings(max_examples=15, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), maker=st.sampled_from(MAKERS))
def test_garbage_in_any_file_never_raises(data: st.DataObject, maker: Callable[[Path], Device]) -> None:
    garbage = st.one_of(
        st.binary(max_size=80),
        st.sampled_from([b"9" * 30, b"-1", b"nan", b"1e308", b"0-99999999", b"\0" * 9, b"max 0", b"\xff:\xff"]),
    )
    with tempfile.TemporaryDirectory() as directory:
        device = maker(Path(directory) / "device")
        files = device.files()
        for index in data.draw(st.sets(st.integers(0, len(files) - 1), min_size=1, max_size=12)):
            files[index].write_bytes(data.draw(garbage))
        check(read(device))


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("bad", list(SPOILERS))
def test_no_file_of_a_device_can_break_the_inventory(maker: Callable[[Path], Device], bad: str, tmp_path: Path) -> None:
    device = maker(tmp_path / "device")
    draw = random.Random(f"{maker.__name__} {bad}")
    for path in draw.sample(device.files(), 12):
        path.unlink()
        SPOILERS[bad](path)
        check(read(device))


class VanishingTree(Tree):
    """Directories that are there when they are listed, and gone when their files are read."""

    doomed = ""

    def entries(self, path: str) -> tuple[str, ...] | Missing:
        names = super().entries(path)
        if path == VanishingTree.doomed:
            shutil.rmtree(self.path(path))
        return names


@pytest.mark.parametrize(
    "doomed",
    [
        "class/thermal",
        "class/thermal/thermal_zone0",
        "class/power_supply",
        "class/net",
        "class/kgsl",
        "devices/system/cpu/cpu0/cache",
    ],
)
def test_what_vanishes_between_listing_and_reading_is_missing(
    a_phone: Device, doomed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead_bridge.roots.Tree", VanishingTree)
    monkeypatch.setattr(VanishingTree, "doomed", doomed)
    inventory = read(a_phone)
    check(inventory)
    assert inventory.memory


@pytest.mark.usefixtures("an_unprivileged_user")
def test_permission_denied_is_told_and_costs_only_its_value(an_open_server: Device) -> None:
    inventory = read(an_open_server)
    check(inventory)
    assert isinstance(inventory.memory, Missing) and inventory.memory.kind == "denied"
    assert inventory.power
    package = inventory.power.counters[0]
    assert isinstance(package.energy_joules, Missing) and package.energy_joules.kind == "denied"
    assert inventory.power.counters[1].energy_joules == 0.5


def test_a_sensor_with_a_fault_costs_one_part(a_phone: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InventoryReader(a_phone.roots)

    def broken(at: Moment) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(reader.thermal, "read", broken)
    inventory = reader.read(AT)
    check(inventory)
    assert inventory.thermal == Missing("thermal", "RuntimeError: a fault", "failed")
    assert inventory.power


def test_a_simulated_device_is_never_measured(a_phone: Device) -> None:
    inventory = read_inventory(a_phone.roots, at=AT, measure=True)
    assert isinstance(inventory.memory_bandwidth, Missing)
    assert "simulated" in inventory.memory_bandwidth.why
    assert isinstance(inventory.storage_speed, Missing)


def test_this_machine() -> None:
    reader = InventoryReader(path=tempfile.gettempdir())
    first, second = reader.read(), reader.read()
    for inventory in (first, second):
        check(inventory)
        assert not inventory.simulated
        assert inventory.processor and inventory.processor.cores_online
        assert inventory.processor.architecture == os.uname().machine
        assert inventory.memory and inventory.memory.total_bytes
        assert inventory.memory.total_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert inventory.storage and inventory.storage.file_system
        assert inventory.links
    assert second.at.boottime_s > first.at.boottime_s
    assert not [missing for missing in first.missing().values() if missing.kind == "failed"]


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fairlead_bridge", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": PACKAGES},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_command_prints_json_with_measurements(tmp_path: Path) -> None:
    printed = json.loads(run("--json", "--measure", "--path", str(tmp_path)))
    assert set(printed) == {field.name for field in fields(Inventory)}
    assert printed["memory_bandwidth"]["traffic_bytes_per_s"] > 0
    assert printed["storage_speed"]["sequential_bytes_per_s"] > 0
    assert printed["thermal"].get("why") or printed["thermal"]["zones"]


def test_command_prints_a_table() -> None:
    lines = run().splitlines()
    assert any(line.startswith("memory.total_bytes") and "iB" in line for line in lines)
    assert any(line.startswith("memory_bandwidth ") and "nobody asked" in line for line in lines)


def test_reading_imports_nothing_heavy() -> None:
    script = (
        "import sys, fairlead_bridge.inventory as i; i.read_inventory();"
        "print(sorted({'numpy', 'psutil', 'pyroute2', 'pydantic', 'asyncio', 'pynvml'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": PACKAGES},
    )
    expected = "['pynvml']" if os.path.exists("/dev/nvidiactl") else "[]"
    assert done.stdout.strip() == expected, done.stderr
