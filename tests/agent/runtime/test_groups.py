"""What is written to control groups of version 2 (which this test need not have), and the choice of a limiter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairlead_agent.runtime.limits import choose_limiter
from fairlead_agent.runtime.limits.cgroup_v2 import AGENT_LEAF, CgroupV2Confinement, CgroupV2Limiter
from fairlead_agent.runtime.limits.watchdog import WatchdogLimiter
from fairlead_agent.runtime.process_facts import memory_bytes, process_tree, proportional_memory_bytes
from fairlead_bridge.cgroup import ControlGroupSensor
from fairlead_bridge.roots import Roots

MIB = 2**20


def _group(path: Path, **files: str) -> Path:
    """A folder with the files that the kernel would put into a group."""
    path.mkdir(parents=True, exist_ok=True)
    kernel = {"cgroup.procs": "", "cgroup.subtree_control": "", "memory.max": "max", "memory.oom.group": "0"}
    for name, text in {**kernel, **{name.replace("__", "."): text for name, text in files.items()}}.items():
        (path / name).write_text(text)
    return path


def test_limits_and_counters_of_version_2(tmp_path):
    group = _group(
        tmp_path / "g", memory__events="low 0\nmax 3\noom 1\noom_kill 1\n", memory__stat="anon 5\nfile 9\nshmem 2\n"
    )
    confinement = CgroupV2Confinement(group, 192 * MIB)
    assert (group / "memory.max").read_text() == str(192 * MIB)
    assert (group / "memory.oom.group").read_text().startswith("1")
    assert confinement.usage_bytes() == 7
    confinement.admit(4321)
    assert (group / "cgroup.procs").read_text() == "4321"
    assert not confinement.exceeded()  # that kill was of an earlier worker
    (group / "memory.events").write_text("oom_kill 2\n")
    assert confinement.exceeded()


def test_the_agent_moves_to_a_leaf_before_it_hands_the_controller_on(tmp_path):
    delegated = _group(tmp_path / "unit", cgroup__procs=f"{os.getpid()}\n")
    _group(delegated / AGENT_LEAF)
    _group(delegated / "fairlead.x")
    CgroupV2Limiter(delegated, "fairlead.x", must_move_self=True)
    assert (delegated / AGENT_LEAF / "cgroup.procs").read_text() == str(os.getpid())
    assert (delegated / "cgroup.subtree_control").read_text() == "+memory"
    assert (delegated / "fairlead.x" / "cgroup.subtree_control").read_text() == "+memory"


def test_a_group_shared_with_strangers_is_not_taken_over(tmp_path):
    delegated = _group(tmp_path / "session", cgroup__procs=f"{os.getpid()}\n1\n")
    with pytest.raises(OSError, match="other processes than the agent"):
        CgroupV2Limiter(delegated, "fairlead.x", must_move_self=True)
    assert not (delegated / AGENT_LEAF).exists()


def test_without_control_groups_the_watchdog_is_chosen_and_says_why(tmp_path):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mountinfo").write_text("")
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/\n")
    roots = Roots(sys=str(tmp_path / "sys"), proc=str(tmp_path / "proc"), dev="/dev")
    limiter = choose_limiter("fairlead.test", ControlGroupSensor(roots))
    assert limiter.kind == "watchdog" and limiter.why


def test_the_limiter_of_this_machine_is_proved_and_leaves_no_trace(tmp_path):
    limiter = choose_limiter(f"fairlead.test.{tmp_path.name}")
    assert limiter.kind in ("cgroup-v1", "cgroup-v2", "watchdog") and limiter.why
    limiter.close()
    groups = ControlGroupSensor().read()
    if limiter.kind != "watchdog":
        assert not (Path(groups.delegation.directory) / f"fairlead.test.{tmp_path.name}").exists()


def test_the_watchdog_counts_this_process_and_none_that_has_gone():
    confinement = WatchdogLimiter().confine("x", 1)
    assert not confinement.exceeded() and confinement.usage_bytes() == 0
    confinement.admit(os.getpid())
    assert confinement.exceeded()
    assert confinement.usage_bytes() > 10 * MIB
    assert 0 < proportional_memory_bytes(os.getpid()) <= memory_bytes(os.getpid()) * 1.2
    assert os.getpid() in process_tree(os.getpid())
