"""Who reads what, when: order, partition over ranks, position."""

from headrace.sampling.weighted import WeightedOrder, class_balanced, weighted

__all__ = ["WeightedOrder", "class_balanced", "weighted"]
