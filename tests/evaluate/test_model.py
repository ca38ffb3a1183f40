"""A model evaluated over a dataset: every sample once, in one process as in several, with any loader and metric."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
import torchmetrics.classification as tm
from sklearn.linear_model import LogisticRegression

import headrace as hr

N = 501


@pytest.fixture(scope="module")
def columns() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 4)).astype(np.float32)
    return {"x": x, "label": (x[:, 0] + rng.normal(size=N) > 0).astype(np.int64), "patient": rng.integers(0, 40, N)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, columns: dict[str, Any]) -> hr.Dataset:
    path = tmp_path_factory.mktemp("model") / "d"
    hr.write(path, columns, chunk_samples=64)
    return hr.open(path)


def predict(inputs: Any) -> torch.Tensor:
    return torch.sigmoid(torch.as_tensor(inputs["x"] if isinstance(inputs, dict) else inputs)[:, 0] * 1.5)


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
@pytest.mark.parametrize("batch_size", [7, 1024])
def test_figures_are_scikit_learns(dataset: hr.Dataset, columns: dict[str, Any], workers: int, batch_size: int) -> None:
    found = hr.evaluate.model(predict, dataset, resamples=0, num_workers=workers, batch_size=batch_size)
    scores, y = predict(columns).numpy(), columns["label"]
    assert found.samples == N
    assert found.task == "binary"
    assert np.array_equal(found.predictions.target, y)
    assert found["accuracy"] == sk.accuracy_score(y, scores > 0.5)
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(y, scores), rel=1e-12)
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, scores.astype(np.float64)), rel=1e-6)
    assert np.array_equal(found.confusion, sk.confusion_matrix(y, scores > 0.5))


def test_whatever_the_loader_takes(dataset: hr.Dataset, columns: dict[str, Any]) -> None:
    expected = hr.evaluate.model(predict, dataset, resamples=20).to_dict()
    pairs = [(torch.tensor(x), int(y)) for x, y in zip(columns["x"], columns["label"], strict=True)]
    tensors = torch.utils.data.TensorDataset(torch.tensor(columns["x"]), torch.tensor(columns["label"]))
    arrays = hr.from_arrays((columns["x"], columns["label"]))
    for other in (dataset.as_tuple("x", "label"), tensors, arrays, pairs):
        assert hr.evaluate.model(predict, other, resamples=20, batch_size=64).to_dict() == expected
    swapped = dataset.as_tuple("label", "x")
    assert hr.evaluate.model(predict, swapped, label=0, resamples=20).to_dict() == expected


def test_a_module_is_in_eval_mode_meanwhile_and_builds_no_graph(dataset: hr.Dataset) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)
            self.modes: set[tuple[bool, bool]] = set()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.modes.add((self.training, torch.is_grad_enabled()))
            return self.layer(x)

    net = Net().train()
    found = hr.evaluate.model(net, dataset.as_tuple("x", "label"), ["accuracy"], outputs="logits", classes=["no", "yes", "never"])
    assert net.modes == {(False, False)}
    assert net.training
    assert list(found.per_class) == ["no", "yes", "never"]


def test_scikit_learns_models_and_bfloat16(dataset: hr.Dataset, columns: dict[str, Any]) -> None:
    fitted = LogisticRegression().fit(columns["x"], columns["label"])
    found = hr.evaluate.model(lambda x: fitted.predict_proba(x.numpy()), dataset.as_tuple("x", "label"), resamples=0)
    assert found["accuracy"] == fitted.score(columns["x"], columns["label"])
    rough = hr.evaluate.model(lambda inputs: predict(inputs).bfloat16(), dataset, ["roc_auc"], resamples=0)
    assert rough["roc_auc"] == pytest.approx(sk.roc_auc_score(columns["label"], predict(columns).bfloat16().float().numpy()))


def test_torchmetrics_and_functions(dataset: hr.Dataset, columns: dict[str, Any]) -> None:
    def gini(target: Any, scores: Any) -> float:
        return 2 * sk.roc_auc_score(target, scores) - 1

    theirs = tm.BinaryAUROC()
    theirs.update(torch.rand(4), torch.tensor([0, 1, 0, 1]))
    before = theirs.compute()
    found = hr.evaluate.model(predict, dataset, ["roc_auc", theirs, gini], resamples=30)
    assert found["BinaryAUROC"] == pytest.approx(found["roc_auc"], rel=1e-6)
    assert found["gini"] == pytest.approx(2 * found["roc_auc"] - 1)
    # The same resamples for all of them.
    for name, scale in (("BinaryAUROC", (1, 0)), ("gini", (2, -1))):
        ours, other = found.figures["roc_auc"].interval, found.figures[name].interval
        assert ours is not None
        assert other is not None
        assert other.low == pytest.approx(scale[0] * ours.low + scale[1], rel=1e-5)
    assert theirs.compute() == before  # The user's own is left as it was.
    assert found.figures["gini"].is_better_high is None


def test_groups_of_a_field(dataset: hr.Dataset, columns: dict[str, Any]) -> None:
    by_field = hr.evaluate.model(predict, dataset, ["accuracy"], group="patient")
    by_array = hr.evaluate.model(predict, dataset, ["accuracy"], group=columns["patient"])
    assert by_field.to_dict() == by_array.to_dict() != hr.evaluate.model(predict, dataset, ["accuracy"]).to_dict()


def test_texts_json_and_plots(dataset: hr.Dataset, tmp_path: Path) -> None:
    found = hr.evaluate.model(predict, dataset, classes=["healthy", "ill"])
    text = str(found)
    assert "501 samples, binary" in text
    assert "95 % interval" in text
    assert "healthy" in text
    told = json.loads(found.to_json())
    assert told["metrics"]["accuracy"]["value"] == found["accuracy"]
    assert told["metrics"]["accuracy"]["low"] < found["accuracy"] < told["metrics"]["accuracy"]["high"]
    assert told["confusion"] == found.confusion.tolist()
    assert "low" not in told["metrics"]["calibration_error"]
    numbers = hr.evaluate.model(lambda x: x[:, 0], hr.from_arrays((np.random.rand(50, 2), np.random.rand(50))))
    for name, one in (("classes.png", found), ("numbers.svg", numbers)):
        one.plot(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000
    with pytest.raises(ValueError, match="a confusion matrix needs classes"):
        _ = numbers.confusion
    with pytest.raises(KeyError, match="'recall' was not measured"):
        _ = numbers["recall"]


def test_what_makes_no_sense_is_refused(dataset: hr.Dataset) -> None:
    with pytest.raises(TypeError, match="shuffle: an evaluation reads every sample once"):
        hr.evaluate.model(predict, dataset, shuffle=True)
    with pytest.raises(TypeError, match="on_error"):
        hr.evaluate.model(predict, dataset, on_error="skip")
    with pytest.raises(KeyError, match="which field is the label"):
        hr.evaluate.model(predict, dataset.select(["x", "patient"]))
    with pytest.raises(ValueError, match="the dataset is empty"):
        hr.evaluate.model(predict, dataset.subset([]))
    with pytest.raises(ValueError, match=r"predict returned shape \(1,\); expected .* each of the 501 samples"):
        hr.evaluate.model(lambda _: torch.zeros(1), dataset)
    with pytest.raises(ValueError, match="metric f1 is asked for twice"):
        hr.evaluate.model(predict, dataset, ["f1", "f1"])
    with pytest.raises(TypeError, match="metric 3: expected a name"):
        hr.evaluate.model(predict, dataset, [3])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (lambda x: torch.cat([x, x])[:, 0], r"predict returned shape \(1002,\); expected"),
        (lambda x: x.mean(), r"predict returned shape \(\); expected"),
        (lambda _: None, "predict returned NoneType; expected"),
        (lambda x: {"logits": x}, "predict returned dict; expected"),
        (lambda _: [[1.0], [1.0, 2.0]], "predict returned list that is no array"),
    ],
    ids=["more rows", "a number", "nothing", "a dict", "rows of different lengths"],
)
def test_what_is_not_a_row_a_sample_is_refused(dataset: hr.Dataset, said: Any, told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        hr.evaluate.model(said, dataset.as_tuple("x", "label"))


def test_what_is_no_model_dataset_or_option_is_refused(dataset: hr.Dataset) -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    with pytest.raises(TypeError, match="predict is 3; expected a function"):
        hr.evaluate.model(3, dataset)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the dataset is Stream, without a length"):
        hr.evaluate.model(predict, Stream())
    for size in (None, hr.BatchSchedule(8)):
        with pytest.raises(TypeError, match="batch_size must be an integer"):
            hr.evaluate.model(predict, dataset, batch_size=size)
    with pytest.raises(TypeError, match=r"metrics is 'f1'; expected a list: metrics=\['f1'\]"):
        hr.evaluate.model(predict, dataset, "f1")
    with pytest.raises(ValueError, match="seed must be in"):
        hr.evaluate.model(predict, dataset, seed=-1)

    def curve(_target: Any, _scores: Any) -> Any:
        return [0.1, 0.2]

    with pytest.raises(TypeError, match=r"metric curve returned \[0.1, 0.2\]; expected one number"):
        hr.evaluate.model(predict, dataset, [curve])
    with pytest.raises(ValueError, match=r"there is no metric 'acc'"):
        hr.evaluate.model(failing, dataset, ["acc"])  # Before the model is run.


def failing(inputs: Any) -> Any:
    raise RuntimeError("out of memory")


def test_an_error_of_the_model_says_of_which_samples(dataset: hr.Dataset) -> None:
    with pytest.raises(RuntimeError, match="out of memory") as raised:
        hr.evaluate.model(lambda inputs: failing(inputs) if len(inputs["x"]) < 100 else predict(inputs), dataset, batch_size=100)
    assert raised.value.__notes__ == ["headrace.evaluate: predict was given the samples 500 to 500 of the part that is evaluated"]


def test_null_labels_are_refused(tmp_path: Path) -> None:
    hr.write(tmp_path / "d", {"x": np.zeros((9, 1), np.float32), "label": np.ma.masked_array(np.arange(9) % 2, mask=np.arange(9) == 4)})
    with pytest.raises(ValueError, match="field 'label': some labels are null"):
        hr.evaluate.model(lambda inputs: inputs["x"][:, 0], hr.open(tmp_path / "d"))


RANK = """
import json, sys
import numpy as np, torch, torch.distributed as dist
import headrace as hr

store, rank, world, path, cases = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], json.loads(sys.argv[5])
dist.init_process_group("gloo", store=dist.FileStore(store, world), rank=rank, world_size=world)
steps = []
def predict(inputs):
    x = inputs["x"] if isinstance(inputs, dict) else inputs
    steps.append(len(x))
    dist.all_reduce(torch.ones(1))  # As a sharded model does: every rank must take as many steps.
    return (x[:, 0] / 8 + 0.5).clamp(0, 1)
answers = []
for rows, is_python in cases:
    ds = hr.open(path).subset(np.arange(rows))
    if is_python:
        ds = [(torch.tensor(s["x"]), int(s["label"])) for s in ds]
    steps.clear()
    answers.append([hr.evaluate.model(predict, ds, batch_size=8, resamples=50).to_dict(), sum(steps)])
print(json.dumps(answers))
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.parametrize(("world", "cases"), [(2, [(501, False), (51, True)]), (3, [(25, False), (2, False)])])
def test_ranks_find_what_one_process_finds(dataset: hr.Dataset, tmp_path: Path, world: int, cases: list[tuple[int, bool]]) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    command = [sys.executable, str(script), str(tmp_path / "store")]
    jobs = [
        subprocess.Popen([*command, str(rank), str(world), dataset.path, json.dumps(cases)], stdout=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    answers = [json.loads(job.communicate(timeout=300)[0].splitlines()[-1]) for job in jobs]
    for number, (rows, _) in enumerate(cases):
        # A line through powers of two: a sigmoid's last bit depends on how many rows a batch has.
        alone = hr.evaluate.model(lambda inputs: (inputs["x"][:, 0] / 8 + 0.5).clamp(0, 1), dataset.subset(np.arange(rows)), resamples=50)
        expected = json.loads(json.dumps(alone.to_dict()))
        assert expected["samples"] == rows
        for answer in answers:
            assert repr(answer[number][0]) == repr(expected)  # By repr: a figure that is not defined is NaN.
        assert rows <= sum(answer[number][1] for answer in answers) < rows + world
