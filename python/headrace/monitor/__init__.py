"""What a loader does while it trains, to where people look: JSON lines, Prometheus, TensorBoard; and alerts.

| file | holds |
|---|---|
| `watch` | the thread that looks every few seconds |
| `reading` | what it sees: rates since the last look, and totals |
| `alerts` | rules on readings, and what they do |
| `exporters` | where readings go |
| `telling` | the thread that carries out what alerts do |
| `publish` | a socket that `headrace top` reads |

    with hr.monitor.watch(loader, to=[hr.monitor.JsonLines("loader.jsonl")], alerts=[hr.monitor.Alert("stall_share", above=0.3, for_seconds=60)]):
        train(loader)

It costs a thread that sleeps, and one stats() a look; and a thread for what alerts do, once one speaks.
"""

from __future__ import annotations

from headrace.monitor.alerts import Alert, Webhook
from headrace.monitor.exporters import JsonLines, Prometheus, TensorBoard
from headrace.monitor.publish import Publish
from headrace.monitor.reading import METRICS, Reading
from headrace.monitor.watch import Watch, watch

__all__ = ["METRICS", "Alert", "JsonLines", "Prometheus", "Publish", "Reading", "TensorBoard", "Watch", "Webhook", "watch"]
