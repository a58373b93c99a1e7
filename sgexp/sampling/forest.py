"""scikit-learn's random forest, of which one tree is in memory at a time.

A tree that tells K classes apart holds K numbers at each of its nodes. For SMC-19's 148,006 samples of 200 groups that
is up to 0.4 GB a tree, where leaves hold one sample, and a forest of a hundred would not fit into any usual memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from sgexp.console import progress


class OneTreeAtATime(RandomForestClassifier):
    """A forest whose trees grow when it is asked for probabilities, vote, and are gone: its answers, to the bit."""

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: None = None) -> OneTreeAtATime:
        """Keep the samples (N, F) and their classes (N,)."""
        self._samples = X, y
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of each class, the mean over the trees, (n, K) float64."""
        settings: dict[str, Any] = self.get_params(deep=False) | {"warm_start": True}
        forest = RandomForestClassifier(**settings)
        total_nK = np.zeros((len(X), len(self.classes_)))
        with progress(transient=True) as bar:
            for number in bar.track(range(self.n_estimators), description="trees of a forest"):
                forest.set_params(n_estimators=number + 1).fit(*self._samples)  # grows the trees that are not there yet
                total_nK += forest.estimators_[number].predict_proba(X)
                forest.estimators_[number] = None  # its place is what counts
        return total_nK / self.n_estimators
