"""Where headrace keeps, between runs, what it may also find out anew."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return $HEADRACE_CACHE_DIR, $XDG_CACHE_HOME/headrace or ~/.cache/headrace; it need not be there. Raises RuntimeError where nobody knows a home."""
    named = os.environ.get("HEADRACE_CACHE_DIR")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "headrace"
