"""Figures of imbalance on cases that are known by hand, and against SciPy."""

import numpy as np
import pytest
from scipy.stats import entropy

from sgexp.data.imbalance import BETA, imbalance


def test_equal_classes_are_not_imbalanced():
    found = imbalance(np.full(20, 7))
    assert (found.classes, found.total, found.ratio, found.gini) == (20, 140, 1, 0)
    assert found.effective_classes == pytest.approx(20)
    assert found.singletons == 0


def test_figures_of_a_long_tail():
    counts = np.array([100, 10, 1, 1, 0, 0])
    found = imbalance(counts)
    assert (found.classes, found.smallest, found.largest, found.ratio, found.singletons) == (4, 1, 100, 100, 2)
    present = counts[counts > 0]
    differences = np.abs(present[:, np.newaxis] - present).mean()
    assert found.gini == pytest.approx(differences / (2 * present.mean()))  # Gini's own definition
    assert found.effective_classes == pytest.approx(np.exp(entropy(present / present.sum())))
    series = sum(sum(BETA**k for k in range(n)) for n in present)  # Cui et al., eq. 2, as a sum
    assert found.effective_samples == pytest.approx(series)
    assert found.top_ten == 1


def test_nothing_has_figures_too():
    assert imbalance(np.zeros(5, int)).classes == 0
