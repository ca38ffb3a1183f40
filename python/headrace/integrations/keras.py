"""Keras 3: a callback that lets `fit()` begin where the loader is."""

from __future__ import annotations

from typing import Any

import keras

from headrace.loader.loader import DataLoader

__all__ = ["KeepPlace"]


class KeepPlace(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Begins `model.fit(loader, callbacks=[KeepPlace(loader)])` at the place that the loader has when this is made.

    Keras takes a batch in order to build model, loss and metrics, and then starts over: the loader would count that as an epoch that was left, and what
    remained of an epoch after load_state_dict() would be lost. Raises TypeError for a loader that the native engine does not serve.
    """

    def __init__(self, loader: DataLoader) -> None:
        super().__init__()
        self._loader = loader
        self._place = loader.state_dict()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Called after the model is built, before the first step."""
        self._loader.load_state_dict(self._place)
