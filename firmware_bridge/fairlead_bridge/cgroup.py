"""The control group of this process: what it may use, and whether it may limit its children."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.mounts import Mount, read_mounts
from fairlead_bridge.pressure import Pressure, read_pressure
from fairlead_bridge.reading import Missing
from fairlead_bridge.roots import Roots
from fairlead_bridge.tree import Tree

Version = Literal["v1", "v2"]
N = TypeVar("N", int, float)
_COUNT = re.compile(r"^(\w+) ([0-9]{1,19})$", re.MULTILINE)
# A v1 group without a limit says the largest multiple of a page; no device has an exbibyte.
_UNLIMITED_BYTES = 2**60


@dataclass(frozen=True, slots=True)
class Delegation:
    """Whether children of this group can be given memory limits.

    ``directory`` is where to make them. With ``must_move_self`` (v2) the processes of the group must first
    move to a leaf: a group with processes cannot hand controllers on. ``obstacle`` says why it is not
    ``possible`` and is empty where it is.
    """

    possible: bool
    directory: str
    must_move_self: bool
    obstacle: str


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """Where this process sits in the hierarchy that controls memory, and the limits in force there.

    A limit of ``None`` means that there is none. Limits are the least of the group and its visible ancestors.
    ``memory_events`` are the kernel's counters (v2: low, high, max, oom, oom_kill; v1: failcnt, oom_kill).
    """

    at: Moment
    version: Version
    hybrid: bool
    path: str
    memory_limit_bytes: int | Missing | None
    memory_current_bytes: int | Missing
    memory_events: dict[str, int] | Missing
    memory_pressure: Pressure | Missing
    cpu_limit_cores: float | Missing | None
    process_limit: int | Missing | None
    delegation: Delegation | Missing


@dataclass(frozen=True, slots=True)
class Group:
    """A group of one hierarchy: its directory here, and the mount's directory at which ancestors end."""

    directory: str
    top: str
    path: str

    @property
    def tree(self) -> Tree:
        return Tree(self.directory, self.directory)

    def lineage(self) -> list[Tree]:
        """The group and its visible ancestors, the group first."""
        trees = [self.tree]
        directory = self.directory
        while directory != self.top and len(directory) > len(self.top):
            directory = posixpath.dirname(directory)
            trees.append(Tree(directory, directory))
        return trees


class ControlGroupSensor:
    """Finds this process in the mounted hierarchies: version 2 where its memory controller is, else 1."""

    def __init__(self, roots: Roots | None = None) -> None:
        self._roots = roots or Roots()

    def read(self, at: Moment | None = None) -> ControlGroup | Missing:
        mounts = read_mounts(self._roots)
        paths = self._paths()
        if isinstance(mounts, Missing):
            return mounts
        if isinstance(paths, Missing):
            return paths
        version1 = {name: group for name in paths if name and (group := self._group1(mounts, paths, name))}
        version2 = self._group2(mounts, paths)
        if version2 and ("memory" not in version1 or "memory" in controllers(version2)):
            return _version2(at or now(), version2, bool(version1))
        if "memory" in version1 or "cpu" in version1:
            return _version1(at or now(), version1, version2 is not None)
        return Missing("control group", "no hierarchy with a memory or cpu controller is mounted here")

    def _paths(self) -> dict[str, str] | Missing:
        text = self._roots.proc_tree.text("self/cgroup")
        if isinstance(text, Missing):
            return text
        paths: dict[str, str] = {}
        for line in text.splitlines():
            _, _, rest = line.partition(":")
            names, colon, path = rest.partition(":")
            if colon and path.startswith("/"):
                paths.update(dict.fromkeys(names.split(","), path))
        return paths or Missing(self._roots.proc_tree.name("self/cgroup"), "no group in it", "garbled")

    def _group1(self, mounts: tuple[Mount, ...], paths: dict[str, str], name: str) -> Group | None:
        controller = name.removeprefix("name=")
        for mount in mounts:
            if mount.filesystem == "cgroup" and (name in mount.options or controller in mount.options):
                return self._within(mount, paths[name])
        return None

    def _group2(self, mounts: tuple[Mount, ...], paths: dict[str, str]) -> Group | None:
        for mount in mounts:
            if mount.filesystem == "cgroup2" and "" in paths:
                return self._within(mount, paths[""])
        return None

    def _within(self, mount: Mount, path: str) -> Group | None:
        # In a container the mount shows a part of the hierarchy, and a path may lie outside of it (/..).
        relative = posixpath.relpath(path, mount.root)
        if relative.startswith("..") or "/.." in path:
            return None
        top = self._roots.locate(mount.point)
        return Group(posixpath.normpath(posixpath.join(top, relative)), posixpath.normpath(top), path)


def controllers(group: Group) -> tuple[str, ...]:
    """The controllers that a version 2 group has."""
    text = group.tree.text("cgroup.controllers")
    return () if isinstance(text, Missing) else tuple(text.split())


def _version2(at: Moment, group: Group, hybrid: bool) -> ControlGroup:
    tree = group.tree
    return ControlGroup(
        at=at,
        version="v2",
        hybrid=hybrid,
        path=group.path,
        memory_limit_bytes=_least(group, lambda each: _limit(each, "memory.max")),
        memory_current_bytes=tree.integer("memory.current"),
        memory_events=_counts(tree, "memory.events"),
        memory_pressure=read_pressure(tree, "memory.pressure"),
        cpu_limit_cores=_least(group, _cpu_max),
        process_limit=_least(group, lambda each: _limit(each, "pids.max")),
        delegation=_delegation2(group),
    )


def _version1(at: Moment, groups: dict[str, Group], hybrid: bool) -> ControlGroup:
    memory, cpu, pids = groups.get("memory"), groups.get("cpu"), groups.get("pids")
    absent = Missing("memory controller", "it is not mounted here")
    return ControlGroup(
        at=at,
        version="v1",
        hybrid=hybrid,
        path=(memory or groups["cpu"]).path,
        memory_limit_bytes=_least(memory, _limit1) if memory else absent,
        memory_current_bytes=memory.tree.integer("memory.usage_in_bytes") if memory else absent,
        memory_events=_events1(memory.tree) if memory else absent,
        memory_pressure=Missing("memory pressure", "version 1 groups do not measure it"),
        cpu_limit_cores=_least(cpu, _cfs_quota) if cpu else absent,
        process_limit=_least(pids, lambda each: _limit(each, "pids.max")) if pids else absent,
        delegation=_delegation1(memory) if memory else absent,
    )


def _limit(tree: Tree, name: str) -> int | Missing | None:
    return None if tree.text(name) == "max" else tree.integer(name)


def _limit1(tree: Tree) -> int | Missing | None:
    limit = tree.integer("memory.limit_in_bytes")
    return limit if isinstance(limit, Missing) or limit < _UNLIMITED_BYTES else None


def _cpu_max(tree: Tree) -> float | Missing | None:
    text = tree.text("cpu.max")
    if isinstance(text, Missing):
        return text
    quota, _, period = text.partition(" ")
    if quota == "max":
        return None
    if quota.isdecimal() and period.isdecimal() and len(text) < 40 and int(period):
        return int(quota) / int(period)
    return Missing(tree.name("cpu.max"), f"expected 'quota period', found {text[:40]!r}", "garbled")


def _cfs_quota(tree: Tree) -> float | Missing | None:
    quota, period = tree.integer("cpu.cfs_quota_us", -1), tree.integer("cpu.cfs_period_us", 1)
    if isinstance(quota, Missing):
        return quota
    if isinstance(period, Missing):
        return period
    return None if quota < 0 else quota / period


def _least(group: Group, limit_of: Callable[[Tree], N | Missing | None]) -> N | Missing | None:
    """The least known limit of a group and its ancestors. A root has no limit files: those limit nothing."""
    limits = [limit_of(tree) for tree in group.lineage()]
    known = [limit for limit in limits if limit is not None and not isinstance(limit, Missing)]
    if known:
        return min(known)
    bad = [limit for limit in limits if isinstance(limit, Missing) and limit.kind != "absent"]
    if bad or os.path.isdir(group.directory):
        return bad[0] if bad else None
    return Missing(group.directory, "the group is gone")


def _counts(tree: Tree, name: str) -> dict[str, int] | Missing:
    text = tree.text(name)
    if isinstance(text, Missing):
        return text
    counts = {key: int(count) for key, count in _COUNT.findall(text)}
    return counts or Missing(tree.name(name), f"expected counters, found {text[:40]!r}", "garbled")


def _events1(tree: Tree) -> dict[str, int] | Missing:
    control = _counts(tree, "memory.oom_control")
    failures = tree.integer("memory.failcnt")
    if isinstance(control, Missing):
        return control
    if isinstance(failures, Missing):
        return failures
    return {"failcnt": failures, "oom_kill": control.get("oom_kill", 0)}


def _delegation1(group: Group) -> Delegation:
    obstacle = _unwritable(group.directory, "cgroup.procs")
    return Delegation(not obstacle, group.directory, False, obstacle)


def _delegation2(group: Group) -> Delegation:
    tree = group.tree
    obstacle = _unwritable(group.directory, "cgroup.procs", "cgroup.subtree_control")
    if "memory" not in controllers(group):
        obstacle = "the memory controller is not enabled for this group"
    handed_on = tree.text("cgroup.subtree_control")
    done = isinstance(handed_on, str) and "memory" in handed_on.split()
    # The root may have processes and hand controllers on; it alone has no memory.max.
    inner = tree.holds("memory.max") and isinstance(tree.text("cgroup.procs"), str)
    return Delegation(not obstacle, group.directory, inner and not done, obstacle)


def _unwritable(directory: str, *names: str) -> str:
    for path in (directory, *(f"{directory}/{name}" for name in names)):
        if not os.access(path, os.W_OK, effective_ids=True):
            return f"{path} is not writable for this process"
    return ""
