import json

import numpy as np
import pytest

import headrace
from tests.cli.command_line import headrace_command


@pytest.fixture
def dataset(tmp_path):
    random = np.random.default_rng(0)
    for name, shift in (("a", 0.0), ("b", 1.0)):
        headrace.write(
            tmp_path / name,
            {
                "x": random.normal(shift, 1, 2000),
                "y": random.integers(0, 3, 2000),
                "t": ["even" if i % 2 == 0 else "odd" for i in range(2000)],
            },
        )
    return tmp_path


def test_the_table(dataset):
    outcome = headrace_command("profile", str(dataset / "a"), "--label", "t")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == f"{dataset / 'a'}: 2,000 samples, 3 fields"
    assert [line.split()[0] for line in lines[3:6]] == ["x", "y", "t"]
    assert "classes of t: even 50.0 %, odd 50.0 %; the most frequent has 1.00x the rows of the rarest" in lines


def test_json_and_files(dataset):
    files = [f"--{kind}={dataset / 'out'}.{ending}" for kind, ending in (("plot", "png"), ("parquet", "parquet"), ("csv", "csv"))]
    outcome = headrace_command("profile", str(dataset / "a"), "--json", *files)
    assert outcome.code == 0
    assert outcome.json == {"profile": headrace.profile(dataset / "a").to_dict()}
    assert (dataset / "out.png").read_bytes().startswith(b"\x89PNG")
    assert len((dataset / "out.csv").read_text().splitlines()) == 4
    assert (dataset / "out.parquet").stat().st_size > 0


def test_against_another(dataset):
    outcome = headrace_command("profile", str(dataset / "b"), "--against", str(dataset / "a"), "--fields", "x,t")
    assert outcome.code == 0
    assert f"{dataset / 'b'} (2,000 samples) against {dataset / 'a'} (2,000)" in outcome.out
    moved = outcome.out.splitlines()[-2].split()
    assert (moved[0], moved[2]) == ("x", "much")
    found = headrace_command("profile", str(dataset / "b"), "--against", str(dataset / "a"), "--json").json
    expected = headrace.drift(dataset / "a", dataset / "b").to_dict()
    assert found["drift"] == json.loads(json.dumps(expected))


def test_what_does_not_fit(dataset):
    outcome = headrace_command("profile", str(dataset / "a"), "--fields", "x,z")
    assert outcome.code == 2
    assert "has no field 'z'; it has x, y, t" in outcome.err
    assert headrace_command("profile", str(dataset / "none")).code == 1
    assert "rank_error is 2" in headrace_command("profile", str(dataset / "a"), "--rank-error", "2").err
