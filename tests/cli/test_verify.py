import pytest

import headrace
from headrace.cli.verify import describe_damage
from tests.cli.command_line import headrace_command, sample_columns, write_samples


def flip_byte(path, offset):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


def test_a_whole_dataset_is_ok(tmp_path):
    path = write_samples(tmp_path / "d")
    outcome = headrace_command("verify", path)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{path}: ok, 1,000 samples, 8 chunks, ")
    document = headrace_command("verify", path, "--json", "--decode").json
    assert (document["ok"], document["samples"], document["chunks"], document["damages"], document["decoded"]) == (True, 1000, 8, [], True)
    assert document["bytes"] >= sum(file.stat().st_size for file in (tmp_path / "d").glob("*.hrs"))


def test_each_damage_is_printed_and_the_exit_code_is_2(tmp_path):
    path = write_samples(tmp_path / "d", codec="none")
    shard = next((tmp_path / "d").glob("*.hrs"))
    # The first chunk starts at 4096 with the table of field 0 (pixels); its values follow. Two chunks are damaged.
    flip_byte(shard, 4096 + 2048)
    flip_byte(shard, shard.stat().st_size // 2)
    outcome = headrace_command("verify", path)
    assert outcome.code == 2
    damaged = [line for line in outcome.out.splitlines() if line.startswith("damaged: ")]
    assert len(damaged) == 2
    assert all(shard.name in line for line in damaged)
    assert "2 damages found" in outcome.out
    document = headrace_command("verify", path, "--json")
    assert document.code == 2
    damages = document.json["damages"]
    assert document.json["ok"] is False
    assert (damages[0]["field"], damages[0]["chunk"]) == ("pixels", 0)
    assert damages[0]["offset"] <= 4096 + 2048 < damages[0]["offset"] + damages[0]["bytes"]


def test_one_shard_can_be_checked(tmp_path):
    write_samples(tmp_path / "d")
    shard = next((tmp_path / "d").glob("*.hrs"))
    assert headrace_command("verify", str(shard), "--json").json["samples"] == 1000


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (
            {"path": "s.hrs", "chunk": 3, "field": "x", "offset": 10, "bytes": 5, "message": "block: expected 1, found 2"},
            "s.hrs, chunk 3, field x, bytes [10, 15): block: expected 1, found 2",
        ),
        ({"path": "s.hrs", "chunk": -1, "field": "", "offset": 0, "bytes": 0, "message": "s.hrs: no footer"}, "s.hrs: no footer"),
    ],
)
def test_a_damage_names_its_place_once(damage, text):
    assert describe_damage(damage) == text


def test_older_versions_are_checked_too_unless_one_is_named(tmp_path):
    path = write_samples(tmp_path / "d", rows=10)
    headrace.write(path, sample_columns(5), append=True)
    assert headrace_command("verify", path, "--json").json["samples"] == 15
    assert headrace_command("verify", path, "--json", "--version", "1").json["samples"] == 10
    flip_byte(tmp_path / "d" / "manifest-0000000001.hrm", 70)
    outcome = headrace_command("verify", path)
    assert outcome.code == 2
    assert "manifest-0000000001.hrm" in outcome.out
    assert "1 damage found" in outcome.out
    assert headrace_command("verify", path, "--version", "2").code == 0


@pytest.mark.parametrize("version", [-1, 0, 1 << 64, "1", 1.0, True])
def test_a_version_that_cannot_be_is_refused(tmp_path, version):
    path = write_samples(tmp_path / "d", rows=10)
    with pytest.raises(ValueError, match=r"version is .*; expected a number from 1 on, or None for all"):
        headrace.verify(path, version)
    assert headrace.verify(path, 1)["samples"] == 10
