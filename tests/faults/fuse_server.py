"""Serves a folder through FUSE, with faults: run as a child process by tests/faults/faulty_disk.py, which sends it rules.

    python fuse_server.py FOLDER MOUNTPOINT    one JSON object a line on stdin; for each, one on stdout

{"rules": [...]} replaces the rules, lets go whatever is held, and answers {}. A rule holds for reads that overlap [offset, offset + length) of
files with that suffix: {"suffix": ".hrs", "offset": 0, "length": 1 << 62}, and does what it names, the first that applies first:
"hold" (wait until the rules change), "delay" (seconds), "errno" (fail; "count" times, else always), "short" (at most so many bytes).
{"count": true} answers {"reads": N, "waiting": N}: reads served or failed so far, reads that are held now.
With "direct_io" in a rule, files opened from then on bypass the page cache: short reads are seen by who reads. End of stdin unmounts.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import mfusepy


class Faults:
    """The rules, and what was met so far. Any thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.rules: list[dict[str, Any]] = []
        self.version = self.reads = self.waiting = 0

    def replace(self, rules: list[dict[str, Any]]) -> None:
        with self.changed:
            self.rules = rules
            self.version += 1
            self.changed.notify_all()

    def apply(self, path: str, offset: int, size: int) -> int:
        """Wait, fail, or say how many bytes to serve."""
        delay = 0.0
        with self.changed:
            self.reads += 1
            for rule in self.rules:
                begin = rule.get("offset", 0)
                if not path.endswith(rule.get("suffix", "")) or offset >= begin + rule.get("length", 1 << 62) or offset + size <= begin:
                    continue
                if rule.get("hold"):
                    version = self.version
                    self.waiting += 1
                    self.changed.wait_for(lambda version=version: self.version != version)
                    self.waiting -= 1
                    break
                delay = max(delay, rule.get("delay", 0.0))
                if "errno" in rule and rule.get("count", 1) > 0:
                    if "count" in rule:
                        rule["count"] -= 1
                    raise mfusepy.FuseOSError(rule["errno"])
                size = min(size, rule.get("short", size))
        if delay:
            time.sleep(delay)
        return size


class Passthrough(mfusepy.Operations):
    """The files of one folder, read-only."""

    use_ns = True

    def __init__(self, folder: str, faults: Faults) -> None:
        self.folder, self.faults = folder, faults

    def _real(self, path: str) -> str:
        return self.folder + path

    def init_with_config(self, conn_info: Any, config: Any) -> None:
        # What changes underneath is seen at once, and files keep their inode numbers, as on a disk.
        config.use_ino = 1
        config.entry_timeout = config.attr_timeout = config.negative_timeout = 0

    def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
        st = os.lstat(self._real(path))
        names = ("st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks")
        times = {f"st_{name}time": getattr(st, f"st_{name}time_ns") for name in "amc"}
        return {name: getattr(st, name) for name in names} | times

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, Any], int]]:
        # With attributes: entries without an inode number would count as deleted.
        return [(name, self.getattr(f"{path}/{name}"), 0) for name in (".", *os.listdir(self._real(path)))]

    def open(self, path: str, fi: Any) -> int:
        fi.fh = os.open(self._real(path), os.O_RDONLY)
        fi.direct_io = any(rule.get("direct_io") for rule in self.faults.rules)
        return 0

    def read(self, path: str, size: int, offset: int, fi: Any) -> bytes:
        return os.pread(fi.fh, self.faults.apply(path, offset, size), offset)

    def release(self, path: str, fi: Any) -> int:
        os.close(fi.fh)
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        st = os.statvfs(self._real(path))
        return {
            name: getattr(st, name)
            for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_namemax")
        }


def obey(faults: Faults, mountpoint: str) -> None:
    """Follow the lines of stdin; at their end, unmount, which ends the process."""
    while not os.path.ismount(mountpoint):
        time.sleep(0.01)
    print(json.dumps({"mounted": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if "rules" in command:
            faults.replace(command["rules"])
        with faults.changed:
            print(json.dumps({"reads": faults.reads, "waiting": faults.waiting}), flush=True)
    faults.replace([])
    os.system(f"umount -l '{mountpoint}'")


def main() -> None:
    folder, mountpoint = (str(Path(path).resolve()) for path in sys.argv[1:])
    faults = Faults()
    threading.Thread(target=obey, args=(faults, mountpoint), daemon=True).start()
    # A thread for each read that is held, and some more.
    mfusepy.FUSE(Passthrough(folder, faults), mountpoint, raw_fi=True, foreground=True, ro=True, fsname="headrace-faults", max_threads=300)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:  # What mfusepy raises with libfuse's exit status.
        sys.exit(f"cannot mount: {error} ({os.strerror(errno.EIO)})")
