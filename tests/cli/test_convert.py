import numpy as np
import pytest

import headrace
from tests.cli.command_line import headrace_command


@pytest.fixture
def arrays(tmp_path):
    source = tmp_path / "source.npz"
    np.savez(source, x=np.arange(3000, dtype=np.float32).reshape(1000, 3), y=np.arange(1000))
    return source


def test_a_summary_line_says_what_was_written(arrays, tmp_path):
    target = tmp_path / "d"
    outcome = headrace_command("convert", str(arrays), str(target), "--codec", "none")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{target}: 1,000 samples, 19.5 KiB -> ")
    dataset = headrace.open(target)
    assert dataset[999]["x"].tolist() == [2997.0, 2998.0, 2999.0]
    assert dataset[999]["y"] == 999


def test_json_holds_the_same(arrays, tmp_path):
    summary = headrace_command("convert", str(arrays), str(tmp_path / "d"), "--codec", "zstd", "--json").json
    assert (summary["samples"], summary["fields"], summary["raw_bytes"], summary["version"]) == (1000, ["x", "y"], 20_000, 1)
    assert summary["ratio"] == summary["raw_bytes"] / summary["stored_bytes"]
    assert headrace.open(tmp_path / "d").schema.fields[1].codec == "zstd"


def test_what_auto_chose_is_explained(arrays, tmp_path):
    outcome = headrace_command("convert", str(arrays), str(tmp_path / "d"))
    lines = outcome.out.splitlines()
    assert lines[1] == "How fields are stored, by trying codecs on the first values:"
    assert [line.split()[0] for line in lines[2:]] == ["x", "y"]
    assert "x smaller, decoded at" in lines[3]
    summary = headrace_command("convert", str(arrays), str(tmp_path / "json"), "--json").json
    assert [choice["field"] for choice in summary["choices"]] == ["x", "y"]
    assert summary["choices"][1]["trials"][0]["codec"] == "none"
    assert headrace_command("convert", str(arrays), str(tmp_path / "named"), "--codec", "lz4").out.count("\n") == 1


def test_a_target_that_exists_is_left_alone(arrays, tmp_path):
    target = str(tmp_path / "d")
    assert headrace_command("convert", str(arrays), target).code == 0
    before = sorted(file.name for file in (tmp_path / "d").iterdir())
    outcome = headrace_command("convert", str(arrays), target)
    assert outcome.code == 1
    assert target in outcome.err
    assert sorted(file.name for file in (tmp_path / "d").iterdir()) == before


def test_a_missing_source_is_named(tmp_path):
    outcome = headrace_command("convert", str(tmp_path / "none.npy"), str(tmp_path / "d"))
    assert outcome.code == 1
    assert "none.npy" in outcome.err
    assert not (tmp_path / "d").exists()
