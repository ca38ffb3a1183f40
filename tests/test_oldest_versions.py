"""The versions of `make test-oldest` are those of pyproject.toml's lower bounds."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
LINES = Path(__file__).with_name("oldest_versions.txt").read_text().splitlines()
PINS = {Requirement(line).name: line.partition("==")[2] for line in LINES if line and not line.startswith("#")}
# Held to one release line, and used by nobody but who works on headrace.
TOOLS = "dev"


def requirements() -> list[str]:
    """Each requirement of users and of tests, once."""
    extras = PROJECT["project"]["optional-dependencies"]
    lines = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"]]
    lines += [line for name, group in extras.items() if name != TOOLS for line in group]
    return sorted({line for line in lines if not line.startswith("headrace[")})


def test_a_version_is_written_once() -> None:
    names = [line.partition("==")[0] for line in LINES if line and not line.startswith("#")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("line", requirements())
def test_a_lower_bound_is_what_the_oldest_run_installs(line: str) -> None:
    requirement = Requirement(line)
    (bound,) = [entry for entry in requirement.specifier if entry.operator == ">="]
    # 8.2 is met by 8.2.0 or, where that has no wheel, by 8.2.1; not by 8.3.
    release = Version(bound.version).release
    assert Version(PINS[requirement.name]).release[: len(release)] == release
