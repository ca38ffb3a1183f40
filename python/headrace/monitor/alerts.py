"""Rules on readings: a metric above or below a bound for so long calls somebody, once, until it was well again."""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.monitor.reading import METRICS, Reading

__all__ = ["Alert", "Webhook", "log"]

_LOGGER = logging.getLogger("headrace")
Action = Callable[["Alert", Reading], object]


def log(alert: Alert, reading: Reading) -> None:
    """Say it through the logger "headrace", as a warning."""
    _LOGGER.warning("%s: %s", reading.loader, alert.describe(reading))


@dataclass(kw_only=True)
class Webhook:
    """POST an alert as JSON {"alert", "metric", "value", "loader", "time", "text"} to a URL. `headers` never appear in texts."""

    url: str = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 5.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("a webhook's url must begin with http:// or https://")

    def __call__(self, alert: Alert, reading: Reading) -> None:
        """Raises OSError if nobody answers, or answers with an error; watch() logs that and goes on."""
        body = {
            "alert": alert.title,
            "metric": alert.metric,
            "value": reading.metrics()[alert.metric],
            "loader": reading.loader,
            "time": reading.time,
            "text": alert.describe(reading),
        }
        request = urllib.request.Request(
            self.url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json", **self.headers}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=self.timeout):
            pass


@dataclass
class Alert:
    """`metric` (one of METRICS) above or below a bound in every reading for `for_seconds`: then `do` is called with (alert, reading), once.

    It is armed again by a reading within the bound. do: log (the default), a Webhook, or any callable; it runs on the watching thread, and what it
    raises is logged. For a regression: below=0.8 * samples_per_second of a good run.
    Raises ValueError for an unknown metric, and unless exactly one bound is given.
    """

    metric: str
    above: float | None = None
    below: float | None = None
    for_seconds: float = 0.0
    do: Action = log
    name: str | None = None
    _since: float | None = field(default=None, init=False, repr=False)
    _told: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"there is no metric {self.metric!r}; metrics are {', '.join(METRICS)}")
        if (self.above is None) == (self.below is None):
            raise ValueError(f"alert on {self.metric}: give either above= or below=")
        if not self.for_seconds >= 0:
            raise ValueError(f"for_seconds must be 0 or more, got {self.for_seconds}")

    @property
    def title(self) -> str:
        """Its name, or its rule in words."""
        bound = f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"
        return self.name or f"{self.metric} {bound}" + (f" for {self.for_seconds:g} s" if self.for_seconds else "")

    def describe(self, reading: Reading) -> str:
        """What is wrong, in words."""
        return f"{self.title}: it is {reading.metrics()[self.metric]:.4g} (epoch {reading.epoch}, position {reading.position})"

    def breaks(self, reading: Reading) -> bool:
        """Whether a reading is out of bounds."""
        value = reading.metrics()[self.metric]
        return value > self.above if self.above is not None else value < (self.below or 0.0)

    def look(self, reading: Reading) -> bool:
        """Take a reading in; whether the alert is to be told now."""
        if not self.breaks(reading):
            self._since, self._told = None, False
            return False
        if self._since is None:
            self._since = reading.time - reading.seconds  # It was so all the while since the last look.
        if self._told or reading.time - self._since < self.for_seconds:
            return False
        self._told = True
        return True
