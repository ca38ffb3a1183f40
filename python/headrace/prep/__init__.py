"""Preparation of datasets before training: new samples for classes that have few (`resample`)."""

from __future__ import annotations

from headrace.prep.resample import resample

__all__ = ["resample"]
