"""Settings that hold for every test; fixtures live beside the tests that use them.

With HEADRACE_STRICT_SKIPS=1, as CI runs, a skip fails unless its reason starts with a line of ALLOWED_SKIPS: a test that silently
stopped running is a defect like one that fails.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

# Reason prefix -> why such a skip is right on the machine that CI uses. Tests skip with these words.
ALLOWED_SKIPS = {
    "needs FUSE": "mounting takes root and /dev/fuse; with HEADRACE_REQUIRE_FAULTS=1 their absence fails",
    "needs a GPU": "CI machines have none; the tests run where torch sees one",
    "needs a filesystem with O_DIRECT": "overlay and tmpfs may refuse it",
    "needs huge pages": "the kernel may have none to give",
    "needs a mount": "a /dev/shm of one's own takes root and mount namespaces, which containers may refuse",
    "needs io_uring": "containers often forbid its system calls",
    "needs an unprivileged user": "CI runs as root, to which file permissions do not apply",
    "needs a browser": "a page is shown to a real one where it is installed; the parser checks it everywhere",
}

# A shell that starts a job in the background lets it ignore Ctrl-C, nohup the end of its terminal, and all that it starts would too: what tests
# interrupt must not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Machines are shared and slow at times: no example is judged by its duration, and a failure prints how to run it again.
settings.register_profile("headrace", deadline=None, print_blob=True)
settings.load_profile("headrace")


def unexpected_skip(reason: str, allowed: dict[str, str] = ALLOWED_SKIPS) -> bool:
    """Whether a skip with this reason must fail a strict run."""
    return not reason.removeprefix("Skipped: ").startswith(tuple(allowed))


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn an unexpected skip into a failure; expected failures (xfail) also report as skipped, and stay."""
    if os.environ.get("HEADRACE_STRICT_SKIPS") != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if unexpected_skip(reason):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nHEADRACE_STRICT_SKIPS=1: not a skip that tests/conftest.py allows"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Refuse unexpected skips of tests."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Refuse unexpected skips of whole modules."""
    report = yield
    _refuse_skip(report)
    return report
