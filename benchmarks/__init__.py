"""Benchmarks of this repository: ours beside rivals, on the same data, in the same run."""
