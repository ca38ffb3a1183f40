"""Qualities of a user's loaders and models, as numbers with units.

| file | answers |
|---|---|
| `order` | how far an order is from a uniform permutation, and what it costs in reads |
| `parity` | whether two loaders deliver the same samples, and where they first differ |
| `model` | how good a model is on a dataset: metrics with intervals |
| `cross_validation`, `bootstrap` | how good what a way of fitting makes will be: folds, hold-out, nested folds; the .632+ bootstrap |
| `compare` | whether of two models one is better, and what the test can say |
| `bias` | whether training, validation and test come from one distribution |

`inference` runs a model, `predictions` checks what it said, `metrics`, `regression`, `intervals` and `curves` count it, `result` shows it.

Returns dataclasses, prints nothing.
"""

from __future__ import annotations

from headrace.evaluate.bias import Bias, bias
from headrace.evaluate.bootstrap import BootstrapEstimate, bootstrap
from headrace.evaluate.compare import Comparison, compare
from headrace.evaluate.cross_validation import CrossValidation, Fold, cross_validate, hold_out, nested
from headrace.evaluate.intervals import Interval
from headrace.evaluate.model import assess, model
from headrace.evaluate.order import OrderQuality, order
from headrace.evaluate.parity import Parity, parity
from headrace.evaluate.predictions import Predictions, predictions
from headrace.evaluate.result import Evaluation, Figure

__all__ = [
    "Bias",
    "BootstrapEstimate",
    "Comparison",
    "CrossValidation",
    "Evaluation",
    "Figure",
    "Fold",
    "Interval",
    "OrderQuality",
    "Parity",
    "Predictions",
    "assess",
    "bias",
    "bootstrap",
    "compare",
    "cross_validate",
    "hold_out",
    "model",
    "nested",
    "order",
    "parity",
    "predictions",
]
