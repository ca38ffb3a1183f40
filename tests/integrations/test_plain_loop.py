"""A plain loop, in the environment in which the trainers are: what the README shows first."""

from __future__ import annotations

import torch

import headrace as hr


def test_a_loop_is_left_and_resumed_within_an_epoch(dataset: hr.Dataset) -> None:
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loader = hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=3, num_workers=2)
    whole = [batch["id"].tolist() for _ in range(2) for batch in loader]
    loader.set_epoch(0)
    seen, state = [], {}
    for epoch in range(2):
        loader.set_epoch(epoch)
        for batch in loader:
            torch.nn.functional.cross_entropy(model(batch["x"]), batch["labels"]).backward()
            optimizer.step()
            optimizer.zero_grad()
            seen.append(batch["id"].tolist())
            state = loader.state_dict()
            if len(seen) == 15:
                break
    again = hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=3)
    again.load_state_dict(state)
    for epoch in range(state["epoch"], 2):
        again.set_epoch(epoch)
        seen += [batch["id"].tolist() for batch in again]
    assert seen == whole
    assert again.stats()["batches"] == 7
