import pytest

from tests.cli.command_line import headrace_command, write_samples

pytest.importorskip("torch")


def test_json_holds_every_loader_and_its_ceiling(tmp_path):
    path = write_samples(tmp_path / "d")
    outcome = headrace_command("bench", path, "--batch-size", "100", "--workers", "0,2", "--epochs", "2", "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.json
    assert (document["samples"], document["checked_samples"], document["batch_size"], document["order"]) == (1000, 1000, 100, "global")
    assert [result["num_workers"] for result in document["results"]] == [0, 2]
    for result in document["results"]:
        assert len(result["epoch_seconds"]) == 2
        assert result["samples_per_second"] > 0
        assert 0 <= result["stall_share"] <= 1
        assert result["time_to_first_batch_seconds"] > 0
        assert set(result["stages_seconds"]) == {"plan", "read", "verify", "decode", "assemble"}
    assert set(document["ceilings"]) == {"1", "2"}
    assert document["environment"]["versions"]["torch"]


def test_the_table_has_a_line_for_each_number_of_workers(tmp_path):
    path = write_samples(tmp_path / "d")
    outcome = headrace_command("bench", path, "--workers", "0,1", "--epochs", "1", "--order", "sequential")
    assert outcome.code == 0, outcome.err
    assert "1,000 samples, each delivered exactly once" in outcome.out
    lines = outcome.out.splitlines()
    title = next(number for number, line in enumerate(lines) if line.strip().startswith("workers"))
    assert [line.split()[0] for line in lines[title + 1 : title + 3]] == ["0", "1"]


def test_nonsense_is_refused(tmp_path):
    outcome = headrace_command("bench", write_samples(tmp_path / "d"), "--batch-size", "0")
    assert outcome.code == 2
    assert "argument --batch-size" in outcome.err
