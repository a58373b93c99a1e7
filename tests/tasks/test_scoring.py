"""What baselines learn from when there are more training samples than they can take."""

import numpy as np

from sgexp.tasks.scoring import thinned


def test_thinning_keeps_every_class_and_the_shares_of_the_large_ones():
    labels = np.repeat([1, 2, 3, 4], [100_000, 50_000, 3, 1])
    chosen = thinned(labels, 15_000)
    counts = np.bincount(labels[chosen], minlength=5)[1:]
    assert counts[2:].tolist() == [1, 1]
    assert abs(counts[0] - 2 * counts[1]) <= 2 and 14_990 < counts.sum() <= 15_002
    assert (np.diff(chosen) > 0).all()


def test_few_samples_are_all_kept():
    assert thinned(np.array([5, 5, 7]), 3).tolist() == [0, 1, 2]
