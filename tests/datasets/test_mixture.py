"""hr.mix: several datasets read as one, in their shares; on disk, in memory, as sequences; resumed, pickled, cut among ranks."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headrace as hr
from tests.loader.samples import damage, numbered

A, B = 60, 20


def ids(start: int, count: int) -> np.ndarray[Any, Any]:
    return np.arange(start, start + count)


def columns(start: int, count: int) -> dict[str, Any]:
    return {"id": ids(start, count), "text": [f"sample {i}" for i in ids(start, count)]}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> list[hr.Dataset]:
    """60 raw samples from 0 on, 20 compressed ones from 1000 on."""
    path = tmp_path_factory.mktemp("mix")
    hr.write(path / "a", columns(0, A), codec="none", chunk_samples=8)
    hr.write(path / "b", columns(1000, B), codec="zstd", chunk_samples=16)
    return [hr.open(path / "a"), hr.open(path / "b")]


def arrays() -> list[hr.ArrayDataset]:
    return [hr.from_arrays({"id": ids(0, A)}), hr.from_arrays({"id": ids(1000, B + 5)}, rows=np.arange(B))]


@pytest.fixture(params=["stored", "arrays", "tensors"])
def sources(request: pytest.FixtureRequest, stored: list[hr.Dataset]) -> list[Any]:
    if request.param == "tensors":
        return [hr.from_arrays({"id": torch.arange(A)}), hr.from_arrays({"id": torch.arange(1000, 1000 + B)})]
    return stored if request.param == "stored" else arrays()


def seen(loader: Any) -> list[list[int]]:
    return [batch["id"].tolist() for batch in loader]


def flat(batches: list[list[int]]) -> list[int]:
    return [i for batch in batches for i in batch]


def number_of(index: int) -> int:
    """The id of a sample of the mixture."""
    return index if index < A else 1000 + index - A


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
def test_batches_are_the_orders_samples_for_any_number_of_threads(sources: list[Any], workers: int) -> None:
    mixture = hr.mix(sources, weights=[1, 3], num_samples=1024)
    loader = hr.DataLoader(mixture, 50, seed=7, num_workers=workers)
    for epoch in range(2):
        expected = [number_of(i) for i in mixture.mixed.indices(seed=7, epoch=epoch)]
        assert flat(seen(loader)) == expected
        assert sum(i >= 1000 for i in expected) == 768
    assert len(loader) == 21
    assert list(loader.sampler)[:3] == mixture.mixed.indices(0, 3, seed=7, epoch=1).tolist()
    assert [mixture[i]["id"] for i in (0, A, -1)] == [0, 1000, 1000 + B - 1]
    assert len(mixture) == A + B


def test_without_weights_each_sample_comes_once(sources: list[Any]) -> None:
    loader = hr.DataLoader(hr.mix(sources), 9)
    for _ in range(2):
        assert sorted(flat(seen(loader))) == [*ids(0, A), *ids(1000, B)]


def test_ranks_cut_the_same_global_batches_and_every_step_resumes(sources: list[Any]) -> None:
    mixture = hr.mix(sources, weights=[1, 1], num_samples=200)
    whole = seen(hr.DataLoader(mixture, 20, seed=1))
    ranks = [hr.DataLoader(mixture, 5, seed=1, rank=rank, world_size=4, num_workers=2) for rank in range(4)]
    for step, parts in enumerate(zip(*[seen(loader) for loader in ranks], strict=True)):
        assert flat(list(parts)) == whole[step]
        assert flat([loader.replay(step, 0)["id"].tolist() for loader in ranks]) == whole[step]
    loader = hr.DataLoader(mixture, 20, seed=1)
    iterator = iter(loader)
    for step in range(9):
        next(iterator)
        again = hr.DataLoader(hr.mix(sources, weights=[1, 1], num_samples=200), 10, seed=1, num_workers=2)
        again.load_state_dict(json.loads(json.dumps(loader.state_dict())))
        assert flat(seen(again)) == flat(whole[step + 1 :])


def test_the_source_of_each_sample_is_there(sources: list[Any]) -> None:
    mixture = hr.mix(sources, weights=[1, 1], source="from")
    for batch in hr.DataLoader(mixture, 16, num_workers=1, uneven="exact"):
        assert list(batch)[-2:] == ["from", "valid"]
        assert batch["from"].tolist() == [int(i >= 1000) for i in batch["id"]]
        assert batch["from"].dtype == torch.int64
    with pytest.raises(ValueError, match="source='id' is a field of the datasets"):
        hr.mix(sources, source="id")


def test_shares_change_between_epochs(sources: list[Any]) -> None:
    mixture = hr.mix(sources, weights=lambda epoch: [1, epoch], num_samples=510)
    loader = hr.DataLoader(mixture, 32, num_workers=2)
    shares = [sum(i >= 1000 for i in flat(seen(loader))) for _ in range(3)]
    assert shares == [0, 255, 340]
    assert flat([loader.replay(step, 1)["id"].tolist() for step in range(16)]) == [number_of(i) for i in mixture.mixed.indices(epoch=1)]
    mixture.set_weights([0, 1])
    assert min(flat(seen(loader))) == 1000


def test_a_state_of_other_shares_is_refused_while_its_epoch_lasts(sources: list[Any]) -> None:
    loader = hr.DataLoader(hr.mix(sources, weights=[1, 1]), 20)
    iterator = iter(loader)
    next(iterator)
    other = hr.DataLoader(hr.mix(sources, weights=[1, 3]), 20)
    with pytest.raises(hr.ChangedError, match="shares: saved '1:1', now '1:3'"):
        other.load_state_dict(loader.state_dict())
    list(iterator)
    other.load_state_dict(loader.state_dict())
    assert flat(seen(other)) == [number_of(i) for i in other.order.indices(epoch=1)]
    with pytest.raises(hr.ChangedError, match="order: saved 'mixed 80', now 'mixed 90'"):
        hr.DataLoader(hr.mix(sources, weights=[1, 1], num_samples=90), 20).load_state_dict(loader.state_dict())
    with pytest.raises(TypeError, match="expected the dict that state_dict"):
        other.load_state_dict("place")  # type: ignore[arg-type]


def test_a_place_remembers_the_shares_that_its_pass_began_with(sources: list[Any]) -> None:
    mixture = hr.mix(sources, weights=[1, 1])
    loader = hr.DataLoader(mixture, 20)
    iterator = iter(loader)
    next(iterator)
    mixture.set_weights([1, 3])  # of the next pass
    state = loader.state_dict()
    assert state["shares"] == "1:1"
    with pytest.raises(hr.ChangedError, match="shares: saved '1:1', now '1:3'"):
        hr.DataLoader(hr.mix(sources, weights=[1, 3]), 20).load_state_dict(state)
    again = hr.DataLoader(hr.mix(sources, weights=[1, 1]), 20)
    again.load_state_dict(state)
    assert seen(again) == seen(iterator)
    assert next(iter(loader)) is not None
    assert loader.state_dict()["shares"] == "1:3"


def test_sequences_stay_inside_their_sources(tmp_path: Path) -> None:
    hr.write(tmp_path / "a", {"t": ids(0, 31)}, chunk_samples=8)
    hr.write(tmp_path / "b", {"t": ids(1000, 14)}, chunk_samples=8)
    parts = [(hr.open(tmp_path / "a"), hr.open(tmp_path / "b")), (hr.from_arrays({"t": ids(0, 31)}), hr.from_arrays({"t": ids(1000, 14)}))]
    expected = sorted([*(list(range(i, i + 4)) for i in range(0, 28, 3)), *(list(range(i, i + 4)) for i in range(1000, 1011, 2))])
    for a, b in parts:
        mixture = hr.mix([a.sequences(4, stride=3), b.sequences(4, stride=2)]).cast({"t": "float32"})
        got = [row for batch in hr.DataLoader(mixture, 5) for row in batch["t"].tolist()]
        assert sorted(got) == expected
        again = pickle.loads(pickle.dumps(mixture))
        assert [row for batch in hr.DataLoader(again, 5) for row in batch["t"].tolist()] == got
        with pytest.raises(TypeError, match="would run from one source into the next"):
            mixture.sequences(2)


def test_a_part_of_a_mixture_is_refused(sources: list[Any]) -> None:
    mixed: Any = hr.mix(sources[:2], weights=[0.5, 0.5])
    with pytest.raises(TypeError, match="of each source, and mix what they give"):
        mixed.subset([1, 2])


def test_subsets_give_what_was_chosen_of_them(sources: list[Any]) -> None:
    a, b = sources[0].subset([3, 5, 7, 9]), sources[1]
    for parts, expected in (
        ([a, b], [3, 5, 7, 9, *ids(1000, B)]),
        ([b, a], [*ids(1000, B), 3, 5, 7, 9]),
        ([a.subset([2]), b.subset([0, 1])], [7, 1000, 1001]),
    ):
        mixture = hr.mix(parts, source="from")
        assert len(mixture) == len(expected)
        batch = next(iter(hr.DataLoader(mixture, len(expected))))
        assert sorted(batch["id"].tolist()) == sorted(expected)
        number = int(parts[0] is b)
        assert batch["from"].tolist() == [abs(int(i >= 1000) - number) for i in batch["id"].tolist()]
        assert seen(hr.DataLoader(pickle.loads(pickle.dumps(mixture)), len(expected))) == [batch["id"].tolist()]


def test_mixtures_and_their_loaders_are_pickled(sources: list[Any]) -> None:
    mixture = hr.mix(sources, weights=[1, 2], num_samples=100)
    loader = hr.DataLoader(mixture, 10, seed=2)
    again = pickle.loads(pickle.dumps(loader))
    assert seen(again) == seen(loader)


def test_views_of_a_mixture_deliver_their_fields(stored: list[hr.Dataset]) -> None:
    mixture = hr.mix(stored, weights=[1, 1], num_samples=64)
    pairs = [
        (i, text)
        for numbers, texts in hr.DataLoader(mixture.as_tuple("id", "text"), 16)
        for i, text in zip(numbers.tolist(), texts, strict=True)
    ]
    assert [i for i, _ in pairs] == [number_of(i) for i in mixture.mixed.indices()]
    assert all(text == f"sample {i}" for i, text in pairs)
    again = pickle.loads(pickle.dumps(mixture.select(["text"])))
    assert again[A] == {"text": "sample 1000"}
    assert again.fingerprint == mixture.fingerprint != hr.mix(stored[::-1]).fingerprint


@pytest.mark.parametrize("reader", ["mmap", "pread"])
@pytest.mark.parametrize("policy", ["skip", "replace"])
def test_damage_in_a_source_is_left_out_or_replaced(tmp_path: Path, policy: str, reader: str) -> None:
    numbered(tmp_path / "a", 40, chunk_samples=8)
    numbered(tmp_path / "b", 40, chunk_samples=8)
    damage(tmp_path / "b", 0, [8])
    expected = None
    for workers in (0, 1, 2, 8):
        opened = [hr.open(tmp_path / name, reader=reader).select(["id"]) for name in "ab"]
        loader = hr.DataLoader(hr.mix(opened, weights=[0, 1], source="from"), 10, on_error=policy, num_workers=workers)
        batches = list(loader)
        got = [(batch["id"].tolist(), batch["from"].tolist()) for batch in batches]
        expected = expected or got
        assert got == expected
        assert set(flat([found for _, found in got])) == {1}  # What replaces them comes by the weights as well.
        assert set(loader.state_dict()["skipped"]) == set(range(48, 56))


def test_sources_that_do_not_fit_are_named(stored: list[hr.Dataset], tmp_path: Path) -> None:
    plain = hr.from_arrays({"id": ids(0, 5)})
    for bad, error, words in (
        ([], ValueError, "at least one dataset"),
        ([stored[0], stored[1].select(["id"])], ValueError, r"source 1 .* has the fields id, source 0 has id, text; select\(\)"),
        (
            [plain, hr.from_arrays({"id": np.zeros((5, 2), np.float32)})],
            ValueError,
            r"field 'id' has dtype 'float32', not 'int64' and shape \(2,\), not \(\)",
        ),
        ([stored[0].select(["id"]), plain], TypeError, "not of one kind"),
        ([plain, hr.from_arrays((ids(0, 5),))], ValueError, "has the fields 0, source 0 has id"),
        ([plain, hr.from_arrays({"id": ids(0, 5)}).sequences(2)], ValueError, r"shape \(2,\)"),
        ([plain, [1, 2, 3]], TypeError, "source 1 is list, which is not mixed as it is"),
        ([hr.mix([plain]), plain], TypeError, "source 0 is a mixture itself"),
    ):
        with pytest.raises(error, match=words):
            hr.mix(bad)
    hr.write(tmp_path / "c", {"id": ids(0, 5), "more": ids(0, 5)})
    with pytest.raises(ValueError, match=r"concatenate: the fields of .* differ"):
        hr.mix([stored[0].select(["id"]), hr.open(tmp_path / "c").select(["id"])])


@pytest.mark.parametrize(
    "options",
    [{"shuffle": False}, {"weights": np.ones(A + B)}, {"order": "window"}, {"sampler": range(3)}, {"generator": torch.Generator()}],
)
def test_other_orders_are_refused(sources: list[Any], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"own order|order of their own"):
        hr.DataLoader(hr.mix(sources), 4, **options)
    with pytest.raises(ValueError, match="belongs to its mixture"):
        hr.DataLoader(sources[0], 4, order=hr.mix(sources).mixed)


def test_torchs_datasets_are_mixed() -> None:
    mixture = hr.mix([torch.utils.data.TensorDataset(torch.arange(30)), torch.utils.data.TensorDataset(torch.arange(100, 110))])
    got = torch.cat([batch[0] for batch in hr.DataLoader(mixture, 7)]).tolist()
    assert sorted(got) == [*range(30), *range(100, 110)]
    assert re.match(r"mix\(", mixture.path)
