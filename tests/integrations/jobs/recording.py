"""What the jobs write down, for the test to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def record(out: str, rank: int, value: Any) -> None:
    """Append a line to the rank's file; it is there even if the process is killed next."""
    with Path(out, f"rank{rank}.jsonl").open("a") as file:
        file.write(json.dumps(value) + "\n")
