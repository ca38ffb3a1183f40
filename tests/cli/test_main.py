import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest

from headrace.cli import main as main_module
from headrace.cli.main import main
from tests.cli.command_line import environment, headrace_command, headrace_python, write_samples

COMMANDS = ["convert", "info", "head", "verify", "gc", "bench", "demo"]
NESTED = [["bench", "loader"]]


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS), *([*names, "--help"] for names in NESTED)])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\nfrom headrace.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'numpy', 'torch', 'pandas', 'pyarrow', 'PIL', 'headrace._native'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: headrace" in done.stdout


def test_help_documents_every_exit_code():
    text = headrace_command("--help").out
    for line in ("0    done", "1    failed", "2    wrong usage, or the data is damaged", "130  interrupted"):
        assert line in text


def test_version_is_the_packages():
    from importlib.metadata import PackageNotFoundError, version

    try:
        expected = version("headrace")
    except PackageNotFoundError:
        expected = "(run from a source tree, not installed)"
    outcome = headrace_command("--version")
    assert (outcome.code, outcome.out) == (0, f"headrace {expected}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["head"],
        ["head", "x", "-n", "many"],
        ["info", "--version", "0", "x"],
        ["bench", "loader", "x", "--workers", "1,-1"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments):
    outcome = headrace_command(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "usage: headrace" in outcome.err


@pytest.mark.parametrize("command", ["info", "head", "verify", "bench loader"])
def test_a_missing_dataset_is_one_line_that_names_it(tmp_path, command):
    outcome = headrace_command(*command.split(), str(tmp_path / "nowhere"))
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err.startswith("headrace: error: ")
    assert len(outcome.err.splitlines()) == 1
    assert str(tmp_path / "nowhere") in outcome.err


def test_an_error_is_a_json_document_too(tmp_path):
    outcome = headrace_command("info", str(tmp_path / "nowhere"), "--json")
    assert outcome.code == 1
    assert outcome.json["error"]["type"] == "NotFoundError"
    assert str(tmp_path / "nowhere") in outcome.json["error"]["message"]


def test_tracebacks_are_for_those_who_ask(tmp_path):
    outcome = headrace_command("info", str(tmp_path / "nowhere"), HEADRACE_DEBUG="1")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("headrace: error: ")


def test_a_truncated_dataset_is_exit_code_2(tmp_path):
    path = write_samples(tmp_path / "d")
    shard = next((tmp_path / "d").glob("*.hrs"))
    os.truncate(shard, shard.stat().st_size - 1)
    outcome = headrace_command("info", path)
    assert outcome.code == 2
    assert shard.name in outcome.err


def test_a_reader_that_has_seen_enough_is_not_an_error(tmp_path):
    path = write_samples(tmp_path / "d")
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "head", path, "-n", "1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"sample 0\n"
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert errors == b""


def test_ctrl_c_is_exit_code_130(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "_run", interrupt)
    assert main(["info", "x"]) == 130
    assert capsys.readouterr().err == "headrace: interrupted\n"


def test_an_unforeseen_error_names_its_type(monkeypatch, capsys):
    import headrace.cli.info as info

    def fail(arguments, console):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(info, "run", fail)
    assert main(["info", "x"]) == 1
    assert capsys.readouterr().err == "headrace: error: ZeroDivisionError: division by zero (HEADRACE_DEBUG=1 shows where)\n"


def on_terminal(*arguments, **environ):
    """Standard output of a command that believes to write to a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "headrace", *arguments], stdout=slave, stderr=slave, env=environment(**environ))
    os.close(slave)
    parts = []
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux answers EIO when the last writer is gone
            break
        if not part:
            break
        parts.append(part)
    os.close(master)
    assert process.wait() == 0
    return b"".join(parts).decode()


def test_colour_is_for_terminals_without_no_color(tmp_path):
    path = write_samples(tmp_path / "d")
    assert "\x1b[" in on_terminal("info", path)
    assert "\x1b" not in on_terminal("info", path, NO_COLOR="1")
    assert "\x1b" not in on_terminal("info", path, TERM="dumb")
    assert "\x1b" not in headrace_command("info", path).out
    assert "\x1b[" in headrace_command("info", path, "--color", "always").out


def test_json_is_never_coloured_and_has_no_progress(tmp_path):
    path = write_samples(tmp_path / "d")
    text = on_terminal("verify", path, "--json")
    assert "\x1b" not in text
    assert json.loads(text)["ok"] is True


def test_closed_and_full_streams_are_no_crash(tmp_path):
    write_samples(tmp_path / "d", 10)
    command = f"{sys.executable} -m headrace"
    for redirected, code, err in (
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        (">/dev/full", 1, "headrace: error: [Errno 28]"),
        ("--json >/dev/full", 1, "headrace: error: [Errno 28]"),
    ):
        done = subprocess.run(
            ["sh", "-c", f"{command} info {tmp_path / 'd'} {redirected}"], check=False, capture_output=True, text=True, env=environment()
        )
        assert done.returncode == code, done.stderr
        assert err in done.stderr
        assert "Traceback" not in done.stderr


def test_paths_that_the_locale_cannot_read(tmp_path):
    """A name that is not UTF-8, and a locale that knows ASCII only: both give Python lone surrogates."""
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/d\xff")
    write_samples(odd, 10)
    accented = tmp_path / "é"
    write_samples(accented, 10)
    c_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for path, environ in ((odd, {}), (accented, c_locale)):
        for command in ("info", "head", "verify"):
            outcome = headrace_command(command, path, "--json", **environ)
            assert outcome.code == 0, outcome.err
            assert outcome.json
    assert headrace_command("info", odd + "x").err.startswith("headrace: error: [Errno 2]")
    assert "embedded null" in headrace_python(f"import headrace; headrace.open({str(tmp_path)!r} + '/d\\0x')").err


def test_names_cannot_steer_the_terminal(tmp_path):
    path = str(tmp_path / "a\n\x1b[31m")
    np.save(tmp_path / "a.npy", np.arange(10))
    for outcome in (headrace_command("convert", tmp_path / "a.npy", path, "--codec", "none"), headrace_command("verify", path)):
        assert outcome.code == 0
        assert r"a\n\x1b[31m: " in outcome.out
        assert outcome.out.count("\n") == 1


@pytest.mark.parametrize("value", ["abc", "-1", "0", "1.5", " 2", "99999999999999999999"])
def test_a_number_of_threads_that_makes_no_sense_is_an_error(tmp_path, value):
    write_samples(tmp_path / "d", 10)
    outcome = headrace_command("info", tmp_path / "d", HEADRACE_NUM_THREADS=value)
    assert outcome.code == 1
    assert f"HEADRACE_NUM_THREADS is {value!r}; expected a whole number from 1 to 1024" in outcome.err
    for sane in ("3", ""):
        assert headrace_command("info", tmp_path / "d", HEADRACE_NUM_THREADS=sane).code == 0


def test_what_headrace_says_by_a_type_error_is_a_message(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3, "V4"))
    outcome = headrace_command("convert", tmp_path / "a.npy", tmp_path / "d")
    assert outcome.code == 1
    assert outcome.err == (
        "headrace: error: field 'value': dtype |V4 cannot be stored; convert it to a number, date or string dtype with .astype(...)\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [["verify", "x", "--threads", "-1"], ["convert", "x", "y", "--threads", "many"], ["bench", "loader", "x", "--batch-size", "0"]],
)
def test_numbers_out_of_range_are_wrong_usage(arguments):
    outcome = headrace_command(*arguments)
    assert outcome.code == 2
    assert "expected a whole number from" in outcome.err


def test_ctrl_c_while_the_command_line_is_imported():
    code = (
        "import sys\nfrom importlib.abc import MetaPathFinder\nfrom headrace.__main__ import main\n"
        "class Interrupted(MetaPathFinder):\n    def find_spec(self, name, path, target=None):\n"
        "        if name == 'headrace.cli.main':\n            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\nsys.exit(main())"
    )
    outcome = headrace_python(code)
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "headrace: interrupted\n")
