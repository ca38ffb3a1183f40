"""The rule of conftest.py that CI relies on: with HEADRACE_STRICT_SKIPS=1, a skip that nobody allowed fails the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = {
    "allowed": "import pytest\n\ndef test_it():\n    pytest.skip('needs a GPU: torch sees none')\n",
    "call": "import pytest\n\ndef test_it():\n    pytest.skip('not today')\n",
    "mark": "import pytest\n\n@pytest.mark.skip(reason='not today')\ndef test_it():\n    pass\n",
    "module": "import pytest\npytest.importorskip('no_such_module')\n",
    "expected_failure": "import pytest\n\n@pytest.mark.xfail(reason='known')\ndef test_it():\n    assert False\n",
}


def run_pytest(folder: Path, source: str, strict: str) -> int:
    """Exit status of pytest on one file, with the repository's conftest.py."""
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_one.py").write_text(source + "\ndef test_passes():\n    pass\n")
    environment = {**os.environ, "HEADRACE_STRICT_SKIPS": strict, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, folder]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=False).returncode


@pytest.mark.parametrize(("kind", "strict_status"), [("allowed", 0), ("call", 1), ("mark", 1), ("module", 2), ("expected_failure", 0)])
def test_only_unexpected_skips_fail_a_strict_run(tmp_path, kind, strict_status):
    assert run_pytest(tmp_path, SKIPS[kind], strict="1") == strict_status


@pytest.mark.parametrize("kind", ["allowed", "call", "mark"])
def test_any_skip_passes_elsewhere(tmp_path, kind):
    assert run_pytest(tmp_path, SKIPS[kind], strict="0") == 0
