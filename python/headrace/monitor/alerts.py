"""Rules on readings: a metric above or below a bound for so long calls somebody, once, until it was well again."""

from __future__ import annotations

import json
import logging
import math
import numbers
import re
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from headrace.monitor.reading import METRICS, Reading

__all__ = ["Alert", "Webhook", "log"]

_LOGGER = logging.getLogger("headrace")
_PRINTABLE = re.compile(r"[!-~]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
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
        # Said here, and without the values: later they would be in the log, and urls and headers hold secrets.
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("a webhook's url must begin with http:// or https://")
        if not _PRINTABLE.fullmatch(self.url) or not urllib.parse.urlsplit(self.url).hostname:
            raise ValueError("a webhook's url must name a host, and hold only ASCII without spaces (percent-encode others)")
        if not all(_HEADER.fullmatch(name) and _PRINTABLE.fullmatch(value.replace(" ", "_")) for name, value in self.headers.items()):
            raise ValueError("a webhook's headers must be text without line ends and control characters")
        if not 0 < self.timeout <= 3600:
            raise ValueError(f"timeout must be above 0 and at most 3600 s, got {self.timeout}")

    def __call__(self, alert: Alert, reading: Reading) -> None:
        """Raises OSError if nobody answers, or answers with an error or a redirect; watch() logs that and goes on."""
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
        # A redirect would send the alert and its headers to whoever it names. The answer's body is not read: it may never end.
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout):
            pass


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


@dataclass
class Alert:
    """`metric` (one of METRICS) above or below a bound in every reading for `for_seconds`: then `do` is called with (alert, reading), once.

    It is armed again by a reading within the bound. do: log (the default), a Webhook, or any callable; it runs on a thread of its own, one alert after the
    other, so one that hangs holds up other alerts only; what it raises is logged. For a regression: below=0.8 * samples_per_second of a good run.
    Raises ValueError for an unknown metric, for bounds that are no finite numbers, and unless exactly one is given; TypeError for `do` that is no callable.
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
        if self.metric not in tuple(METRICS):  # Compared, not hashed: it may be anything.
            raise ValueError(f"there is no metric {self.metric!r}; metrics are {', '.join(METRICS)}")
        if (self.above is None) == (self.below is None):
            raise ValueError(f"alert on {self.metric}: give either above= or below=")
        for name in ("above", "below", "for_seconds"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value)):
                raise ValueError(f"alert on {self.metric}: {name} must be a number, got {value!r}")
        if not self.for_seconds >= 0:
            raise ValueError(f"for_seconds must be 0 or more, got {self.for_seconds}")
        if not callable(self.do):
            raise TypeError(f"alert on {self.metric}: do must be a callable or a Webhook, got {type(self.do).__name__}")

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
