"""A loader under watch: what is seen, where it goes, and that nothing of it reaches the training."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.utils.data

import headrace as hr
from headrace.monitor import Alert, JsonLines, Prometheus, TensorBoard, watch

SAMPLES, BATCH = 1000, 10


@pytest.fixture
def loader(tmp_path: Path) -> hr.DataLoader:
    hr.write(tmp_path / "d", {"x": np.arange(SAMPLES, dtype=np.int64)}, codec="zstd")
    return hr.DataLoader(hr.open(tmp_path / "d"), BATCH, shuffle=True, num_workers=1)


class Kept:
    """An exporter for tests."""

    def __init__(self) -> None:
        self.readings: list[Any] = []
        self.closed = 0

    def write(self, reading: Any) -> None:
        self.readings.append(reading)

    def close(self) -> None:
        self.closed += 1


def test_what_happened_since_the_last_look(loader: hr.DataLoader) -> None:
    kept = Kept()
    with watch(loader, every=1000, to=[kept]) as watching:
        iterator = iter(loader)
        for _ in range(30):
            next(iterator)
        first = watching.look()["loader"]
        assert first.samples_per_second * first.seconds == pytest.approx(300)
        assert first.bytes_per_second * first.seconds == pytest.approx(loader.stats()["bytes_delivered"])
        assert (first.epoch, first.position) == (0, 300)
        assert 0 <= first.stall_share <= 1
        second = watching.look()["loader"]
        assert second.samples_per_second == 0
        assert second.totals["samples"] == 300
    assert [reading.totals["samples"] for reading in kept.readings] == [300, 300, 300]
    assert kept.closed == 1
    watching.close()
    assert kept.closed == 1
    assert not any(thread.name == "headrace-watch" for thread in threading.enumerate())


def test_it_looks_by_itself(loader: hr.DataLoader) -> None:
    kept = Kept()
    with watch(loader, every=0.01, to=[kept]):
        while len(kept.readings) < 3:
            sum(1 for _ in loader)
    assert sum(reading.samples_per_second * reading.seconds for reading in kept.readings) == pytest.approx(loader.stats()["samples"])


def test_json_lines(loader: hr.DataLoader, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for _ in range(2):  # Appends.
        with watch({"train": loader}, every=1000, to=[JsonLines(path)]):
            sum(1 for _ in loader)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["loader"] for line in lines] == ["train", "train"]
    assert [line["totals"]["samples"] for line in lines] == [1000, 2000]
    assert lines[0]["totals"]["wait_seconds"]["max"] > 0


def test_tensorboard(loader: hr.DataLoader) -> None:
    class Writer:
        scalars: dict[str, tuple[float, int]] = {}

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            self.scalars[tag] = (value, step)

    writer = Writer()
    with watch(loader, every=1000, to=[TensorBoard(writer)]):
        sum(1 for _ in loader)
    assert set(writer.scalars) == {f"headrace/{name}" for name in hr.monitor.METRICS}
    assert writer.scalars["headrace/samples_per_second"][0] > 0
    assert {step for _, step in writer.scalars.values()} == {100}


def test_prometheus_is_scraped(loader: hr.DataLoader) -> None:
    exporter = Prometheus(0)
    with watch({"train": loader, "valid": loader}, every=1000, to=[exporter]) as watching:
        sum(1 for _ in loader)
        watching.look()
        text = urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics").read().decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['headrace_samples_total{loader="train"}'] == "1000.0"
    assert lines['headrace_batches_total{loader="valid"}'] == "100.0"
    assert float(lines['headrace_stage_seconds_total{loader="train",stage="decode"}']) > 0
    assert float(lines['headrace_batch_wait_seconds{loader="train",quantile="0.99"}']) > 0
    assert "# TYPE headrace_delivered_bytes_total counter" in text
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics")


def test_a_registry_of_the_users() -> None:
    client = pytest.importorskip("prometheus_client")
    registry = client.CollectorRegistry()
    exporter = Prometheus(registry=registry)
    assert "headrace_samples" in client.generate_latest(registry).decode()
    exporter.close()
    exporter.close()
    assert client.generate_latest(registry) == b""


def test_alerts_are_told_for_their_loader(loader: hr.DataLoader) -> None:
    told: list[tuple[str, str]] = []
    with watch(
        {"a": loader, "b": loader},
        every=1000,
        alerts={"a": [Alert("samples_per_second", above=0, do=lambda alert, reading: told.append((alert.metric, reading.loader)))]},
    ) as watching:
        sum(1 for _ in loader)
        watching.look()
    assert told == [("samples_per_second", "a")]


def test_who_fails_is_named_once_and_the_rest_goes_on(loader: hr.DataLoader, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Kept):
        def write(self, reading: Any) -> None:
            raise RuntimeError("disk full")

    def angry(alert: Alert, reading: Any) -> None:
        raise KeyError("no")

    kept = Kept()
    with (
        caplog.at_level(logging.WARNING, logger="headrace"),
        watch(loader, every=1000, to=[Broken(), kept], alerts=[Alert("batches_ready", above=-1, do=angry)]) as watching,
    ):
        watching.look()
        watching.look()
    assert len(kept.readings) == 3
    assert [m for m in caplog.messages if "disk full" in m] == [
        "monitor: Broken failed, and is not reported again: RuntimeError: disk full"
    ]
    assert len([m for m in caplog.messages if "Alert failed" in m]) == 1


def test_a_forked_child_is_not_watched(loader: hr.DataLoader) -> None:
    with watch(loader, every=1000) as watching:
        child = os.fork()
        if child == 0:
            begin = time.monotonic()
            watching.close()
            os._exit(0 if time.monotonic() - begin < 30 else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_a_python_datasets_loader_counts_what_it_can(tmp_path: Path) -> None:
    loader = hr.DataLoader(list(range(100)), 10)
    with watch(loader, every=1000, to=[JsonLines(tmp_path / "out.jsonl"), Prometheus(0)]) as watching:
        sum(1 for _ in loader)
        reading = watching.look()["loader"]
    assert reading.totals["batches"] == 10
    assert 0 <= reading.stall_share <= 1
    assert (reading.samples_per_second, reading.errors) == (0, 0)


def test_what_cannot_be_watched(loader: hr.DataLoader) -> None:
    with pytest.raises(TypeError, match=r"loader 'loader' has no stats\(\)"):
        watch(torch.utils.data.DataLoader([1, 2, 3]))
    with pytest.raises(ValueError, match="every must be"):
        watch(loader, every=0)
    with pytest.raises(ValueError, match=r"alerts for \['c'\]"):
        watch({"a": loader}, alerts={"c": []})
    assert not any(thread.name == "headrace-watch" for thread in threading.enumerate())


def test_a_webhook_that_hangs_holds_up_neither_looks_nor_the_end(
    loader: hr.DataLoader, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["headrace.monitor.watch"], "_CLOSE_SECONDS", 0.05)
    answer, kept, told = threading.Event(), Kept(), []

    def hang(alert: Alert, reading: Any) -> None:
        told.append(alert.title)
        answer.wait()

    alerts = [Alert("batches_ready", above=-1, do=hang), Alert("batches_ready", above=-2, do=hang)]
    with caplog.at_level(logging.WARNING, logger="headrace"), watch(loader, every=1000, to=[kept], alerts=alerts) as watching:
        watching.look()
        watching.look()
    assert len(kept.readings) == 3
    assert kept.closed == 1
    assert "an alert has not been told" in caplog.text
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "headrace-alerts":
            thread.join()
    assert told == ["batches_ready above -1", "batches_ready above -2"]  # Both, if late.


def test_an_exporter_that_hangs_does_not_hold_up_the_end(
    loader: hr.DataLoader, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["headrace.monitor.watch"], "_CLOSE_SECONDS", 0.05)
    writing, disk = threading.Event(), threading.Event()

    class Dead(Kept):
        def write(self, reading: Any) -> None:
            writing.set()
            disk.wait()

    with caplog.at_level(logging.WARNING, logger="headrace"), watch(loader, every=0.01, to=[Dead()]):
        writing.wait()
    assert "an exporter has not come back" in caplog.text
    disk.set()


def test_alerts_beyond_what_can_wait_are_dropped_and_that_is_said(loader: hr.DataLoader, caplog: pytest.LogCaptureFixture) -> None:
    go, told = threading.Event(), []

    def slow(alert: Alert, reading: Any) -> None:
        go.wait()
        told.append(alert.name)

    alerts = [Alert("batches_ready", above=-1, do=slow, name=str(number)) for number in range(100)]
    with caplog.at_level(logging.WARNING, logger="headrace"), watch(loader, every=1000, alerts=alerts) as watching:
        watching.look()
        go.set()
    assert told[:64] == [str(number) for number in range(64)]
    assert len([message for message in caplog.messages if "some are dropped" in message]) == 1


def test_one_rule_given_to_two_loaders_knows_them_apart(loader: hr.DataLoader, tmp_path: Path) -> None:
    told: list[str] = []
    rule = Alert("samples_per_second", above=0, do=lambda alert, reading: told.append(reading.loader))
    other = hr.DataLoader(hr.open(tmp_path / "d"), BATCH)
    with watch({"a": loader, "b": other}, every=1000, alerts={"a": [rule], "b": [rule]}) as watching:
        sum(1 for _ in loader)
        watching.look()
        sum(1 for _ in loader)
        sum(1 for _ in other)
    assert told == ["a", "b"]


def test_a_port_that_is_taken_leaves_the_users_registry_alone() -> None:
    client = pytest.importorskip("prometheus_client")
    registry, first = client.CollectorRegistry(), Prometheus(0)
    try:
        with pytest.raises(OSError, match=f"port {first.port}: Address already in use; port=0 takes a free one"):
            Prometheus(first.port, registry=registry)
        assert client.generate_latest(registry) == b""
    finally:
        first.close()
    for port in (-1, 65536):
        with pytest.raises(ValueError, match="port must be"):
            Prometheus(port)
