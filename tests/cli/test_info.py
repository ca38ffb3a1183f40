import headrace
from tests.cli.command_line import headrace_command, sample_columns, write_samples


def test_json_describes_every_field(tmp_path):
    path = write_samples(tmp_path / "d", codec={"pixels": "none", "label": "zstd:3"})
    outcome = headrace_command("info", path, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    dataset = outcome.json["dataset"]
    assert (dataset["samples"], dataset["version"], dataset["versions"], dataset["container"]) == (1000, 1, [1], "dict")
    assert dataset["chunks"] == 8
    fields = {field["name"]: field for field in dataset["fields"]}
    assert list(fields) == list(sample_columns(1))
    pixels = fields["pixels"]
    assert (pixels["kind"], pixels["dtype"], pixels["shape"], pixels["codec"]) == ("tensor", "uint8", [3, 8, 8], "none")
    assert pixels["raw_bytes"] == 1000 * 192
    assert (fields["label"]["codec"], fields["label"]["level"]) == ("zstd", 3)
    assert (fields["label"]["min"], fields["label"]["max"]) == (0, 999)
    assert fields["label"]["ratio"] > 1
    assert (fields["age"]["nullable"], fields["age"]["null_count"], fields["age"]["max"]) == (True, 100, 249.75)
    assert (fields["when"]["min"], fields["when"]["max"]) == ("2013-01-01T05:15", "2013-01-01T21:54")
    assert fields["name"]["kind"] == "string"
    assert fields["name"]["dtype"] is None
    assert fields["name"]["null_count"] == 200
    assert sum(shard["num_samples"] for shard in dataset["shards"]) == 1000


def test_the_table_has_a_line_for_each_field(tmp_path):
    path = write_samples(tmp_path / "d", codec="none")
    text = headrace_command("info", path, "--shards").out
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert "uint8[3, 8, 8]" in lines["pixels"]
    assert "float32 or null" in lines["age"]
    assert "ragged int32[..]" in lines["path"]
    assert lines["samples"].split() == ["samples", "1,000"]
    assert "8 of 128 samples" in lines["chunks"]
    assert any(name.startswith("shard-") and name.endswith(".hrs") for name in lines)


def test_an_older_version_can_be_shown(tmp_path):
    path = write_samples(tmp_path / "d")
    headrace.write(path, sample_columns(10), append=True)
    assert headrace_command("info", path, "--json").json["dataset"]["samples"] == 1010
    old = headrace_command("info", path, "--version", "1", "--json").json["dataset"]
    assert (old["samples"], old["version"], old["versions"]) == (1000, 1, [1, 2])


def test_build_shows_what_the_extension_is():
    from headrace._native import build_info

    assert headrace_command("info", "--build", "--json").json["build"].keys() == build_info().keys()
    assert "zstd" in headrace_command("info", "--build").out


def test_nothing_to_show_is_wrong_usage():
    outcome = headrace_command("info")
    assert outcome.code == 2
    assert outcome.err == "headrace: error: give a dataset, or --build\n"


def test_an_empty_dataset_has_no_chunks(tmp_path):
    path = str(tmp_path / "d")
    headrace.write(path, {"x": []}, schema=headrace.Schema([headrace.Field("x", "tensor", "float32")]))
    outcome = headrace_command("info", path)
    assert (outcome.code, outcome.err) == (0, "")
    lines = {line.split()[0]: line.split()[1:] for line in outcome.out.splitlines() if line}
    assert (lines["samples"], lines["chunks"]) == (["0"], ["none"])
    assert lines["files"] == ["0", "B", "in", "0", "shards"]


def test_a_damaged_manifest_has_the_exit_code_of_damage(tmp_path):
    path = write_samples(tmp_path / "d")
    manifest = tmp_path / "d" / "manifest-0000000001.hrm"
    data = manifest.read_bytes()
    for command, at in (("info", 0), ("head", 7), ("verify", 3)):
        manifest.write_bytes(bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]]))
        outcome = headrace_command(command, path)
        assert outcome.code == 2
        assert "not a headrace manifest" in outcome.out + outcome.err
