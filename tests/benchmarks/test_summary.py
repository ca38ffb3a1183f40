"""The table that `make bench` draws, from rows made by hand."""

import pytest

pytest.importorskip("benchmarks", reason="the source distribution leaves the benchmarks out")

from benchmarks.rows import Row, append, read_rows
from benchmarks.summary import main, markdown, workload_cells

LIMIT = Row(
    name="ours / gather",
    workload="tabular",
    kind="limit",
    ratio=0.91,
    goal=0.85,
    limit="random gather",
    test="test_a",
    numbers={"our_samples_per_second": 5.9e6},
)
NEAR = Row(
    name="ours / spdl",
    workload="tabular",
    kind="peer",
    ratio=2.9,
    peer="SPDL",
    numbers={"our_samples_per_second": 6e6, "their_samples_per_second": 2.06e6},
)
FAR = Row(
    name="ours / lance",
    workload="tabular",
    kind="peer",
    ratio=66.0,
    peer="Lance",
    numbers={"our_samples_per_second": 6e6, "their_samples_per_second": 9.1e4},
)
RATELESS = Row(name="ours / a pool", workload="tabular", kind="peer", ratio=2.0, peer="a pool", numbers={"their_samples_per_second": 3e6})
COST = Row(name="slowdown of a step", workload="interference", kind="cost", ratio=1.041, goal=1.03, better="less", test="test_b")
FLAT = Row(name="open", workload="scale", kind="cost", ratio=3.0, unit="ms", numbers={"by_samples": {"1000": 2.0, "1000000": 2.1}})


def test_a_line_holds_the_limit_and_the_best_peer():
    (cells,) = workload_cells([FAR, LIMIT, NEAR])
    assert cells == (
        "tabular",
        "5.90 M samples/s",
        "random gather",
        "0.91x",
        ">= 0.85x",
        "SPDL",
        "2.90x",
        'make bench BENCH_ARGS="-k test_a"',
    )


def test_a_workload_without_a_limit_has_a_line_for_its_best_peer():
    (cells,) = workload_cells([FAR, NEAR])
    assert cells[:3] == ("tabular", "6.00 M samples/s", "")
    assert cells[5:7] == ("SPDL", "2.90x")


def test_costs_say_whether_they_meet_the_goal():
    assert (LIMIT.met, COST.met, FLAT.met) == (True, False, None)
    text = markdown([COST, FLAT])
    assert "| interference | slowdown of a step | 1.04x | <= 1.03x | no |" in text
    assert "| scale | open | 3 ms |  |  |" in text


def test_a_later_row_replaces_an_earlier_one(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    assert read_rows(path) == []
    for ratio in (0.5, 0.7):
        append(path, Row(name="a", workload="w", kind="cost", ratio=ratio))
    append(path, LIMIT)
    assert [(row.name, row.ratio) for row in read_rows(path)] == [("a", 0.7), ("ours / gather", 0.91)]
    assert read_rows(path)[1] == LIMIT


def test_tables_and_plots_are_drawn_from_whatever_rows_there_are(tmp_path, capsys):
    for row in (LIMIT, NEAR, FAR, RATELESS, COST, FLAT):
        append(tmp_path / "rows.jsonl", row)
    assert main([str(tmp_path)]) == 0
    assert "random gather" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["limits.png", "peers.png", "rows.jsonl", "scaling.png", "summary.md"]
    assert (tmp_path / "summary.md").read_text().count("\n## ") == 2


def test_without_rows_there_is_nothing_to_draw(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "run the benchmarks first" in capsys.readouterr().err
