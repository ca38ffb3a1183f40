"""Where a file lives: its file system and block device, and what the kernel's counters can say about reads from there.

Reads /proc/self/mountinfo and /sys; on other systems everything is unknown, and said to be.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileSystem", "file_system_of", "parse_mounts"]

_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
_NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ceph",
        "lustre",
        "gpfs",
        "beegfs",
        "9p",
        "virtiofs",
        "afs",
        "glusterfs",
        "orangefs",
        "wekafs",
        "gfs2",
    }
)
# These may store fewer bytes than a file has, so that fewer come from the device.
_COMPRESSING = frozenset({"btrfs", "f2fs", "squashfs", "erofs", "bcachefs", "ntfs", "ntfs3", "ubifs", "cramfs"})


@dataclass(frozen=True, kw_only=True)
class FileSystem:
    """kind: "device" (counted), "compressing" (counted, but may store less than a file's bytes), "memory", "network", "fuse", "overlay", "other"."""

    path: str  # of the mount point; "" where unknown
    type: str  # as the kernel names it; "" where unknown
    kind: str
    device: str  # name of the block device in /proc/diskstats; "" where there is none
    logical_block_bytes: int | None  # of the device: what direct reads must be a multiple of
    model: str  # of the device; "" where unknown

    @property
    def counted(self) -> bool:
        """Whether the process's count of device bytes must grow when a file that is not in memory is read."""
        return self.kind in ("device", "compressing")

    @property
    def remark(self) -> str:
        """What the counters cannot say here, as a sentence; "" where nothing is to be said."""
        if self.kind == "memory":
            return f"{self.type} is memory: nothing is ever cold there, and no device is read"
        if self.kind == "network":
            return f"{self.type}: the counters of this machine do not show what its server read from disks, or from its own memory"
        if self.kind == "fuse":
            return f"{self.type}: a process serves this file system; the counters do not show what it reads, or from where"
        if self.kind == "overlay":
            return "overlay: the files may lie on any layer; reads are counted only where that layer is on a device of this machine"
        if self.kind == "other":
            return f"{self.type or 'this file system'}: whether its reads are counted is not known"
        if self.device.startswith(("loop", "zram", "ram", "brd")):
            return f"{self.device} is no hardware: what lies below it may come from memory"
        if self.device.startswith(("vd", "xvd")) or "QEMU" in self.model:
            return (
                f"{self.device} is a virtual disk: whether its host read from hardware or from a cache of its own cannot be seen from here"
            )
        return ""


def _unescape(text: str) -> str:
    """mountinfo writes blanks, tabs, newlines and backslashes as octal."""
    for escape in ("\\040", "\\011", "\\012", "\\134"):
        text = text.replace(escape, chr(int(escape[1:], 8)))
    return text


def parse_mounts(text: str) -> list[tuple[str, str, str, str]]:
    """(major:minor, mount point, type, source) of each line of a mountinfo file."""
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        before, after = left.split(), right.split()
        if separator and len(before) >= 5 and len(after) >= 2:
            found.append((before[2], _unescape(before[4]), after[0], _unescape(after[1])))
    return found


def _mount_of(path: Path, mounts: Sequence[tuple[str, str, str, str]]) -> tuple[str, str, str, str] | None:
    """The mount that holds `path`: the deepest one above it, and of several there the last."""
    real = os.path.realpath(path)
    best = None
    for mount in mounts:
        point = mount[1]
        below = real == point or real.startswith(point.rstrip("/") + "/")
        if below and (best is None or len(point) >= len(best[1])):
            best = mount
    return best


def _kind(kind: str) -> str:
    if kind in _MEMORY:
        return "memory"
    if kind in _NETWORK:
        return "network"
    if kind.startswith("fuse"):
        return "fuse"
    if kind in ("overlay", "aufs", "unionfs"):
        return "overlay"
    return "compressing" if kind in _COMPRESSING else "device"


def _sys_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _block_device(number: str, source: str) -> Path | None:
    """The folder in /sys of a device by its number, or of the one that a file system without a number of its own is mounted from."""
    folder = Path("/sys/dev/block") / number
    if folder.exists():
        return folder.resolve()
    try:
        status = os.stat(source) if source.startswith("/dev/") else None
    except OSError:
        status = None
    if status is None or not status.st_rdev:
        return None
    folder = Path("/sys/dev/block") / f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return folder.resolve() if folder.exists() else None


def file_system_of(path: str | Path, *, mounts: str | None = None) -> FileSystem:
    """The file system that holds `path`, which exists. mounts: text of a mountinfo file, instead of this process's."""
    try:
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape") if mounts is None else mounts
    except OSError:
        text = ""
    mount = _mount_of(Path(path), parse_mounts(text))
    if mount is None:
        return FileSystem(path="", type="", kind="other", device="", logical_block_bytes=None, model="")
    number, point, type_name, source = mount
    kind = _kind(type_name)
    folder = _block_device(number, source) if kind in ("device", "compressing") else None
    if kind == "device" and folder is None:
        kind = "other"  # zfs, and what we have not heard of
    # A partition has no queue of its own.
    queue = next((f for f in (folder, folder.parent) if (f / "queue").is_dir()), None) if folder else None
    block = _sys_line(queue / "queue" / "logical_block_size") if queue else ""
    return FileSystem(
        path=point,
        type=type_name,
        kind=kind,
        device=folder.name if folder else "",
        logical_block_bytes=int(block) if block.isdecimal() else None,
        model=_sys_line(queue / "device" / "model") if queue else "",
    )
