import json
import os
import pty
import subprocess
import sys

import pytest

from headrace.cli import main as main_module
from headrace.cli.main import main
from tests.cli.command_line import environment, headrace_command, write_samples

COMMANDS = ["convert", "info", "head", "verify", "bench", "demo"]


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
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
    [[], ["nonsense"], ["head"], ["head", "x", "-n", "many"], ["info", "--version", "0", "x"], ["bench", "x", "--workers", "1,-1"]],
)
def test_wrong_usage_is_exit_code_2(arguments):
    outcome = headrace_command(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "usage: headrace" in outcome.err


@pytest.mark.parametrize("command", ["info", "head", "verify", "bench"])
def test_a_missing_dataset_is_one_line_that_names_it(tmp_path, command):
    outcome = headrace_command(command, str(tmp_path / "nowhere"))
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
