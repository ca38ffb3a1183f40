"""fio's line for a point of ours, and what a recorded answer of fio says."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from headrace.bench.fio import FioCommand, FioError, fio_command, parse_fio, run_fio

# fio 3.33: --rw=randread --bs=4k --ioengine=io_uring --direct=1 --iodepth=32, cut to what is read.
RECORDED: dict[str, Any] = {
    "fio version": "fio-3.33",
    "jobs": [
        {
            "jobname": "x",
            "error": 0,
            "read": {
                "io_bytes": 126980096,
                "bw_bytes": 126726642,
                "iops": 30939.121756,
                "runtime": 1002,
                "total_ios": 31001,
                "clat_ns": {"min": 125246, "percentile": {"50.000000": 346112, "99.000000": 7962624, "99.900000": 11993088}},
            },
            "usr_cpu": 1.698302,
            "sys_cpu": 16.183816,
        }
    ],
}


def test_a_recorded_answer_is_parsed():
    answer = parse_fio("fio: a warning before the document\n" + json.dumps(RECORDED))
    assert (answer.bytes, answer.seconds, answer.bytes_per_second) == (126980096, 1.002, 126726642)
    assert answer.operations_per_second == 30939.121756
    assert answer.latency_p50_seconds == pytest.approx(346.112e-6)
    assert answer.latency_p99_seconds == pytest.approx(7.962624e-3)
    assert answer.latency_p999_seconds == pytest.approx(11.993088e-3)
    assert answer.cpu_seconds == pytest.approx(0.17882118 * 1.002)


def test_whole_reads_are_preferred_to_their_completion():
    read = RECORDED["jobs"][0]["read"] | {"lat_ns": {"mean": 1.0, "percentile": {"50.000000": 360000}}}
    assert parse_fio(json.dumps({"jobs": [{**RECORDED["jobs"][0], "read": read}]})).latency_p50_seconds == pytest.approx(360e-6)


def test_jobs_are_summed_but_not_their_percentiles():
    answer = parse_fio(json.dumps({"jobs": RECORDED["jobs"] * 2}))
    assert answer.bytes == 2 * 126980096
    assert answer.seconds == 1.002
    assert answer.latency_p50_seconds is None


def test_a_document_without_percentiles_is_no_error():
    job = {**RECORDED["jobs"][0], "read": {k: v for k, v in RECORDED["jobs"][0]["read"].items() if k != "clat_ns"}}
    assert parse_fio(json.dumps({"jobs": [job]})).latency_p99_seconds is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not the JSON"),
        ("{", "not the JSON"),
        ("{}", "not the JSON"),
        ('{"jobs": []}', "not the JSON"),
        ('{"jobs": [{"read": {}}]}', "not the JSON"),
        ('{"jobs": 3}', "not the JSON"),
        (json.dumps({"jobs": [{**RECORDED["jobs"][0], "error": 5}]}), "job x failed with error 5"),
    ],
)
def test_other_answers_are_refused(text, words):
    with pytest.raises(FioError, match=words):
        parse_fio(text)


def line(**changes: Any) -> FioCommand:
    facts: dict[str, Any] = {
        "reader": "direct",
        "pattern": "random",
        "block_bytes": 4096,
        "depth": 32,
        "threads": 1,
        "seconds": 1.5,
        "loop": True,
        "warm": False,
        "file_bytes": 1 << 30,
    }
    command = fio_command([Path("/data/a b")], **{**facts, **changes})
    assert command is not None
    return command


def test_the_line_says_what_ours_does():
    command = line()
    assert command.exact
    assert command.remark == ""
    assert shlex.split(command.line) == list(command.arguments)
    wanted = {"--filename=/data/a b", "--readonly", "--rw=randread", "--bs=4096", "--ioengine=io_uring", "--direct=1", "--iodepth=32"}
    assert wanted | {"--runtime=1500ms", "--time_based", "--invalidate=1", "--output-format=json"} <= set(command.arguments)


def test_buffered_cold_runs_end_with_the_file():
    command = line(reader="uring", loop=False, pattern="sequential")
    assert command.exact
    assert {"--direct=0", "--rw=read"} <= set(command.arguments)
    assert "--time_based" not in command.arguments


def test_warm_runs_keep_the_cache():
    assert "--invalidate=0" in line(reader="uring", warm=True).arguments


@pytest.mark.parametrize(
    ("changes", "engine", "exact"),
    [
        ({"reader": "pread", "depth": 1}, "psync", True),
        ({"reader": "pread", "depth": 8}, "psync", False),
        ({"reader": "mmap", "depth": 1}, "mmap", False),
        ({"reader": "uring", "threads": 2}, "io_uring", False),  # two jobs would read the same blocks, the second from memory
        ({"reader": "direct", "threads": 2}, "io_uring", True),
    ],
)
def test_what_fio_cannot_do_alike_is_said(changes, engine, exact):
    command = line(**changes)
    assert f"--ioengine={engine}" in command.arguments
    assert command.exact == exact
    assert exact or command.remark != ""


def test_sequential_jobs_read_a_part_each():
    command = line(pattern="sequential", threads=3, block_bytes=1 << 20)
    part = (1 << 30) // 3 >> 20 << 20
    assert {"--numjobs=3", "--group_reporting", f"--size={part}", f"--offset_increment={part}"} <= set(command.arguments)


def test_names_are_escaped_and_their_number_is_limited():
    command = fio_command(
        [Path("/a:b"), Path("/c\\d")],
        reader="direct",
        pattern="sequential",
        block_bytes=4096,
        depth=1,
        threads=1,
        seconds=1,
        loop=True,
        warm=False,
    )
    assert command is not None
    assert r"--filename=/a\:b:/c\\d" in command.arguments
    many = [Path("/" + "x" * 200)] * 30
    facts = {"reader": "direct", "pattern": "random", "block_bytes": 4096, "depth": 1, "threads": 1, "seconds": 1}
    assert fio_command(many, **facts, loop=True, warm=False) is None


def test_a_fio_that_fails_is_an_error(tmp_path):
    program = tmp_path / "fio"
    program.write_text("#!/bin/sh\necho 'fio: engine io_uring not loadable' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(FioError, match="exit code 1: fio: engine io_uring not loadable"):
        run_fio(line(), str(program), seconds=0.1)
    with pytest.raises(FioError, match="nowhere"):
        run_fio(line(), str(tmp_path / "nowhere"), seconds=0.1)


def test_the_answer_of_a_program_is_read(tmp_path):
    program = tmp_path / "fio"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{json.dumps(RECORDED)}\nE\n")
    program.chmod(0o755)
    assert run_fio(line(), str(program), seconds=0.1).bytes == 126980096
