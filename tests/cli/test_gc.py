import os
import signal
import subprocess
import sys

import headrace
from tests.cli.command_line import headrace_command, headrace_python, write_samples

# Publishes two shards of two chunks, has a third under way, says so and waits.
WRITER = """
import os, sys, time, numpy, headrace
path, append = sys.argv[1], sys.argv[2] == "append"
with headrace.Writer(path, codec="none", chunk_samples=128, shard_bytes=2 * 128 * 128, append=append) as writer:
    writer.extend({"x": numpy.zeros((5 * 128, 128), numpy.uint8)})
    while writer._native.progress()["shards"] < 2 or not any(name.endswith(".tmp") for name in os.listdir(path)):
        time.sleep(0.01)
    print("ready", flush=True)
    sys.stdin.readline()
"""


def start_writer(path, mode="new"):
    process = subprocess.Popen([sys.executable, "-c", WRITER, path, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def end(process, number):
    process.send_signal(number)
    process.wait()
    process.stdin.close()
    process.stdout.close()


def temporaries(path):
    return sorted(name for name in os.listdir(path) if name.endswith(".tmp"))


def test_what_a_terminated_writer_left_is_listed_and_removed_with_force(tmp_path):
    path = str(tmp_path / "d")
    headrace.write(path, {"x": [[0] * 128] * 4}, schema=headrace.Schema([headrace.Field("x", "tensor", "uint8", (128,))]), codec="none")
    whole = set(os.listdir(path))
    end(start_writer(path, "append"), signal.SIGTERM)
    left = sorted(set(os.listdir(path)) - whole)
    assert len(left) == 3
    assert len(temporaries(path)) == 1
    sizes = {name: os.path.getsize(os.path.join(path, name)) for name in left}
    outcome = headrace_command("gc", path)
    assert (outcome.code, outcome.err) == (0, "")
    assert [line.split(", ")[0] for line in outcome.out.splitlines()[:3]] == [f"abandoned: {name}" for name in left]
    assert outcome.out.splitlines()[3].startswith(f"{path}: 3 files, ")
    assert outcome.out.endswith("; remove with --force\n")
    document = headrace_command("gc", path, "--json").json
    assert {entry["name"]: entry["bytes"] for entry in document["files"]} == sizes
    assert (document["removed"], document["writers"], document["uncertain"]) == (False, False, [])
    assert set(os.listdir(path)) == whole | set(left)
    outcome = headrace_command("gc", path, "--force")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.endswith(", removed\n")
    assert set(os.listdir(path)) == whole
    assert len(headrace.open(path)) == 4
    assert headrace_command("gc", path, "--force").out == f"{path}: nothing to remove\n"


def test_nothing_of_a_writer_at_work_is_touched(tmp_path):
    path = str(tmp_path / "d")
    living = start_writer(path)
    files = set(os.listdir(path))
    assert len(temporaries(path)) == 1
    outcome = headrace_command("gc", path, "--force")
    assert (outcome.code, outcome.out) == (0, f"{path}: nothing to remove\n")
    assert "a writer may be at work here" in outcome.err
    # Nor by a second writer of the same folder.
    second = headrace.Writer(path, codec="none")
    second.append({"x": 1})
    second._flush()
    assert set(os.listdir(path)) >= files
    second.abort()
    assert set(os.listdir(path)) == files
    living.communicate("\n")
    assert living.returncode == 0
    assert len(headrace.open(path)) == 5 * 128
    assert headrace_command("gc", path, "--force").out == f"{path}: nothing to remove\n"


def test_the_next_writer_removes_temporary_files_of_dead_ones(tmp_path):
    path = str(tmp_path / "d")
    end(start_writer(path), signal.SIGKILL)
    assert len(temporaries(path)) == 1
    headrace.write(path, {"x": [1, 2]})
    assert temporaries(path) == []
    assert headrace.open(path)[:]["x"].tolist() == [1, 2]


def test_a_writer_that_is_dropped_leaves_nothing(tmp_path):
    code = (
        f"import headrace; writer = headrace.Writer({str(tmp_path / 'a' / 'b')!r}, codec='none'); writer.append(dict(x=1)); writer._flush()"
    )
    assert headrace_python(f"{code}; del writer").code == 0
    assert os.listdir(tmp_path) == []
    assert headrace_python(code).code == 0
    assert os.listdir(tmp_path) == []


def test_a_dataset_without_remains_or_that_is_none(tmp_path):
    path = write_samples(tmp_path / "d")
    before = sorted(os.listdir(path))
    assert headrace_command("gc", path, "--force").out == f"{path}: nothing to remove\n"
    assert sorted(os.listdir(path)) == before
    outcome = headrace_command("gc", str(tmp_path / "none"))
    assert outcome.code == 1
    assert str(tmp_path / "none") in outcome.err


def test_a_damaged_manifest_is_named_and_nothing_removed(tmp_path):
    path = write_samples(tmp_path / "d")
    manifest = tmp_path / "d" / "manifest-0000000001.hrm"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    before = sorted(os.listdir(path))
    outcome = headrace_command("gc", path, "--force")
    assert outcome.code == 2
    assert manifest.name in outcome.err
    assert sorted(os.listdir(path)) == before
