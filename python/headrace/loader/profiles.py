"""What tuning found for a dataset on this machine: one small JSON file each, below the user's cache directory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from headrace import _native
from headrace.datasets.cache_folder import cache_folder

__all__ = ["Profile", "automatic_workers", "load_profile", "machine_key", "profile_path", "save_profile"]

_VERSION = 1
_READERS = ("auto", "mmap", "pread", "direct", "uring")
_PARTIAL = ".profile-"
_ABANDONED_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Options of the best trial, and how much faster it was than the defaults, side by side."""

    machine: str  # machine_key()
    fingerprint: str  # of the dataset's version, in hexadecimal
    batch_size: int
    order: str
    num_workers: int
    prefetch_factor: int | None
    window: int | None  # None: the order has none
    reader: str
    ratio: float  # samples a second / those of the defaults, in the same trial
    samples_per_second: float
    trials: int

    def loader_options(self) -> dict[str, Any]:
        """For `headrace.DataLoader`."""
        options: dict[str, Any] = {"num_workers": self.num_workers, "prefetch_factor": self.prefetch_factor}
        return options if self.window is None else {**options, "order": self.order, "window": self.window}

    def open_options(self) -> dict[str, Any]:
        """For `headrace.open`."""
        return {"reader": self.reader}


def machine_key() -> str:
    """What a profile holds for: processor, usable threads and memory, not the machine's name."""
    what = (platform.machine(), _native.num_threads(), round(_native.available_memory_bytes() / 2**33), _cpu())
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


def profile_path(fingerprint: str, machine: str | None = None) -> Path:
    """Where the profile of a dataset lies, $HEADRACE_CACHE_DIR or $XDG_CACHE_HOME/headrace or ~/.cache/headrace; it need not be there.

    Raises OSError for a user without a home directory, where neither variable is set.
    """
    return cache_folder() / "profiles" / f"{machine or machine_key()}-{fingerprint}.json"


def save_profile(profile: Profile) -> Path:
    """Write it whole or not at all, in place of an older one. Raises OSError."""
    path = profile_path(profile.fingerprint, profile.machine)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_abandoned(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"version": _VERSION, **asdict(profile)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def _remove_abandoned(folder: Path) -> None:
    """What processes that were killed while they wrote left behind; nobody writes a profile for so long."""
    for partial in folder.glob(f"{_PARTIAL}*"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > _ABANDONED_SECONDS:
                partial.unlink()


def load_profile(native: _native.Dataset) -> Profile | None:
    """The profile of this dataset on this machine; None if there is none, or it is damaged or newer."""
    fingerprint = getattr(native, "fingerprint", 0)
    if not fingerprint:
        return None
    try:
        found = json.loads(profile_path(f"{fingerprint:016x}").read_text(encoding="utf-8"))
        if found.pop("version") != _VERSION:
            return None
        profile = Profile(**{field.name: found[field.name] for field in fields(Profile)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return profile if _makes_sense(profile) else None


def _makes_sense(profile: Profile) -> bool:
    """A file that somebody edited is no profile, rather than options that a loader refuses later."""
    whole = {"num_workers": (0, 1024), "prefetch_factor": (1, 1 << 16), "window": (1, 1 << 32), "batch_size": (1, 1 << 32)}
    for name, (least, most) in whole.items():
        value = getattr(profile, name)
        if value is None and name in ("prefetch_factor", "window"):
            continue
        if type(value) is not int or not least <= value <= most:
            return False
    rates = (profile.ratio, profile.samples_per_second)
    return profile.reader in _READERS and all(type(rate) in (int, float) and 0 <= rate < float("inf") for rate in rates)


def automatic_workers(native: _native.Dataset) -> int:
    """What num_workers="auto" comes to: as the dataset's profile says, else as many as the engine has threads for."""
    profile = load_profile(native)
    return profile.num_workers if profile is not None else _native.num_threads()
