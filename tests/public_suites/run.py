"""Runs torchdata's own tests of StatefulDataLoader with headrace.DataLoader in its place, from a checkout that the caller has.

    python tests/public_suites/run.py CHECKOUT [FILE ...] [--peer] [--seconds N] [--limit N] [-k WORDS] [-n PROCESSES]

CHECKOUT: of github.com/meta-pytorch/data. FILE: names in its test/stateful_dataloader (default: all). --peer: with torchdata's loader, to compare.
Prints passed and failed for each file, and the names of what failed. Exit status 1 if something failed. Needs torchdata, expecttest, parameterized.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = "test/stateful_dataloader"
# torchdata's class is asked for once before it is replaced, since headrace runs Python datasets on it.
PLUGIN = """
import warnings
warnings.simplefilter("ignore")
import torchdata.stateful_dataloader as home
from headrace.loader import python_engine
python_engine._stateful_loader()
import headrace
home.StatefulDataLoader = headrace.DataLoader
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--seconds", type=int, default=600, help="for one file")
    parser.add_argument("--limit", default="120", help="seconds for one test")
    parser.add_argument("-k", default="", help="as pytest's")
    parser.add_argument("-n", default="0", help="as xdist's")
    arguments = parser.parse_args()
    suite = arguments.checkout / FOLDER
    files = arguments.files or sorted(path.stem for path in suite.glob("test_*.py"))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for path in suite.glob("*.py"):
            shutil.copy(path, folder)
        (Path(folder) / "in_place.py").write_text("" if arguments.peer else PLUGIN)
        for name in files:
            failed |= run(folder, name, arguments)
    return int(failed)


def run(folder: str, name: str, arguments: argparse.Namespace) -> bool:
    """One file; whether something failed."""
    options = ["-v", "-p", "in_place", "-W", "ignore", "--timeout", arguments.limit, "--tb", "line", "-n", arguments.n]
    options += ["-k", arguments.k] if arguments.k else []
    environment = {**os.environ, "PYTHONPATH": folder, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pytest", f"{name}.py", "--rootdir", folder, "-c", os.devnull, *options]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=arguments.seconds, check=False)
        text, ended = done.stdout, f"exit status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        text, ended = (error.stdout or b"").decode(), f"stopped after {arguments.seconds} s"
    # Written beside the test's name as it ends, before it by xdist, and again in the summary.
    words = "PASSED|FAILED|SKIPPED|ERROR"
    verdicts = {
        name or other: verdict or before for name, verdict, before, other in re.findall(rf"(\S+::\S+) ({words})|({words}) (\S+::\S+)", text)
    }
    counts = {word: list(verdicts.values()).count(word) for word in ("PASSED", "FAILED", "ERROR", "SKIPPED")}
    print(f"{name}: {', '.join(f'{count} {word.lower()}' for word, count in counts.items())}; {ended}", flush=True)
    for test in sorted(test for test, verdict in verdicts.items() if verdict in ("FAILED", "ERROR")):
        print("   ", test, flush=True)
    return counts["FAILED"] + counts["ERROR"] > 0


if __name__ == "__main__":
    sys.exit(main())
