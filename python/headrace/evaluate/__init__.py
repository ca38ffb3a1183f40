"""Qualities of a user's loaders, as numbers with units: how well an order mixes, whether two loaders deliver the same.

| file | answers |
|---|---|
| `order` | how far an order is from a uniform permutation, and what it costs in reads |
| `parity` | whether two loaders deliver the same samples, and where they first differ |

Returns dataclasses, prints nothing.
"""

from __future__ import annotations

from headrace.evaluate.order import OrderQuality, order
from headrace.evaluate.parity import Parity, parity

__all__ = ["OrderQuality", "Parity", "order", "parity"]
