from types import SimpleNamespace

import numpy as np
import pytest

import headrace
from headrace.cli.bench_loader import _RESULT_COLUMNS, _result_cells
from headrace.report.table import table
from tests.cli.command_line import headrace_command, headrace_python, write_samples

pytest.importorskip("torch")


def test_json_holds_every_loader_and_its_ceiling(tmp_path):
    path = write_samples(tmp_path / "d")
    outcome = headrace_command("bench", "loader", path, "--batch-size", "100", "--workers", "0,2", "--epochs", "2", "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.json
    assert (document["samples"], document["checked_samples"], document["batch_size"], document["order"]) == (1000, 1000, 100, "global")
    assert [result["num_workers"] for result in document["results"]] == [0, 2]
    for result in document["results"]:
        assert len(result["epoch_seconds"]) == 2
        assert result["samples_per_second"] > 0
        assert 0 <= result["stall_share"] <= 1
        assert result["time_to_first_batch_seconds"] > 0
        assert set(result["stages_seconds"]) == {"plan", "read", "verify", "decode", "assemble", "images", "fields"}
    assert set(document["ceilings"]) == {"1", "2"}
    assert document["environment"]["versions"]["torch"]


def test_the_table_has_a_line_for_each_number_of_workers(tmp_path):
    path = write_samples(tmp_path / "d")
    outcome = headrace_command("bench", "loader", path, "--workers", "0,1", "--epochs", "1", "--order", "sequential")
    assert outcome.code == 0, outcome.err
    assert "1,000 samples, each delivered exactly once" in outcome.out
    lines = outcome.out.splitlines()
    title = next(number for number, line in enumerate(lines) if line.split()[:2] == ["loader", "workers"])
    assert [line.split()[:2] for line in lines[title + 1 : title + 3]] == [["headrace", "0"], ["headrace", "1"]]


def test_nonsense_is_refused(tmp_path):
    outcome = headrace_command("bench", "loader", write_samples(tmp_path / "d"), "--batch-size", "0")
    assert outcome.code == 2
    assert "argument --batch-size" in outcome.err


def test_rivals_and_an_accelerator_are_shown_and_drawn(tmp_path):
    path = write_numbers(tmp_path / "d")
    outcome = headrace_command(
        "bench",
        "loader",
        path,
        "--workers",
        "1",
        "--epochs",
        "1",
        "--against",
        "torch,numpy",
        "--compute-ms",
        "1",
        "--plot",
        tmp_path / "p.png",
    )
    assert outcome.code == 0, outcome.err
    assert "headrace / torch, each at its best:" in outcome.out
    assert "headrace / numpy, each at its best:" in outcome.out
    assert "utilisation" in outcome.out
    assert "memory copy" in outcome.out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_fits_eighty_columns():
    result = SimpleNamespace(
        name="torch-batched",
        num_workers=128,
        samples_per_second=88.88e6,
        limit_share=0.888,
        time_to_first_batch_seconds=88.8e-3,
        stall_share=0.9994,
        peak_private_bytes=888 << 20,
        cpu_seconds_per_gb=0.888,
        bytes_per_second=88.8e9,
        limit="memory copy",
        stages_seconds={},
        reader="mmap",
    )
    lines = table(_RESULT_COLUMNS, [_result_cells(result)], width=80).splitlines()
    assert max(map(len, lines)) <= 80
    for title in ("samples/s", "limit", "1st batch", "stall", "memory", "CPU s/GB"):
        assert title in lines[0]


def write_numbers(path):
    headrace.write(path, {"x": np.arange(8000, dtype=np.float32).reshape(2000, 4), "y": np.arange(2000)}, codec="none")
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--against", "torch,dali"], "expected some of torch, torch-batched, numpy with commas between them, got 'torch,dali'"),
        (["--compute-ms", "0"], "expected a number above 0, got '0'"),
        (["--compute-ms", "nan"], "expected a number above 0, got 'nan'"),
        (["--workers", "1,x"], "expected numbers from 0 on with commas between them, got '1,x'"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, options, message):
    outcome = headrace_command("bench", "loader", tmp_path, *options)
    assert outcome.code == 2
    assert message in outcome.err


def test_a_benchmark_must_be_named(tmp_path):
    outcome = headrace_command("bench", tmp_path)
    assert outcome.code == 2
    assert "choose from" in outcome.err
    assert "loader" in outcome.err


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from headrace.cli.main import main\n"
        f"sys.exit(main(['bench', 'loader', {str(tmp_path)!r}, '--plot', 'x.png']))"
    )
    outcome = headrace_python(code, cwd=tmp_path)
    assert outcome.code == 1
    assert "pip install 'headrace[plot]'" in outcome.err


@pytest.mark.parametrize("arguments", [["bench", "--json", "loader"], ["bench", "loader", "--json"]])
def test_output_options_may_stand_before_the_benchmarks_name(tmp_path, arguments):
    outcome = headrace_command(*arguments, tmp_path / "nowhere")
    assert outcome.code != 0
    assert "error" in outcome.json
