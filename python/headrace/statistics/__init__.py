"""What batches of rows amount to: moments, quantiles, frequencies, distinct values, covariances. Counted natively, without the interpreter lock."""

from __future__ import annotations

from headrace.statistics.class_moments import ClassMoments, CoMoments
from headrace.statistics.distinct import Distinct
from headrace.statistics.frequencies import Frequencies
from headrace.statistics.moments import Moments
from headrace.statistics.quantiles import Quantiles

__all__ = ["ClassMoments", "CoMoments", "Distinct", "Frequencies", "Moments", "Quantiles"]
