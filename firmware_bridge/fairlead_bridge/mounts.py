"""/proc/self/mountinfo: what is mounted where."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from fairlead_bridge.reading import Missing
from fairlead_bridge.roots import Roots

_ESCAPE = re.compile(r"\\([0-7]{3})")
_DEVICE = re.compile(r"[0-9]{1,7}:[0-9]{1,7}")
_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount. ``device_number`` is major:minor; ``root`` is the part of the file system that is mounted."""

    point: str
    root: str
    device_number: str
    filesystem: str
    source: str
    read_only: bool
    options: tuple[str, ...]


def read_mounts(roots: Roots) -> tuple[Mount, ...] | Missing:
    """All mounts that this process sees, in the order in which they were made."""
    text = roots.proc_tree.text("self/mountinfo", _LIMIT_BYTES)
    if isinstance(text, Missing):
        return text
    mounts = tuple(mount for mount in map(_parse, text.splitlines()) if mount)
    return mounts or Missing(roots.proc_tree.name("self/mountinfo"), "no mount in it", "garbled")


def mount_of(mounts: tuple[Mount, ...], path: str) -> Mount | None:
    """The mount that an absolute path without symbolic links is on: the longest point, the latest made."""
    found: Mount | None = None
    for mount in mounts:
        inside = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        if inside and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def _parse(line: str) -> Mount | None:
    # id parent major:minor root point options [tag...] - type source super-options (proc(5))
    left, dash, right = line.partition(" - ")
    front, back = left.split(), right.split()
    if not dash or len(front) < 6 or len(back) < 2 or not _DEVICE.fullmatch(front[2]):
        return None
    options = (*front[5].split(","), *(back[2].split(",") if len(back) > 2 else ()))
    return Mount(
        point=os.path.normpath(_unescape(front[4])),
        root=_unescape(front[3]),
        device_number=front[2],
        filesystem=back[0],
        source=_unescape(back[1]),
        read_only="ro" in options,
        options=options,
    )


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8) & 0xFF), text)
