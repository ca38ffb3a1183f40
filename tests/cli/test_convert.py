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


def test_types_and_names_of_csv_columns_can_be_given(tmp_path):
    (tmp_path / "a.csv").write_text("007,1\n008,2\n")
    target = str(tmp_path / "d")
    outcome = headrace_command(
        "convert", str(tmp_path / "a.csv"), target, "--column-names", "zip,n", "--column-types", "zip=string,n=uint8", "--codec", "none"
    )
    assert (outcome.code, outcome.err) == (0, "")
    dataset = headrace.open(target)
    assert [sample["zip"] for sample in dataset] == ["007", "008"]
    assert (dataset.schema.fields[1].dtype, dataset[:]["n"].tolist()) == ("uint8", [1, 2])


@pytest.mark.parametrize("types", ["n", "=int64", "n=", "n=int64,n=uint8", ""])
def test_types_that_make_no_sense_are_wrong_usage(tmp_path, types):
    outcome = headrace_command("convert", "a.csv", str(tmp_path / "d"), "--column-types", types)
    assert outcome.code == 2
    assert f"expected NAME=TYPE with commas between them, each name once, got {types!r}" in outcome.err


def test_errors_advise_options_that_this_command_has(tmp_path):
    def error(name, content, *options):
        (tmp_path / name).write_bytes(content)
        outcome = headrace_command("convert", str(tmp_path / name), str(tmp_path / "d"), *options)
        assert outcome.code in (1, 2)
        return outcome.err.strip()

    assert error("a.csv", b"x,x\n1,2\n").endswith("rename one, or pass --column-names")
    assert error("b.csv", b"x,\n1,2\n").endswith("choose the others with --fields A,B, or pass --column-names")
    assert error("c.csv", b"x\n\xe9\n").endswith("say --encoding (often latin-1 or cp1252), or --column-types x=binary to keep the bytes")
    assert error("d.csv", "x\n1\n".encode("utf-16")).endswith("say --encoding utf-16")
    assert error("e.csv", b"x\n1\n", "--encoding", "ascii", "--column-types", "y=int64").endswith(
        "--column-types names 'y', which is none of ['x']"
    )
    assert "--column-types gives 'x' the type 'int', which pyarrow does not know" in error("f.csv", b"x\n1\n", "--column-types", "x=int")
    assert "say --format (images, " in error("g.bin", b"x")
    (tmp_path / "o.npy").write_bytes(b"")
    np.save(tmp_path / "o.npy", np.array([None, {}], dtype=object), allow_pickle=True)
    pickled = headrace_command("convert", str(tmp_path / "o.npy"), str(tmp_path / "d"))
    assert "pass --allow-unsafe-types" in pickled.err
    np.save(tmp_path / "n.npy", np.arange(3))
    assert headrace_command("convert", str(tmp_path / "n.npy"), str(tmp_path / "d")).code == 0
    again = headrace_command("convert", str(tmp_path / "n.npy"), str(tmp_path / "d"), "--json")
    assert again.err.strip().endswith("remove it, or add to it with --append")
    assert again.json["error"]["message"].endswith("remove it, or add to it with --append")
