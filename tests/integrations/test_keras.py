"""headrace.DataLoader inside Keras 3, on its torch backend."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

from typing import Any

import keras
import numpy as np
import torch

import headrace as hr
from headrace.integrations.keras import KeepPlace

OPTIONS: dict[str, Any] = {
    "seed": 7,
    "order": "window",
    "window": 2,
    "on_error": "skip",
    "max_errors": 3,
    "prefetch_bytes": 1 << 20,
    "num_workers": 2,
}


class Model(keras.Model):
    """Notes the first column of each batch that it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = keras.layers.Dense(3)
        self.seen: list[np.ndarray[Any, Any]] = []

    def call(self, x: torch.Tensor, training: bool = False) -> torch.Tensor:
        if training:
            self.seen.append(x[:, 0].detach().cpu().numpy())
        return self.layer(x)  # type: ignore[no-any-return]


def compiled() -> Model:
    keras.utils.set_random_seed(0)
    model = Model()
    model.compile(optimizer="sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_fit_evaluate_and_predict_read_from_the_engine_with_all_options(dataset: hr.Dataset) -> None:
    assert keras.backend.backend() == "torch"
    pairs = dataset.as_tuple("x", "labels")
    loader = hr.DataLoader(pairs, batch_size=4, shuffle=True, **OPTIONS)
    validation = hr.DataLoader(pairs, batch_size=8)
    model = compiled()
    history = model.fit(loader, epochs=2, validation_data=validation, callbacks=[KeepPlace(loader)], verbose=0)
    reference = hr.DataLoader(pairs, batch_size=4, shuffle=True, **OPTIONS)
    expected = [x[:, 0].numpy() for _ in range(2) for x, _ in reference]
    assert len(history.history["val_loss"]) == 2
    np.testing.assert_equal(model.seen, expected)
    assert {name: getattr(loader, name) for name in OPTIONS} == OPTIONS
    assert loader.stats()["batches"] == 22 + 1  # One to build the model.
    assert validation.stats()["batches"] == 12
    assert model.evaluate(validation, verbose=0) == history.history["val_loss"][-1]
    predicted = model.predict(validation, verbose=0)
    with torch.no_grad():
        np.testing.assert_allclose(predicted, model(torch.from_numpy(pairs[:][0])).cpu().numpy(), rtol=1e-5)


def test_a_callback_saves_where_the_loader_is_and_fit_goes_on_from_there(dataset: hr.Dataset) -> None:
    pairs = dataset.as_tuple("x", "labels")
    loader = hr.DataLoader(pairs, batch_size=4, shuffle=True, seed=3)
    whole = [x[:, 0].numpy() for _ in range(2) for x, _ in loader]
    loader.set_epoch(0)
    states = []
    save = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: states.append(loader.state_dict()))
    compiled().fit(loader, epochs=2, callbacks=[KeepPlace(loader), save], verbose=0)
    assert len(states) == 22
    again = hr.DataLoader(pairs, batch_size=4, shuffle=True, seed=3)
    again.load_state_dict(states[14])
    model = compiled()
    model.fit(again, epochs=1, callbacks=[KeepPlace(again)], verbose=0)
    np.testing.assert_equal(model.seen, whole[15:])
