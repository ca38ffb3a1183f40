import subprocess
import sys

import numpy as np

from headrace.bench.private_memory import PeakMemory, private_bytes

MIB = 1 << 20


def test_memory_that_is_held_counts_and_mapped_files_do_not(tmp_path):
    (tmp_path / "file").write_bytes(bytes(64 * MIB))
    before = private_bytes()
    held = np.ones(64 * MIB, np.uint8)
    assert 60 * MIB < private_bytes() - before < 80 * MIB
    mapped = np.memmap(tmp_path / "file", np.uint8, "r")
    assert int(mapped.sum()) == 0
    assert private_bytes() - before < 80 * MIB
    del held


def test_a_child_counts_with_its_parent():
    code = "x = b'1' * (64 << 20); print('ready', flush=True); input()"
    before = private_bytes()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        assert private_bytes() - before > 60 * MIB
        assert private_bytes(child.pid) > 60 * MIB
        child.communicate("\n")


def test_the_peak_stays_after_the_memory_went():
    memory = PeakMemory()
    held = np.ones(64 * MIB, np.uint8)
    memory.sample()
    del held
    memory.sample()
    assert 60 * MIB < memory.peak_bytes < 80 * MIB


def test_a_process_that_is_gone_has_no_figure():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert private_bytes(child.pid) is None
