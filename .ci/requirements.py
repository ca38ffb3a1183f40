"""Prints requirements from pyproject.toml, one a line: `build` for the build's own, `core` for the package's, else the extra of that name.

With them the package itself installs without isolation and without dependencies: a rebuild of the extension resolves nothing.
"""

import pathlib
import re
import sys
import tomllib


def expand(project: dict, group: str) -> list[str]:
    """Requirements of one group, with `headrace[extra]` replaced by that extra's."""
    lines = project["project"]["dependencies"] if group == "core" else project["project"]["optional-dependencies"][group]
    found = []
    for line in lines:
        own = re.fullmatch(r"headrace\[(.+)\]", line)
        found += [entry for name in own[1].split(",") for entry in expand(project, name.strip())] if own else [line]
    return found


def main(groups: list[str]) -> None:
    """Print each requirement once, in order."""
    project = tomllib.loads((pathlib.Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())
    lines = []
    for group in groups:
        lines += project["build-system"]["requires"] if group == "build" else expand(project, group)
    print("\n".join(dict.fromkeys(lines)))


if __name__ == "__main__":
    main(sys.argv[1:])
