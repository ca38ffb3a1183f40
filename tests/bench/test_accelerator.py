"""The arithmetic of utilisation, on a clock that only moves when it is told to."""

import pytest

from headrace.bench.accelerator import simulate


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds

    def batches(self, waits):
        """Batches of 8 samples, each after a wait."""
        for wait in waits:
            self.advance(wait)
            yield 8


def run(waits, *, compute=0.5, most=1000):
    clock = Clock()
    return simulate(
        clock.batches(waits), compute_seconds=compute, batch_samples=lambda size: size, max_steps=most, sleep=clock.advance, clock=clock
    )


def test_the_wait_for_the_first_batch_is_left_out_of_utilisation_but_not_of_the_rate():
    done = run([10.0, 0.0, 0.0, 0.0])
    assert done.utilisation == pytest.approx(1.0)
    assert done.samples_per_second == pytest.approx(32 / 12)


def test_waits_between_steps_count():
    done = run([0.0, 0.5, 0.5, 0.5])  # 4 * 0.5 s of compute, 1.5 s of waiting
    assert done.utilisation == pytest.approx(2.0 / 3.5)
    assert done.samples_per_second == pytest.approx(32 / 3.5)


def test_the_run_ends_after_the_most_steps():
    done = run([0.0] * 100, most=7)
    assert done.steps == 7
    assert done.samples_per_second == pytest.approx(16)


def test_without_a_batch_there_is_no_utilisation():
    with pytest.raises(ValueError, match="no batch"):
        run([])
