"""Rules on readings: when they speak, how often, and what a bound is."""

from __future__ import annotations

import http.server
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.monitor import Alert, Reading, Webhook
from headrace.monitor.alerts import log


def reading(time: float, **values: Any) -> Reading:
    """A quiet loader, one second after the last look, but for `values`."""
    quiet = {
        "samples_per_second": 100.0, "bytes_per_second": 1e6, "stall_share": 0.0, "wait_p99_seconds": 0.0, "errors": 0, "read_retries": 0,
        "skipped": 0, "batches_ready": 2, "bytes_in_flight": 10, "cache_bytes": 0,
    }  # fmt: skip
    return Reading(loader="train", time=time, seconds=1.0, epoch=1, position=64, totals={}, **{**quiet, **values})


def told(alert: Alert, values: list[float], metric: str = "stall_share") -> list[int]:
    return [i for i, value in enumerate(values) if alert.look(reading(1000.0 + i, **{metric: value}))]


def test_once_until_it_was_well_again() -> None:
    assert told(Alert("stall_share", above=0.3), [0.1, 0.4, 0.5, 0.9, 0.3, 0.31]) == [1, 5]


def test_only_after_so_long() -> None:
    # A reading covers the second before it: three in a row are three seconds.
    assert told(Alert("stall_share", above=0.3, for_seconds=3), [0.4, 0.4, 0.4, 0.4]) == [2]
    assert told(Alert("stall_share", above=0.3, for_seconds=3), [0.4, 0.4, 0.1, 0.4, 0.4]) == []


def test_below() -> None:
    assert told(Alert("samples_per_second", below=80), [100, 80, 79, 10], "samples_per_second") == [2]
    assert told(Alert("errors", above=0), [0, 1, 0, 2], "errors") == [1, 3]


def test_words() -> None:
    alert = Alert("stall_share", above=0.3, for_seconds=60)
    assert alert.title == "stall_share above 0.3 for 60 s"
    assert alert.describe(reading(0, stall_share=0.5)) == "stall_share above 0.3 for 60 s: it is 0.5 (epoch 1, position 64)"
    assert Alert("errors", above=0, name="bad data").title == "bad data"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"metric": "speed", "above": 1}, "no metric 'speed'; metrics are samples_per_second"),
        ({"metric": "errors"}, "either above= or below="),
        ({"metric": "errors", "above": 1, "below": 0}, "either above= or below="),
        ({"metric": "errors", "above": 1, "for_seconds": -1}, "for_seconds must be 0 or more"),
        ({"metric": ["errors"], "above": 1}, "no metric"),
        ({"metric": "errors", "above": float("nan")}, "above must be a number, got nan"),
        ({"metric": "errors", "above": float("inf")}, "above must be a number, got inf"),
        ({"metric": "errors", "below": "0.3"}, "below must be a number, got '0.3'"),
        ({"metric": "errors", "below": True}, "below must be a number, got True"),
        ({"metric": "errors", "above": 1, "for_seconds": float("inf")}, "for_seconds must be a number"),
        ({"metric": "errors", "above": 1, "for_seconds": "5"}, "for_seconds must be a number"),
    ],
)
def test_a_rule_that_makes_no_sense(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Alert(**arguments)


def test_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="headrace"):
        log(Alert("errors", above=0), reading(0, errors=3))
    assert caplog.messages == ["train: errors above 0: it is 3 (epoch 1, position 64)"]


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[dict[str, str], Any]]]]:
    """Its address, and what was posted to it."""
    got: list[tuple[dict[str, str], Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((dict(self.headers), json.loads(body)))
            self.send_response({"/broken": 500, "/moved": 302}.get(self.path, 204))
            self.send_header("Location", "/hook")
            self.end_headers()

        def do_GET(self) -> None:
            got.append((dict(self.headers), None))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}", got
        made.shutdown()
        thread.join()


def test_webhook(server: tuple[str, list[tuple[dict[str, str], Any]]]) -> None:
    url, got = server
    hook = Webhook(url=url + "/hook", headers={"Authorization": "Bearer secret"})
    hook(Alert("stall_share", above=0.3), reading(12.5, stall_share=0.5))
    ((headers, body),) = got
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == "application/json"
    assert body == {
        "alert": "stall_share above 0.3", "metric": "stall_share", "value": 0.5, "loader": "train", "time": 12.5,
        "text": "stall_share above 0.3: it is 0.5 (epoch 1, position 64)",
    }  # fmt: skip
    assert "secret" not in repr(hook)
    assert url not in repr(hook)
    with pytest.raises(OSError, match="500"):
        Webhook(url=url + "/broken")(Alert("errors", above=0), reading(0, errors=1))


def test_a_webhook_elsewhere() -> None:
    with pytest.raises(ValueError, match="http"):
        Webhook(url="file:///etc/passwd")


def test_what_an_alert_does_is_a_callable() -> None:
    with pytest.raises(TypeError, match="do must be a callable or a Webhook, got str"):
        Alert("errors", above=1, do="https://x.test")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"url": "https://x.test/secret path"}, {"url": "https://x.test/secret\n"}, {"url": "https://"}, {"url": "https://x.test/secr\xe9t"},
        {"url": "https://x.test", "headers": {"Authorization": "secret\r\nX: y"}}, {"url": "https://x.test", "headers": {"a b": "secret"}},
    ],
)  # fmt: skip
def test_a_webhook_that_could_not_be_sent_is_refused_without_its_secrets(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a webhook's") as refused:
        Webhook(**options)
    assert "secr" not in str(refused.value)
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            Webhook(url="https://x.test", timeout=timeout)


def test_a_redirect_is_not_followed(server: tuple[str, list[tuple[dict[str, str], Any]]]) -> None:
    url, got = server
    with pytest.raises(OSError, match="302"):
        Webhook(url=url + "/moved", headers={"Authorization": "Bearer secret"})(Alert("errors", above=0), reading(0, errors=1))
    assert len(got) == 1  # Nothing went to /hook, where it points.
