"""Where headrace keeps, between runs, what it may also find out anew."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return $HEADRACE_CACHE_DIR, $XDG_CACHE_HOME/headrace or ~/.cache/headrace; it need not be there.

    Raises OSError for a user without a home directory, as in some containers, where neither variable is set.
    """
    named = os.environ.get("HEADRACE_CACHE_DIR")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "headrace"
    try:
        return Path.home() / ".cache" / "headrace"
    except RuntimeError as error:
        raise OSError(f"there is no home directory to keep anything in ({error}); name one in HEADRACE_CACHE_DIR") from None
