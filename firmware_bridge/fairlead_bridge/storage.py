"""Storage: block devices, and the file system that a path is on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.mounts import Mount, mount_of, read_mounts
from fairlead_bridge.pressure import Pressure, read_pressure
from fairlead_bridge.reading import Missing, convert, value_or
from fairlead_bridge.roots import Roots

_SECTOR_BYTES = 512  # of /sys/block/*/size, whatever the device's own sectors are


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A whole block device (not a partition). ``virtual`` devices (loop, zram, device mapper) lie on others.

    ``rotational`` is the driver's word: disks of virtual machines often claim it, whatever they lie on.
    """

    name: str
    number: str | Missing
    size_bytes: int | Missing
    rotational: bool | Missing
    removable: bool | Missing
    virtual: bool
    model: str | Missing
    logical_block_bytes: int | Missing


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The file system of a path. ``available_bytes`` is what this user may still write.

    ``device`` is the block device's name; missing for a file system that lies on none, or on several.
    """

    path: str
    mount_point: str
    kind: str
    read_only: bool
    total_bytes: int
    available_bytes: int
    device: str | Missing
    rotational: bool | Missing


@dataclass(frozen=True, slots=True)
class Storage:
    """``pressure`` is the stall of tasks on I/O of the whole device."""

    at: Moment
    devices: tuple[BlockDevice, ...] | Missing
    file_system: FileSystem | Missing
    pressure: Pressure | Missing


class StorageSensor:
    """Reads /sys/block, and asks the kernel for the free space at ``path`` (where artifacts are kept)."""

    def __init__(self, roots: Roots | None = None, path: str = "/") -> None:
        self._roots = roots or Roots()
        self._sys = self._roots.sys_tree
        self._path = path

    def read(self, at: Moment | None = None) -> Storage:
        return Storage(
            at=at or now(),
            devices=self.devices(),
            file_system=self.file_system(),
            pressure=read_pressure(self._roots.proc_tree, "pressure/io"),
        )

    def devices(self) -> tuple[BlockDevice, ...] | Missing:
        """All block devices with a size; unused loop devices have none."""
        names = self._sys.entries("block")
        if isinstance(names, Missing):
            return names
        return tuple(self._device(name) for name in names if self._sys.text(f"block/{name}/size") != "0")

    def file_system(self) -> FileSystem | Missing:
        path = os.path.realpath(self._path)
        mounts = read_mounts(self._roots)
        if isinstance(mounts, Missing):
            return mounts
        mount = mount_of(mounts, path)
        if mount is None:
            return Missing(f"mount of {path}", "no mount point is above it", "garbled")
        try:
            space = os.statvfs(path)
        except OSError as error:
            return Missing(f"space at {path}", (error.strerror or str(error)).lower(), "refused")
        device = self._device_of(mount)
        return FileSystem(
            path=path,
            mount_point=mount.point,
            kind=mount.filesystem,
            read_only=mount.read_only,
            total_bytes=space.f_blocks * space.f_frsize,
            available_bytes=space.f_bavail * space.f_frsize,
            device=device,
            rotational=device if isinstance(device, Missing) else self._sys.flag(f"block/{device}/queue/rotational"),
        )

    def _device(self, name: str) -> BlockDevice:
        sys, path = self._sys, f"block/{name}"
        return BlockDevice(
            name=name,
            number=sys.line(f"{path}/dev"),
            size_bytes=convert(sys.integer(f"{path}/size", 0, 2**54), lambda sectors: sectors * _SECTOR_BYTES),
            rotational=sys.flag(f"{path}/queue/rotational"),
            removable=sys.flag(f"{path}/removable"),
            virtual=not sys.holds(f"{path}/device"),
            model=sys.line(f"{path}/device/model"),
            logical_block_bytes=sys.integer(f"{path}/queue/logical_block_size", 1, 2**31),
        )

    def _device_of(self, mount: Mount) -> str | Missing:
        # btrfs and others mount under an anonymous number (major 0) and only name their source.
        number = mount.device_number
        if number.startswith("0:"):
            source = os.path.realpath(self._roots.locate(mount.source))
            name = os.path.basename(source) if mount.source.startswith("/dev/") else ""
            number = value_or(self._sys.line(f"class/block/{name}/dev"), "") if name else ""
        if not number:
            return Missing(f"block device of {mount.point}", f"{mount.filesystem} lies on no one block device")
        return self._disk(number)

    def _disk(self, number: str) -> str | Missing:
        """The whole device of a device number: a partition's directory lies inside its device's."""
        link = f"dev/block/{number}"
        if not self._sys.holds(link):
            return Missing(self._sys.name(link), "no such file or directory")
        directory = os.path.realpath(self._sys.path(link))
        if self._sys.holds(f"{link}/partition"):
            directory = os.path.dirname(directory)
        name = os.path.basename(directory)
        return name if re.fullmatch(r"[\w.!:\-]{1,64}", name) else Missing(self._sys.name(link), "no device name")
