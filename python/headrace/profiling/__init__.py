"""What a dataset's fields hold, in one pass: `headrace.profile`, `headrace.drift` and the command `headrace profile`."""

from __future__ import annotations

from headrace.profiling.drift import Drift, FieldDrift, drift
from headrace.profiling.profile import Profile, profile
from headrace.profiling.summary import FieldProfile, Histogram

__all__ = ["Drift", "FieldDrift", "FieldProfile", "Histogram", "Profile", "drift", "profile"]
