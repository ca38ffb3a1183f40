"""Cross-validation: each sample judged by a fit that did not see it, preparation included; the same folds on one thread as on several."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, cross_val_score

import headrace as hr

N = 240


@pytest.fixture(scope="module")
def columns() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 3))
    y = (x[:, 0] + rng.normal(size=N) > 0.5).astype(np.int64)
    return {"x": x, "label": y, "patient": rng.integers(0, 30, N), "id": np.arange(N), "cost": x @ [1.0, 2.0, 0.5] + rng.normal(size=N)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, columns: dict[str, Any]) -> hr.Dataset:
    path = tmp_path_factory.mktemp("folds") / "d"
    hr.write(path, columns, chunk_samples=32, codec="lz4")
    return hr.open(path)


def fit(train: Any) -> Any:
    part = train[:]
    model = LogisticRegression().fit(part["x"], part["label"])
    return lambda inputs: model.predict_proba(inputs["x"].numpy())


def test_scores_are_scikit_learns_on_the_same_folds(dataset: hr.Dataset, columns: dict[str, Any]) -> None:
    found = hr.evaluate.cross_validate(fit, dataset, splitter=KFold(5, shuffle=True, random_state=1), metrics=["accuracy", "log_loss"])
    theirs = cross_val_score(LogisticRegression(), columns["x"], columns["label"], cv=KFold(5, shuffle=True, random_state=1))
    assert found.values("accuracy") == pytest.approx(theirs)
    assert found.mean("accuracy") == pytest.approx(theirs.mean())
    low, high = found.interval("accuracy")
    error = np.sqrt((1 / 5 + 48 / 192) * theirs.var(ddof=1))
    assert (high - low) / 2 == pytest.approx(stats.t(4).ppf(0.975) * error)


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_folds_do_not_depend_on_threads(dataset: hr.Dataset, jobs: int) -> None:
    threads = set()

    def watched(train: Any, seed: int) -> Any:
        threads.add(threading.get_ident())
        model = fit(train)
        shift = torch.rand((), generator=torch.Generator().manual_seed(seed)).item()
        return lambda inputs: 0.9 * model(inputs) + 0.1 * np.array([shift, 1 - shift])

    found = hr.evaluate.cross_validate(watched, dataset, 4, repeats=2, stratify="label", seed=3, jobs=jobs)
    again = hr.evaluate.cross_validate(watched, dataset, 4, repeats=2, stratify="label", seed=3)
    assert found.to_dict() == again.to_dict()
    assert found.plan == again.plan
    assert [(fold.repeat, fold.number) for fold in found.folds] == [(r, f) for r in range(2) for f in range(4)]
    assert len(found.folds) == 8
    assert len(threads) <= jobs + 1
    other = hr.evaluate.cross_validate(watched, dataset, 4, repeats=2, stratify="label", seed=4)
    assert other.plan != found.plan


def test_no_fit_sees_what_judges_it(dataset: hr.Dataset, columns: dict[str, Any]) -> None:
    held: list[int] = []

    def careful(train: Any) -> Any:
        seen = set(train.select(["id"])[:]["id"].tolist())
        patients = set(columns["patient"][sorted(seen)].tolist())

        def predict(inputs: Any) -> Any:
            assert not seen & set(inputs["id"].tolist())
            assert not patients & set(inputs["patient"].tolist())
            held.extend(inputs["id"].tolist())
            return np.full(len(inputs["id"]), 0.5)

        return predict

    hr.evaluate.cross_validate(careful, dataset, 5, group="patient", metrics=["brier"])
    assert sorted(held) == list(range(N))
    held.clear()
    splitter = GroupKFold(3)
    hr.evaluate.cross_validate(careful, dataset, group="patient", stratify="label", splitter=splitter, metrics=["brier"])
    assert sorted(held) == list(range(N))


class Centre(BaseEstimator):
    """A preparation by scikit-learn's conventions: remembers the mean of what it was fitted on."""

    def __init__(self, power: int = 1) -> None:
        self.power = power

    def fit(self, train: Any) -> Centre:
        assert not hasattr(self, "mean_")  # A fresh copy for each fold.
        self.mean_ = train.select(["x"])[:]["x"].mean(axis=0) ** self.power
        return self


def test_a_preparation_is_fitted_on_the_training_part_alone(dataset: hr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    loaders: list[Any] = []
    from headrace.evaluate import fitting

    def spied(predict: Any, part: Any, label: Any, options: Any) -> Any:
        loaders.append(options.get("prepare"))
        return run(predict, part, label, {name: value for name, value in options.items() if name != "prepare"})

    run = fitting.run
    monkeypatch.setattr(fitting, "run", spied)  # Centre is no Compose; what arrives at the loader is what is tested.

    def with_prepare(train: Any, prepare: Any) -> Any:
        assert np.array_equal(prepare.mean_, train.select(["x"])[:]["x"].mean(axis=0))
        given.append(prepare)
        return fit(train)

    own = Centre(power=1)
    hr.evaluate.cross_validate(with_prepare, dataset, 3, prepare=own)
    assert not hasattr(own, "mean_")
    assert len({id(one) for one in given}) == 3
    assert all(a is b for a, b in zip(given, loaders, strict=True))
    with pytest.raises(TypeError, match="let fit take it"):
        hr.evaluate.cross_validate(lambda train: fit(train), dataset, 3, prepare=own)


def test_images_are_prepared_by_what_a_fold_found(tmp_path: Path) -> None:
    """A preparation that the loader runs: normalisation by the mean of the training part."""
    import io

    from PIL import Image

    def png(level: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (4, 4), (level, level, level)).save(file, "PNG")
        return file.getvalue()

    levels = np.arange(0, 240, 20)
    labels = (levels > 100).astype(np.int64)
    hr.write(tmp_path / "d", {"image": [png(level) for level in levels], "label": labels})
    means: list[float] = []

    class Normalised:
        def clone(self) -> Normalised:
            return Normalised()

        def fit(self, train: Any) -> Any:
            raw = [np.asarray(Image.open(io.BytesIO(value))).mean() for value in train[:]["image"]]
            means.append(float(np.mean(raw)) / 255)
            steps = [hr.images.Resize((4, 4)), hr.images.ToDtype("float32", scale=True), hr.images.Normalize([means[-1]] * 3, [1.0] * 3)]
            return {"image": hr.images.Compose(steps)}

    def brighter(train: Any, prepare: Any) -> Any:
        whole = next(iter(hr.DataLoader(train, len(train), prepare=prepare)))["image"]
        assert abs(float(whole.mean())) < 1e-6  # Centred by its own mean.
        return lambda inputs: torch.sigmoid(inputs["image"].mean(dim=(1, 2, 3)) * 20)

    found = hr.evaluate.cross_validate(brighter, hr.open(tmp_path / "d"), 3, prepare=Normalised(), stratify="label", metrics=["accuracy"])
    assert found.mean("accuracy") > 0.75
    assert len(set(means)) == 3


def test_arrays_and_python_datasets(dataset: hr.Dataset, columns: dict[str, Any]) -> None:
    def of_pairs(train: Any) -> Any:
        pairs = [train[i] for i in range(len(train))]
        model = LogisticRegression().fit(np.stack([np.asarray(x) for x, _ in pairs]), np.array([int(y) for _, y in pairs]))
        return lambda x: model.predict_proba(np.asarray(x))

    expected = hr.evaluate.cross_validate(fit, dataset, 4).to_dict()
    arrays = hr.from_arrays((columns["x"], columns["label"]))
    pairs = [(torch.tensor(x), int(y)) for x, y in zip(columns["x"], columns["label"], strict=True)]
    for other in (arrays, pairs):
        assert hr.evaluate.cross_validate(of_pairs, other, 4).to_dict() == expected


def test_hold_out(dataset: hr.Dataset) -> None:
    found = hr.evaluate.hold_out(fit, dataset, 0.25, stratify="label", metrics=["accuracy"], resamples=200)
    assert abs(found.samples - 60) <= 1  # A share of each class, to one sample.
    inside = found.figures["accuracy"].interval
    assert inside is not None
    assert inside.low < found["accuracy"] < inside.high
    by_group = hr.evaluate.hold_out(fit, dataset, 0.25, group="patient", metrics=["accuracy"], resamples=50)
    assert abs(by_group.samples - 60) <= 25


def test_nested_folds_choose_without_the_fold_that_judges(dataset: hr.Dataset, columns: dict[str, Any]) -> None:
    asked: list[tuple[int, int]] = []

    def of_one(train: Any, column: int) -> Any:
        part = train[:]
        asked.append((len(part["x"]), column))
        model = LogisticRegression().fit(part["x"][:, [column]], part["label"])
        return lambda inputs: model.predict_proba(inputs["x"].numpy()[:, [column]])

    candidates = [{"column": column} for column in (1, 0, 2)]
    found = hr.evaluate.nested(of_one, dataset, candidates, "log_loss", k=4, inner=3, stratify="label")
    assert len(found.folds) == 4
    assert all(fold.chosen == {"column": 0} for fold in found.folds)  # The one that says something; the lowest loss wins.
    assert sorted(asked) == sorted([(120, 0), (120, 1), (120, 2)] * 12 + [(180, 0)] * 4)
    assert 'chosen: {"column": 0} 4 times' in str(found)
    with pytest.raises(ValueError, match="expected a list of at least one dict"):
        hr.evaluate.nested(of_one, dataset, [], "accuracy")


def test_texts_and_plot(dataset: hr.Dataset, tmp_path: Path) -> None:
    found = hr.evaluate.cross_validate(fit, dataset, 5, repeats=2, metrics=["accuracy", "roc_auc"])
    text = str(found)
    assert text.startswith("5 folds, 2 times, 480 samples held out in all")
    assert "95 % interval" in text
    found.plot(tmp_path / "folds.png")
    assert (tmp_path / "folds.png").stat().st_size > 3000
    told = found.to_dict()["metrics"]["accuracy"]
    assert told["mean"] == pytest.approx(np.mean(told["folds"]))


def test_what_makes_no_sense_is_refused(dataset: hr.Dataset) -> None:
    with pytest.raises(TypeError, match="fit is 3; expected a function"):
        hr.evaluate.cross_validate(3, dataset)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="fit returned int"):
        hr.evaluate.cross_validate(lambda _: 3, dataset)
    with pytest.raises(ValueError, match="leave repeats out"):
        hr.evaluate.cross_validate(fit, dataset, splitter=KFold(3), repeats=2)
    with pytest.raises(ValueError, match="a fold fails"):
        hr.evaluate.cross_validate(failing, dataset, 4, jobs=2)


def failing(train: Any) -> Any:
    raise ValueError("a fold fails")


def test_two_ways_of_fitting_meet_on_the_same_folds(dataset: hr.Dataset) -> None:
    def constant(train: Any) -> Any:
        return lambda inputs: np.full(len(inputs["id"]), 0.4)

    options: dict[str, Any] = {"repeats": 5, "stratify": "label", "metrics": ["accuracy"]}
    a = hr.evaluate.cross_validate(fit, dataset, 2, jobs=2, **options)
    b = hr.evaluate.cross_validate(constant, dataset, 2, **options)
    found = hr.evaluate.compare(a, b)
    assert "5x2cv" in found.test
    assert found.better == "a"


def test_numbers(dataset: hr.Dataset, columns: dict[str, Any]) -> None:
    def line(train: Any) -> Any:
        part = train[:]
        model = LinearRegression().fit(part["x"], part["cost"])
        return lambda inputs: model.predict(inputs["x"].numpy())

    found = hr.evaluate.cross_validate(line, dataset, splitter=KFold(4), label="cost", metrics=["r2", "mse"])
    assert found.values("r2") == pytest.approx(cross_val_score(LinearRegression(), columns["x"], columns["cost"], cv=KFold(4)))


def test_a_pipeline_is_fitted_on_each_training_part_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x = np.where(rng.random((300, 2)) < 0.1, np.nan, rng.normal(size=(300, 2))).astype(np.float32)
    hr.write(tmp_path / "d", {"x": x, "label": np.arange(300) % 2})
    pipe = hr.prep.Pipeline([hr.prep.Impute("median"), hr.prep.Standardize()], fields=["x"])
    learned: list[tuple[Any, Any]] = []

    def fit(train: Any, prepare: Any = None, seed: int = 0) -> Any:
        (batch,) = hr.DataLoader(train, len(train), prepare=prepare)
        np.testing.assert_allclose(batch["x"].numpy().mean(axis=0), 0, atol=1e-6)
        learned.append((prepare.steps[0].statistics_["x"], np.nanmedian(train[:]["x"], axis=0)))
        return lambda held_out: np.full(len(held_out["x"]), 0.5)

    hr.evaluate.cross_validate(fit, hr.open(tmp_path / "d"), 3, stratify="label", metrics=["accuracy"], prepare=pipe)
    assert len(learned) == 3
    for ours, numpys in learned:
        np.testing.assert_allclose(ours, numpys, rtol=1e-6)
    assert len({tuple(ours) for ours, _ in learned}) == 3
    assert not pipe.is_fitted
