"""How long the rest of a sweep takes, and the table of its means."""

from types import SimpleNamespace

import pytest
from scipy import stats

from sgexp.sweeps.display import ending, seconds_left
from sgexp.sweeps.manifest import Job
from sgexp.sweeps.table import mean


def child(seconds, done, epochs=10, before=0):
    job = SimpleNamespace(epochs=epochs, number=1)
    return SimpleNamespace(job=job, seconds=seconds, epochs_done=done, epochs_before=before)


def test_nothing_is_said_of_the_time_left_before_anything_is_known():
    assert seconds_left([child(3.0, 0)], [None], [], slots=1) is None


def test_the_time_left_counts_running_and_waiting_jobs():
    assert seconds_left([child(50.0, 5)], [], [], slots=1) == pytest.approx(50)
    assert seconds_left([child(50.0, 5)], [None] * 3, [], slots=1) == pytest.approx(350)
    assert seconds_left([child(50.0, 5), child(50.0, 5)], [None] * 2, [100.0], slots=2) == pytest.approx(150)
    assert seconds_left([child(50.0, 5), child(1.0, 0)], [], [100.0], slots=2) == 99  # the longest


def test_the_time_left_of_a_run_that_goes_on_counts_its_new_epochs_alone():
    assert seconds_left([child(4.0, 8, before=6)], [], [], slots=1) == pytest.approx(4)
    assert seconds_left([child(4.0, 6, before=6)], [], [], slots=1) is None


def test_the_line_of_a_failed_job_is_one_line_of_plain_text():
    job = Job(3, [], "k", None, state="failed", reason="[red]\x1b[2Jboom\nagain", seconds=3.0, label="seed=[1]")
    assert ending(job, 4) == "job 3 of 4 [red]failed[/] after 3.0 s: seed=[1]: \\[red] [2Jboom again"


@pytest.mark.parametrize("values", [[0.2, 0.4], [0.1, 0.35, 0.3], [0.617, 0.603, 0.61, 0.59, 0.62]])
def test_means_have_students_interval(values):
    found = mean(values)
    low, high = stats.t.interval(0.95, len(values) - 1, stats.tmean(values), stats.sem(values))
    assert (found.value - found.half_width, found.value + found.half_width) == pytest.approx((low, high))


def test_a_single_seed_has_no_interval():
    assert str(mean([0.25])) == "0.250"
