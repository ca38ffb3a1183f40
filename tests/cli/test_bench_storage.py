"""`headrace bench storage` as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from headrace.bench.file_system import file_system_of
from headrace.cli.storage_output import _COLUMNS, _cells
from headrace.report.table import table
from tests.cli.command_line import environment, headrace_command, headrace_python

SHORT = ("--seconds", "0.05", "--fio", "off", "--depths", "1,4", "--block-sizes", "64KiB", "--readers", "pread,mmap")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(3 << 20))
    return path


RESULT_KEYS = {
    "pattern",
    "block_bytes",
    "reader",
    "threads",
    "depth",
    "served_by",
    "fallback",
    "bytes",
    "operations",
    "passes",
    "seconds",
    "bytes_per_second",
    "round_bytes_per_second",
    "operations_per_second",
    "latency_p50_seconds",
    "latency_p99_seconds",
    "latency_p999_seconds",
    "cpu_seconds_per_gb",
    "cpu_share",
    "proof",
    "reason",
    "device_bytes",
    "device_share",
    "process_device_bytes",
    "disk_bytes",
    "disk_reads",
    "disk_queue",
    "disk_busy_share",
    "resident_before",
    "resident_after",
    "fio_line",
    "fio_exact",
    "fio_remark",
    "fio",
    "fio_error",
    "fio_ratio",
    "binding",
}
KEYS = {
    "path",
    "kind",
    "kept",
    "files",
    "files_total",
    "file_bytes",
    "state",
    "seconds",
    "rounds",
    "seed",
    "file_system",
    "remark",
    "fio_path",
    "fio_version",
    "fio_absence",
    "fio_ratio",
    "memory_copy_bytes_per_second",
    "results",
    "best",
    "tainted",
    "unproven",
    "environment",
}


def test_json_has_what_was_promised(file):
    outcome = headrace_command("bench", "storage", file, *SHORT, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.json
    assert set(document) == KEYS
    assert len(document["results"]) == 2 * 2 * 2
    for result in document["results"]:
        assert set(result) == RESULT_KEYS
        assert result["proof"] in ("proven", "unproven")
        assert result["fio_line"].startswith("fio --name=headrace ")
    assert set(document["best"]) == {"sequential", "random", "random_operations"}
    assert document["fio_absence"] == "turned off"
    assert outcome.err == ""


def test_the_table_says_what_was_measured(file):
    outcome = headrace_command("bench", "storage", file, *SHORT)
    assert outcome.code == 0, outcome.err
    for words in ("sequential, blocks of 64 KiB", "random, blocks of 64 KiB", "best sequential: ", "best random: ", "most random reads: "):
        assert words in outcome.out
    assert outcome.out.count("fio --name=headrace ") == 4  # pread and mmap, whatever the depth, for each pattern
    assert "no figure of fio: it is turned off" in outcome.out
    assert "TAINTED" not in outcome.out


def test_a_tainted_run_says_so_and_exits_with_one(file):
    code = (
        "import sys\n"
        "from headrace.bench import file_system, storage, storage_point\n"
        "from headrace.bench.file_system import FileSystem\n"
        "disk = FileSystem(path='/', type='ext4', kind='device', device='', logical_block_bytes=512, model='')\n"
        "storage.file_system_of = lambda path: disk\n"
        "native = storage_point.read_benchmark\n"
        "storage_point.read_benchmark = lambda *a, **k: {**native(*a, **k), 'device_bytes': 0}\n"
        "from headrace.cli.main import main\n"
        "sys.exit(main(['bench', 'storage', *sys.argv[1:]]))"
    )
    arguments = [str(file), *SHORT, "--cold"]
    outcome = headrace_python(code.replace("sys.argv[1:]", repr(arguments)))
    assert outcome.code == 1
    assert "TAINTED: 8 of 8 points are not cold" in outcome.out
    assert "only 0 % of the bytes came from the device" in outcome.out
    as_json = headrace_python(code.replace("sys.argv[1:]", repr([*arguments, "--json"])))
    assert as_json.code == 1
    assert as_json.json["tainted"] == 8
    assert "8 of 8 points are tainted: only 0 %" in as_json.err
    assert as_json.json["best"] == {}


def test_a_directory_is_left_as_it_was(tmp_path):
    outcome = headrace_command("bench", "storage", tmp_path, *SHORT, "--size", "2MiB")
    assert outcome.code == 0, outcome.err
    assert "random bytes, removed" in outcome.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_ended_run_removes_its_file(tmp_path, number, code):
    arguments = [sys.executable, "-m", "headrace", "bench", "storage", str(tmp_path), "--size", "8MiB", "--seconds", "600", "--fio", "off"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment()) as running:
        while not any(tmp_path.iterdir()):
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.02)
        time.sleep(0.5)
        running.send_signal(number)
        assert running.wait() == code
        message = running.stderr.read()
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--block-sizes", "4q"], 2, "expected a size such as 4096"),
        (["--depths", "-1"], 2, "expected numbers from 1 on"),
        (["--readers", "dd"], 2, "expected some of mmap, pread, direct, uring"),
        (["--pattern", "backwards"], 2, "expected some of sequential, random"),
        (["--seconds", "-1"], 2, "expected a number above 0"),
        (["--cold", "--warm"], 2, "not allowed with argument"),
        (["--block-sizes", "1000", "--readers", "direct"], 1, "must be a multiple of 4096"),
        (["--block-sizes", "64MiB"], 1, "is larger than the largest file"),
        (["--warm", "--readers", "direct"], 1, "there is no warm run of them"),
        (["--size", "1MiB"], 1, "there is a file"),
    ],
)
def test_a_wrong_value_is_one_clear_error(file, options, code, message):
    if message == "must be a multiple of 4096" and file_system_of(file).kind == "memory":
        message = "is memory: nothing is ever cold there"
    outcome = headrace_command("bench", "storage", file, *options)
    assert outcome.code == code
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_a_path_that_is_not_there(tmp_path):
    outcome = headrace_command("bench", "storage", tmp_path / "absent", "--json")
    assert outcome.code == 1
    assert "no such file, dataset or directory" in outcome.json["error"]["message"]


def test_without_fio_there_is_a_plain_line(file):
    outcome = headrace_command("bench", "storage", file, *SHORT[:2], *SHORT[4:], PATH="/nowhere")
    assert outcome.code == 0, outcome.err
    assert "no figure of fio: it is not installed" in outcome.out


def test_a_plot_is_drawn(file, tmp_path):
    outcome = headrace_command("bench", "storage", file, *SHORT, "--plot", tmp_path / "p.png")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_is_refused_first(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from headrace.cli.main import main\n"
        f"sys.exit(main(['bench', 'storage', {str(tmp_path)!r}, '--plot', 'x.png']))"
    )
    outcome = headrace_python(code, cwd=tmp_path)
    assert outcome.code == 1
    assert "pip install 'headrace[plot]'" in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("proof", "binding", "shown"), [("tainted", "", "12.3 % TAINTED"), ("proven", "memory copy", "12.3 %")])
def test_the_tables_fit_eighty_columns(proof, binding, shown):
    wide = SimpleNamespace(
        depth=1024,
        threads=64,
        reader="direct",
        served_by="pread",
        fallback="refused",
        bytes_per_second=9.99e9,
        operations_per_second=888.8e3,
        latency_p50_seconds=88.8e-3,
        latency_p99_seconds=888.8e-6,
        latency_p999_seconds=88.8,
        device_share=0.1234,
        proof=proof,
        fio_ratio=12.34,
        binding=binding,
        round_bytes_per_second=[9.99e9],
        cpu_seconds_per_gb=1.234,
        fio=None,
        disk_queue=12.3,
        resident_before=0.12,
        resident_after=0.12,
    )
    cells = _cells(wide)
    lines = table(_COLUMNS, [[cells[column.title] for column in _COLUMNS]], width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert shown in lines[1]
    assert "pread*" in lines[1]
