"""Approximate neighbours: scikit-learn's nearly always, and the same draws as exact ones where these are few."""

import dataclasses

import numpy as np
import pytest
from imblearn.under_sampling import OneSidedSelection
from sklearn.neighbors import NearestNeighbors

from sgexp.sampling.neighbours import ApproximateNeighbors, ApproximateOneSided
from sgexp.sampling.schema import GROUPS
from sgexp.schema import build

CHOOSE = [cls for cls in GROUPS["sampler"] if "neighbours" in {field.name for field in dataclasses.fields(cls)}]


def clustered(n, n_features=12, seed=0):
    """Samples around centres of their own, two in three of them close to one of the first, as energies are."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n // 3, n_features))
    return np.concatenate([x, x + 0.1 * rng.normal(size=x.shape), x - 0.1 * rng.normal(size=x.shape)]).astype("f4")


def test_nearly_all_neighbours_are_those_of_scikit_learn_in_the_same_order():
    x = clustered(6000)
    distance, rows = ApproximateNeighbors(n_neighbors=6).fit(x).kneighbors(x)
    true_distance, true_rows = NearestNeighbors(n_neighbors=6).fit(x).kneighbors(x)
    np.testing.assert_array_equal(rows[:, 0], np.arange(len(x)))
    found = np.mean([len(set(a) & set(b)) / 6 for a, b in zip(rows, true_rows, strict=True)])
    assert 0.85 < found < 1.0
    np.testing.assert_allclose(distance, np.linalg.norm(x[rows] - x[:, None], axis=2), rtol=1e-5)
    assert (np.diff(distance, axis=1) >= 0).all() and (distance[:, :3] >= true_distance[:, :3] - 1e-5).all()


def test_copies_are_found_at_no_distance_and_the_answer_is_always_the_same():
    x = clustered(3000) + 100
    x[7] = x[2100]
    search = ApproximateNeighbors(n_neighbors=2).fit(x)
    distance, rows = search.kneighbors(x[[7]])
    assert rows[0].tolist() == [7, 2100] and distance[0].tolist() == [0, 0]
    again = ApproximateNeighbors(n_neighbors=2).fit(x).kneighbors(x, return_distance=False)
    np.testing.assert_array_equal(again, search.kneighbors(x, return_distance=False))


def test_without_samples_to_ask_for_a_sample_is_not_its_own_neighbour():
    x = clustered(3000)
    rows = ApproximateNeighbors(n_neighbors=3).fit(x).kneighbors(return_distance=False)
    assert rows.shape == (3000, 3) and not (rows == np.arange(3000)[:, None]).any()


def test_few_samples_are_searched_exactly():
    x = clustered(900)
    ours = ApproximateNeighbors(n_neighbors=5).fit(x).kneighbors(x, return_distance=False)
    np.testing.assert_array_equal(ours, NearestNeighbors(n_neighbors=5).fit(x).kneighbors(x, return_distance=False))


@pytest.mark.parametrize("cls", CHOOSE, ids=lambda cls: cls.__name__)
def test_a_choice_draws_nearly_the_same_with_approximate_neighbours(cls):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([1, 2, 3], [1600, 700, 100]))
    features = (rng.normal(size=(4, 8))[labels] + rng.normal(size=(2400, 8))).astype(np.float32)
    materials = np.arange(2400) // 2
    knobs = {"rare": "keep"} if "rare" in {field.name for field in dataclasses.fields(cls)} else {}
    exact, near = (
        build(cls(neighbours=how, **knobs)).plan(labels, materials, features, seed=0)
        for how in ("exact", "approximate")
    )
    a, b = (set(zip(plan.base.tolist(), plan.partner.tolist(), strict=True)) for plan in (exact, near))
    assert len(a & b) > 0.85 * len(a | b)


def test_one_sided_selection_of_few_samples_is_imbalanced_learns_row_for_row():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat([0, 1, 2, 3], [300, 120, 9, 9]))
    x = rng.normal(size=(4, 5))[y] + rng.normal(size=(len(y), 5))
    for seeds in (1, 3):
        ours, theirs = (cls(random_state=4, n_seeds_S=seeds) for cls in (ApproximateOneSided, OneSidedSelection))
        ours.fit_resample(x, y), theirs.fit_resample(x, y)
        np.testing.assert_array_equal(ours.sample_indices_, theirs.sample_indices_)
