"""Where files live: mounts from text of the kernel's own form."""

from __future__ import annotations

import pytest

from headrace.bench.file_system import file_system_of, parse_mounts

MOUNTS = """\
20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/none rw
21 20 0:5 / /dev/shm rw - tmpfs tmpfs rw
22 20 0:40 / /mnt/a\\040b rw shared:7 master:2 - nfs4 server:/x rw
23 20 0:41 / /mnt/over rw - overlay overlay rw
24 20 0:42 / /mnt/fuse rw - fuse.sshfs host: rw
25 20 0:43 / /mnt/ntfs rw - fuseblk /dev/none2 rw
26 20 0:44 / /mnt/pool rw - zfs pool rw
27 20 0:45 / /mnt/a\\040b rw - 9p later rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "type_name"),
    [
        ("/dev/shm/x/y", "memory", "tmpfs"),
        ("/mnt/a b/file", "network", "9p"),  # mounted over the first
        ("/mnt/over/file", "overlay", "overlay"),
        ("/mnt/overt", "other", "ext4"),  # of /, whose device does not exist here
        ("/mnt/fuse", "fuse", "fuse.sshfs"),
        ("/mnt/ntfs/f", "fuse", "fuseblk"),
        ("/mnt/pool/f", "other", "zfs"),
    ],
)
def test_kinds(path, kind, type_name):
    mounts = MOUNTS.replace("254:0", "9999:0")
    found = file_system_of(path, mounts=mounts)
    assert (found.kind, found.type) == (kind, type_name)
    assert found.remark != ""
    assert not found.counted


def test_nothing_known_is_said():
    found = file_system_of("/x", mounts="")
    assert (found.kind, found.type, found.device) == ("other", "", "")
    assert "not known" in found.remark


def test_lines_that_are_no_mounts_are_left_out():
    assert parse_mounts("garbage\n1 2 - \n") == []
    assert parse_mounts(MOUNTS)[2] == ("0:40", "/mnt/a b", "nfs4", "server:/x")


def test_this_machine(tmp_path):
    found = file_system_of(tmp_path)
    assert found.type != ""
    assert found.kind in ("device", "compressing", "overlay", "memory", "network", "fuse", "other")
    if found.kind == "device":
        assert found.logical_block_bytes in (512, 4096)
