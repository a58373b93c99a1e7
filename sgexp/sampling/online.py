"""Samplers that draw every epoch anew, with replacement: how often is a matter of classes, or of families.

With n_c of N samples in class c, "instance" draws a class with probability p_c = n_c / N, "class_balanced" with 1 / K,
and in between p_c is proportional to n_c^q (B. Kang et al., Decoupling Representation and Classifier for Long-Tailed
Recognition, ICLR 2020, arXiv:1910.09217, sect. 4.1). Within a class every sample is drawn equally often.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sgexp.sampling.features import FeatureRows
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.recipe import Blocks, Recipe, Shares

_MOVING = (
    "the classes' shares change from epoch to epoch: a loss that asks how often each is drawn is told their mean over "
    "the training."
)


class OnlineSampler:
    """Makes a plan whose candidates are the training samples, and whose recipe decides what each epoch draws.

    ``recipe``: labels (N,), families (N,) -> the recipe. ``by_family``: ``groups_N`` are to be families, not materials.
    """

    needs_features = False

    def __init__(
        self,
        recipe: Callable[[np.ndarray, np.ndarray], Recipe],
        notes: tuple[str, ...] = (),
        *,
        by_family: bool = False,
    ) -> None:
        self.recipe, self.notes, self.by_family = recipe, notes, by_family

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Plan from the labels (and families); the seed is asked for when an epoch begins."""
        rows = np.arange(len(labels_N))
        recipe = self.recipe(np.asarray(labels_N), np.asarray(groups_N))
        return ResamplingPlan(rows, rows, np.zeros(len(rows)), "recipe", self.notes, recipe=recipe)


def _between(labels_N: np.ndarray, first: float, last: float, way: np.ndarray) -> Shares:
    """Return the recipe that draws class c in proportion to n_c^first, then n_c^last; as many draws as samples."""
    _, number, counts = np.unique(labels_N, return_inverse=True, return_counts=True)
    first_N, last_N = (counts[number] ** (power - 1.0) for power in (first, last))
    n = len(labels_N)
    return Shares(first_N * (n / first_N.sum()), last_N * (n / last_N.sum()), way, number)


def _constant(share_N: np.ndarray, strata_N: np.ndarray) -> Shares:
    return Shares(share_N, share_N, np.zeros(1), strata_N)


def instance() -> OnlineSampler:
    """Every sample equally often: once an epoch, unless ``trainer.epoch_draws`` says otherwise."""
    return OnlineSampler(lambda labels, _: _between(labels, 1.0, 1.0, np.zeros(1)))


def sqrt() -> OnlineSampler:
    """Classes in proportion to the square root of their counts."""
    return OnlineSampler(lambda labels, _: _between(labels, 0.5, 0.5, np.zeros(1)))


def class_balanced() -> OnlineSampler:
    """Every class equally often."""
    return OnlineSampler(lambda labels, _: _between(labels, 0.0, 0.0, np.zeros(1)))


def progressive(epochs: int) -> OnlineSampler:
    """From every sample equally often to every class: in epoch e of T, (1 - e/T) of the one and e/T of the other."""
    way = np.arange(epochs) / epochs
    return OnlineSampler(lambda labels, _: _between(labels, 1.0, 0.0, way), (_MOVING,))


def deferred(start: float, epochs: int) -> OnlineSampler:
    """Every sample equally often for the share ``start`` of the epochs, then every class.

    The deferred re-sampling of K. Cao et al., NeurIPS 2019, arXiv:1906.07413. ``stage=drs`` does the same and tells the
    loss what is drawn in each of the two parts.
    """
    way = (np.arange(epochs) >= round(start * epochs)).astype(float)
    return OnlineSampler(lambda labels, _: _between(labels, 1.0, 0.0, way), (_MOVING,))


def repeat_factor(threshold: float) -> OnlineSampler:
    """Samples of class c max(1, sqrt(threshold / f_c)) times an epoch, f_c = n_c / N: nobody less than once.

    A. Gupta, P. Dollar, R. Girshick, LVIS, CVPR 2019, arXiv:1908.03195, sect. 4.2.
    """

    def recipe(labels_N: np.ndarray, groups_N: np.ndarray) -> Shares:
        _, number, counts = np.unique(labels_N, return_inverse=True, return_counts=True)
        return _constant(np.maximum(1.0, np.sqrt(threshold * len(labels_N) / counts))[number], number)

    return OnlineSampler(recipe)


def m_per_class(m: int) -> OnlineSampler:
    """Batches of classes with ``m`` samples each, every class equally often, as losses on pairs of samples want them.

    A. Hermans, L. Beyer, B. Leibe, arXiv:1703.07737, sect. 2 (PK batches).
    """
    return OnlineSampler(lambda labels, _: Blocks(labels, m))


def family_balanced(groups: str) -> OnlineSampler:
    """Every family of a group equally often. ``groups``: "even", every group too; "families", every family of all."""

    def recipe(labels_N: np.ndarray, families_N: np.ndarray) -> Shares:
        _, number = np.unique(labels_N, return_inverse=True)
        names = np.unique(families_N, return_inverse=True)[1]
        pairs, pair, samples = np.unique(number * (names.max() + 1) + names, return_inverse=True, return_counts=True)
        families = np.bincount(pairs // (names.max() + 1))
        share = 1.0 / samples[pair] / (families[number] if groups == "even" else 1.0)
        return _constant(share * (len(labels_N) / share.sum()), pair)

    return OnlineSampler(recipe, by_family=True)
