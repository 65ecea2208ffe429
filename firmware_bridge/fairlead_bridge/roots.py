"""Where the kernel's file systems are, so that a test or a container can give others."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_bridge.tree import Tree


@dataclass(frozen=True, slots=True)
class Roots:
    """The directories that stand for ``/sys``, ``/proc`` and ``/dev``."""

    sys: str = "/sys"
    proc: str = "/proc"
    dev: str = "/dev"

    @property
    def live(self) -> bool:
        """Whether these are the running kernel's own: only then do system calls tell of the same device."""
        return (self.sys, self.proc) == ("/sys", "/proc")

    @property
    def sys_tree(self) -> Tree:
        return Tree(self.sys, "/sys")

    @property
    def proc_tree(self) -> Tree:
        return Tree(self.proc, "/proc")

    @property
    def dev_tree(self) -> Tree:
        return Tree(self.dev, "/dev")

    def locate(self, path: str) -> str:
        """Where an absolute path that the kernel printed lies under these roots."""
        for prefix, root in (("/sys", self.sys), ("/proc", self.proc), ("/dev", self.dev)):
            if path == prefix or path.startswith(prefix + "/"):
                return root + path[len(prefix) :]
        return path
