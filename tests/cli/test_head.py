import pytest

from tests.cli.command_line import headrace_command, sample_columns, write_samples


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("head") / "d")


def test_samples_are_shown_as_a_person_reads_them(dataset):
    outcome = headrace_command("head", dataset, "-n", "1", "--index", "3")
    assert outcome.code == 0
    pixels = sample_columns()["pixels"][3]
    assert outcome.out.splitlines() == [
        "sample 3",
        f"  pixels  uint8[3, 8, 8]    shape 3x8x8  min {pixels.min()}  mean {pixels.mean():.6g}  max {pixels.max()}",
        "  label   int64             3",
        "  age     float32           null",
        "  when    datetime64[m]     2013-01-01 05:18",
        '  name    string            "flight 3"',
        "  path    ragged int32[..]  [0, 1, 2]",
    ]


def test_json_holds_values(dataset):
    outcome = headrace_command("head", dataset, "-n", "2", "--index", "-2", "--fields", "label,age,name,path,when", "--json")
    first, second = outcome.json["samples"]
    assert (first["index"], second["index"]) == (998, 999)
    assert second["fields"] == {"label": 999, "age": 249.75, "name": "flight 999", "path": [0, 1, 2], "when": "2013-01-01T21:54"}
    assert list(second["fields"]) == ["label", "age", "name", "path", "when"]


def test_the_end_of_the_dataset_ends_the_list(dataset):
    assert [s["index"] for s in headrace_command("head", dataset, "--index", "998", "--json").json["samples"]] == [998, 999]
    assert headrace_command("head", dataset, "-n", "0", "--json").json == {"samples": []}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fields", "label,nothing"], "no field 'nothing'; the dataset has pixels, label, age, when, name, path"),
        (["--index", "1000"], "--index must be in [-1000, 1000), got 1000"),
        (["--index", "-1001"], "--index must be in [-1000, 1000), got -1001"),
        (["-n", "-1"], "-n must be in [0, 10000], got -1"),
    ],
)
def test_wrong_arguments_are_exit_code_2(dataset, arguments, message):
    outcome = headrace_command("head", dataset, *arguments)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"headrace: error: {message}\n")
