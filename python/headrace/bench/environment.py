"""The machine and the software that a measurement was taken with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

from headrace._native import build_info, num_threads

__all__ = ["environment"]

_PACKAGES = ("headrace", "numpy", "torch")


def environment() -> dict[str, Any]:
    """Cores, memory in bytes, kernel, load and versions; a value that this system does not tell is None. Imports none of the packages."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": _usable_cores(),
        "engine_threads": num_threads(),
        "memory_bytes": _memory_bytes(),
        "load_1_min": _load(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "transparent_huge_pages": _chosen(_first_line("/sys/kernel/mm/transparent_hugepage/enabled")),
        "python": platform.python_version(),
        "python_debug": hasattr(sys, "gettotalrefcount"),
        "versions": {name: _package_version(name) for name in _PACKAGES},
        "build": build_info(),
    }


def _usable_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").partition("\n")[0]
    except OSError:
        return None


def _chosen(line: str | None) -> str | None:
    """The word in brackets: "always [madvise] never" -> "madvise"."""
    return line.partition("[")[2].partition("]")[0] or line if line else line


def _cpu_model() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the portable name below
    return platform.processor() or None


def _package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
