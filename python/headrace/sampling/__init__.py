"""Who reads what, when: order, partition over ranks, position."""

from headrace.sampling.strata import StrataOrder, oversample, stratified_batches, undersample
from headrace.sampling.weighted import WeightedOrder, class_balanced, weighted

__all__ = ["StrataOrder", "WeightedOrder", "class_balanced", "oversample", "stratified_batches", "undersample", "weighted"]
