"""Runs torchdata's own tests of StatefulDataLoader with headrace.DataLoader in its place, from a checkout that the caller has.

    python tests/public_suites/run.py CHECKOUT [FILE ...] [--peer] [--seconds N] [--list]

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
    parser.add_argument("-k", default="", help="as pytest's")
    arguments = parser.parse_args()
    suite = arguments.checkout / FOLDER
    files = arguments.files or sorted(path.stem for path in suite.glob("test_*.py"))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for path in suite.glob("*.py"):
            shutil.copy(path, folder)
        (Path(folder) / "in_place.py").write_text("" if arguments.peer else PLUGIN)
        for name in files:
            failed |= run(folder, name, arguments.seconds, arguments.k)
    return int(failed)


def run(folder: str, name: str, seconds: int, chosen: str) -> bool:
    """One file; whether something failed."""
    options = ["-q", "-p", "in_place", "-p", "no:randomly", "-W", "ignore", "--timeout", "120", "-rfE", "--tb", "line"]
    options += ["-k", chosen] if chosen else []
    environment = {**os.environ, "PYTHONPATH": folder, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pytest", f"{name}.py", "--rootdir", folder, "-c", os.devnull, *options]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        print(f"{name}: no end within {seconds} s")
        return True
    lines = done.stdout.splitlines()
    print(f"{name}: {lines[-1] if lines else done.stderr[-400:]}")
    for line in lines:
        if re.match(r"(FAILED|ERROR) ", line):
            print("   ", line[:220])
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
