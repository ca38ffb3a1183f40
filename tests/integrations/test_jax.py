"""Batches of headrace.DataLoader as JAX arrays, through DLPack."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import headrace as hr


def test_a_training_step_in_jax_reads_from_the_engine(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=3, num_workers=2)
    weights = jax.numpy.zeros((4, 3))

    @jax.jit
    def step(weights: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
        def loss(weights: jax.Array) -> jax.Array:
            logits = jax.nn.log_softmax(batch["x"] @ weights)
            return -jax.numpy.take_along_axis(logits, batch["labels"][:, None], 1).mean()

        return weights - 0.1 * jax.grad(loss)(weights)

    seen = []
    for batch in loader:
        arrays = jax.tree.map(jax.dlpack.from_dlpack, batch)
        weights = step(weights, arrays)
        seen.append(arrays["id"])
    assert float(abs(weights).sum()) > 0
    # Kept arrays hold their memory: later batches did not overwrite them.
    expected = [batch["id"].tolist() for batch in hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=3)]
    assert [ids.tolist() for ids in seen] == expected
    assert loader.stats()["batches"] == 11


def test_arrays_share_the_batchs_memory(dataset: hr.Dataset) -> None:
    for batch in hr.DataLoader(dataset, batch_size=4, num_workers=1):
        array = jax.dlpack.from_dlpack(batch["x"])
        assert array.unsafe_buffer_pointer() == batch["x"].data_ptr()
        np.testing.assert_array_equal(np.asarray(array), batch["x"].numpy())


def test_each_process_reads_its_share(dataset: hr.Dataset) -> None:
    world: dict[str, Any] = {"rank": jax.process_index(), "world_size": jax.process_count()}
    loader = hr.DataLoader(dataset, batch_size=4, **world)
    assert (loader.partition.rank, loader.partition.world_size) == (0, 1)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    whole = [jax.make_array_from_process_local_data(sharding, batch["x"].numpy()) for batch in loader]
    assert sum(len(x) for x in whole) == 42
