from __future__ import annotations

import os

import pytest

from fairlead_bridge.cgroup import ControlGroup, ControlGroupSensor
from fairlead_bridge.reading import Missing
from tests.firmware_bridge.trees import Device


def read(device: Device) -> ControlGroup:
    group = ControlGroupSensor(device.roots).read()
    assert isinstance(group, ControlGroup), group
    return group


def test_version_2_limits_are_the_least_of_all_ancestors(a_phone: Device) -> None:
    group = read(a_phone)
    assert (group.version, group.hybrid, group.path) == ("v2", False, "/apps/agent")
    assert group.memory_limit_bytes == 2_000_000_000
    assert group.cpu_limit_cores == 1.5
    assert group.process_limit == 900
    assert group.memory_current_bytes == 50_331_648
    assert group.memory_events == {"low": 0, "high": 3, "max": 2, "oom": 1, "oom_kill": 1}
    assert group.memory_pressure and group.memory_pressure.some_avg10_fraction == 0.125


def test_the_group_itself_may_be_the_tightest_or_an_ancestor(a_phone: Device) -> None:
    a_phone.write({"sys/fs/cgroup/apps/agent/memory.max": 900_000_000, "sys/fs/cgroup/apps/cpu.max": "50000 100000"})
    group = read(a_phone)
    assert group.memory_limit_bytes == 900_000_000
    assert group.cpu_limit_cores == 0.5


def test_version_2_group_with_processes_must_move_them_to_delegate(a_phone: Device) -> None:
    delegation = read(a_phone).delegation
    assert delegation and delegation.possible and delegation.must_move_self
    assert delegation.directory == str(a_phone.root / "sys/fs/cgroup/apps/agent")


def test_version_2_without_the_memory_controller_cannot_delegate_it(a_phone: Device) -> None:
    a_phone.write({"sys/fs/cgroup/apps/agent/cgroup.controllers": "cpu pids"})
    delegation = read(a_phone).delegation
    assert delegation is not None and isinstance(delegation.possible, bool)
    assert not delegation.possible
    assert "memory controller" in delegation.obstacle


def test_container_on_version_1_sees_its_own_part_of_the_hierarchy(an_edge_box: Device) -> None:
    group = read(an_edge_box)
    assert group.version == "v1"
    assert group.memory_limit_bytes == 4 * 2**30
    assert group.memory_events == {"failcnt": 7, "oom_kill": 2}
    assert group.cpu_limit_cores == 2.5
    assert group.delegation and group.delegation.directory == str(an_edge_box.root / "sys/fs/cgroup/memory")


def test_version_1_without_limits_says_none(an_edge_box: Device) -> None:
    an_edge_box.write({"sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712})
    an_edge_box.write({"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": -1})
    group = read(an_edge_box)
    assert group.memory_limit_bytes is None
    assert group.cpu_limit_cores is None


def test_version_1_memory_controller_wins_in_a_hybrid(an_edge_box: Device) -> None:
    mounts = (an_edge_box.root / "proc/self/mountinfo").read_text()
    an_edge_box.write(
        {
            "proc/self/mountinfo": mounts + "40 20 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
            "proc/self/cgroup": "5:memory:/docker/abc\n0::/",
            "sys/fs/cgroup/unified/cgroup.controllers": "cpu",
        }
    )
    group = read(an_edge_box)
    assert (group.version, group.hybrid) == ("v1", True)
    assert group.memory_limit_bytes == 4 * 2**30


@pytest.mark.parametrize("path", ["/../../other", "/other"])
def test_a_path_outside_the_mounted_part_is_not_guessed(an_edge_box: Device, path: str) -> None:
    an_edge_box.write({"proc/self/cgroup": f"5:memory:{path}", "sys/fs/other/memory.limit_in_bytes": 1000})
    assert isinstance(ControlGroupSensor(an_edge_box.roots).read(), Missing)


def test_a_path_above_the_namespace_is_not_taken_for_its_root(a_phone: Device) -> None:
    a_phone.write({"proc/self/cgroup": "0::/../apps/agent"})
    assert isinstance(ControlGroupSensor(a_phone.roots).read(), Missing)


def test_a_group_that_is_gone_has_no_limits_to_believe(a_phone: Device) -> None:
    a_phone.write({"proc/self/cgroup": "0::/apps/gone"})
    (a_phone.root / "sys/fs/cgroup/apps/memory.max").unlink()
    assert isinstance(read(a_phone).memory_limit_bytes, Missing)


def test_no_control_groups_at_all(a_server: Device) -> None:
    reading = ControlGroupSensor(a_server.roots).read()
    assert isinstance(reading, Missing) and reading.kind == "absent"


def test_real_delegation_claim_holds() -> None:
    """Where the sensor says that children can be limited, a child with a limit can be made."""
    group = ControlGroupSensor().read()
    if not isinstance(group, ControlGroup) or not group.delegation or not group.delegation.possible:
        pytest.skip(f"no delegation here: {group if isinstance(group, Missing) else group.delegation}")
    if group.version != "v1":
        pytest.skip("with version 2 the test's own processes would have to move")
    child = os.path.join(group.delegation.directory, f"fairlead-test-{os.getpid()}")
    os.mkdir(child)
    try:
        with open(os.path.join(child, "memory.limit_in_bytes"), "w") as limit:
            limit.write(str(64 * 2**20))
        with open(os.path.join(child, "memory.limit_in_bytes")) as limit:
            assert int(limit.read()) == 64 * 2**20
    finally:
        os.rmdir(child)
