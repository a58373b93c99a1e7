"""How unequal classes are: figures of a list of counts, one a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BETA = 0.999  # of Cui et al.: about 1,000 samples of a class are as good as any number


@dataclass(frozen=True)
class Imbalance:
    """Figures of the counts of the classes present.

    ``ratio``: largest to smallest. ``gini``: 0 for equal counts, towards 1 if one class has nearly all (C. Gini, 1912).
    ``effective_classes``: exp of the entropy of the shares, the number of equal classes that would be as diverse (M. O.
    Hill, Ecology 54, 427, 1973, order 1). ``effective_samples``: sum over classes of (1 - b^n) / (1 - b), b = 0.999,
    where further samples of a class count ever less (Y. Cui et al., CVPR 2019, eq. 2). ``singletons``: classes with a
    count of one. ``top_ten``: share of the ten largest classes.
    """

    classes: int
    total: int
    smallest: int
    median: float
    largest: int
    ratio: float
    gini: float
    effective_classes: float
    effective_samples: float
    singletons: int
    top_ten: float


def imbalance(counts: np.ndarray) -> Imbalance:
    """Return the figures of counts (K,) of classes; those with a count of 0 are not present."""
    present = np.sort(counts[counts > 0].astype(np.float64))
    n = len(present)
    if not n:
        return Imbalance(0, 0, 0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0.0)
    total = float(present.sum())
    shares = present / total
    ranks = np.arange(1, n + 1)
    return Imbalance(
        classes=n,
        total=int(total),
        smallest=int(present[0]),
        median=float(np.median(present)),
        largest=int(present[-1]),
        ratio=float(present[-1] / present[0]),
        gini=float(np.sum((2 * ranks - n - 1) * present) / (n * total)),
        effective_classes=float(np.exp(-np.sum(shares * np.log(shares)))),
        effective_samples=float(np.sum((1 - BETA**present) / (1 - BETA))),
        singletons=int(np.count_nonzero(present == 1)),
        top_ten=float(present[-10:].sum() / total),
    )
