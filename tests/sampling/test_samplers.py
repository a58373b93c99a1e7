"""Against imbalanced-learn itself: the same draws, bit for bit, from a plan that holds no pixels."""

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

from sgexp.errors import ConfigError
from sgexp.sampling.plain import Plain
from sgexp.sampling.random_selection import RandomOver, RandomUnder
from sgexp.sampling.smote import Smote, cross_material, energy_interpolation


def over(balance="majority", cap=100, table=None):
    return RandomOver(balance, cap, table or {})


def under(balance="minority", cap=100, table=None):
    return RandomUnder(balance, cap, table or {})


def smote(balance="majority", cap=100, table=None, k_neighbors=5, partners="any"):
    return Smote(balance, cap, table or {}, k_neighbors, partners)


def sample_set(counts, n_features=48, dtype=np.float32, energies=3, seed=0):
    """Shuffled labels, materials (``energies`` samples each) and features that lie near each other in a material."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(list(counts), list(counts.values()))
    position = np.concatenate([np.arange(n) for n in counts.values()])
    materials = np.array([f"m{group}-{i // energies}" for group, i in zip(labels, position, strict=True)])
    _, number = np.unique(materials, return_inverse=True)
    centres = rng.normal(size=(number.max() + 1, n_features))
    features = (centres[number] + 0.05 * rng.normal(size=(len(labels), n_features))).astype(dtype)
    order = rng.permutation(len(labels))
    return labels[order], materials[order], features[order]


COUNTS = {2: 60, 14: 41, 62: 20, 148: 7, 225: 20}


def test_plain_draws_every_sample_once():
    labels, materials, _ = sample_set(COUNTS)
    plan = Plain().plan(labels, materials, None, seed=1)
    np.testing.assert_array_equal(plan.base, np.arange(len(labels)))
    assert not plan.weight.any()


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_random_over_draws_the_rows_of_imbalanced_learn(seed):
    labels, materials, features = sample_set(COUNTS, seed=seed)
    plan = over().plan(labels, materials, None, seed)
    theirs = RandomOverSampler(random_state=seed)
    theirs.fit_resample(features, labels)
    np.testing.assert_array_equal(plan.base, theirs.sample_indices_)
    np.testing.assert_array_equal(plan.partner, plan.base)


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_random_under_draws_the_rows_of_imbalanced_learn(seed):
    labels, materials, features = sample_set(COUNTS, seed=seed)
    plan = under().plan(labels, materials, None, seed)
    theirs = RandomUnderSampler(random_state=seed)
    theirs.fit_resample(features, labels)
    np.testing.assert_array_equal(plan.base, theirs.sample_indices_)
    assert len(np.unique(plan.base)) == len(plan)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("k_neighbors", [1, 5])
def test_smote_on_pixels_mixes_to_the_bits_of_imbalanced_learn(dtype, seed, k_neighbors):
    pixels = 3 * 16 * 16
    labels, materials, features = sample_set(COUNTS, pixels, dtype, seed=seed)
    plan = smote(k_neighbors=k_neighbors).plan(labels, materials, features, seed)
    theirs, their_labels = SMOTE(random_state=seed, k_neighbors=k_neighbors).fit_resample(features, labels)
    mixed = plan.mix(features)
    assert mixed.dtype == theirs.dtype == dtype
    np.testing.assert_array_equal(mixed.view(np.uint8), theirs.view(np.uint8))
    np.testing.assert_array_equal(labels[plan.base], their_labels)
    np.testing.assert_array_equal(labels[plan.base], labels[plan.partner])


@pytest.mark.parametrize("seed", range(8))
def test_smote_equals_imbalanced_learn_on_random_counts_and_targets(seed):
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.choice(np.arange(1, 231), 6, replace=False)).tolist()
    counts = {group: int(rng.integers(6, 50)) for group in groups}
    table = {group: n + int(rng.integers(0, 30)) for group, n in counts.items()}
    labels, materials, features = sample_set(counts, seed=seed)
    plan = smote("table", table=table).plan(labels, materials, features, seed)
    theirs, _ = SMOTE(random_state=seed, sampling_strategy=table).fit_resample(features, labels)
    np.testing.assert_array_equal(plan.mix(features), theirs)


@pytest.mark.parametrize("seed", range(4))
def test_smote_equals_imbalanced_learn_among_copies_and_equal_distances(seed):
    labels, materials, _ = sample_set(COUNTS, seed=seed)
    features = np.random.default_rng(seed).integers(0, 2, (len(labels), 20)).astype(np.float32)
    features[::7] = features[0]
    plan = smote().plan(labels, materials, features, seed)
    theirs, _ = SMOTE(random_state=seed).fit_resample(features, labels)
    np.testing.assert_array_equal(plan.mix(features), theirs)


@pytest.mark.slow
def test_smote_equals_imbalanced_learn_on_large_classes():
    labels, materials, features = sample_set({1: 4000, 2: 3500, 3: 900}, n_features=64)
    plan = smote().plan(labels, materials, features, seed=1)
    theirs, _ = SMOTE(random_state=1).fit_resample(features, labels)
    np.testing.assert_array_equal(plan.mix(features), theirs)


@pytest.mark.parametrize("partners", ["any", "other_material"])
def test_rare_classes_shrink_k_then_repeat_and_it_is_said_once(partners):
    labels, materials, features = sample_set({1: 30, 2: 4, 3: 2, 4: 1, 5: 1}, energies=1)
    plan = smote(partners=partners).plan(labels, materials, features, seed=3)
    assert plan.drawn_counts(labels) == dict.fromkeys(range(1, 6), 30)
    assert len(plan.notes) == 2
    assert plan.notes[0].startswith("2 classes have too few samples for 5 neighbours")
    assert plan.notes[1].startswith("2 classes have a single")
    drawn = plan.base[len(labels) :]
    for group in (4, 5):
        assert not plan.weight[len(labels) :][labels[drawn] == group].any()
    shrunk = labels[drawn] == 2
    assert (plan.base[len(labels) :][shrunk] != plan.partner[len(labels) :][shrunk]).all()
    assert set(plan.partner[len(labels) :][shrunk]) == set(np.flatnonzero(labels == 2))


def test_a_class_with_as_many_samples_as_k_uses_the_largest_k_that_imbalanced_learn_takes():
    labels, materials, features = sample_set({1: 30, 2: 5})
    plan = smote().plan(labels, materials, features, seed=3)
    with pytest.raises(ValueError, match="n_neighbors"):
        SMOTE(random_state=3).fit_resample(features, labels)
    theirs, _ = SMOTE(random_state=3, k_neighbors=4).fit_resample(features, labels)
    np.testing.assert_array_equal(plan.mix(features), theirs)


def test_plain_pairs_join_energies_of_one_material_and_other_material_does_not():
    labels, materials, features = sample_set({1: 200, 2: 60, 3: 40}, energies=10)
    drawn = slice(len(labels), None)
    plain = smote().plan(labels, materials, features, seed=0)
    assert (materials[plain.base] == materials[plain.partner])[drawn].mean() > 0.99
    across = smote(partners="other_material").plan(labels, materials, features, seed=0)
    assert not (materials[across.base] == materials[across.partner])[drawn].any()
    np.testing.assert_array_equal(labels[across.base], labels[across.partner])


def test_cross_material_and_energy_interpolation_are_smote_with_other_partners():
    labels, materials, features = sample_set({1: 200, 2: 60, 3: 40, 4: 1}, energies=10)
    across = cross_material("majority", 1, {}, 5).plan(labels, materials, features, seed=0)
    same = smote(partners="other_material").plan(labels, materials, features, seed=0)
    np.testing.assert_array_equal(across.partner, same.partner)
    within = energy_interpolation("majority", 1, {}, 5).plan(labels, materials, features, seed=0)
    np.testing.assert_array_equal(materials[within.base], materials[within.partner])
    assert within.drawn_counts(labels) == dict.fromkeys(range(1, 5), 200)
    mixed = within.weight > 0
    assert (within.base[mixed] != within.partner[mixed]).all()
    assert within.notes == ("1 class has no material with two samples: repeated, nothing to mix with.",)
    # Where plain SMOTE joins energies anyway, that is what this is: the same draws.
    plain = smote().plan(labels, materials, features, seed=0)
    np.testing.assert_array_equal(within.partner[labels[within.base] == 3], plain.partner[labels[plain.base] == 3])


def test_a_material_with_fewer_energies_than_neighbours_is_mixed_with_those_it_has():
    labels, materials, features = sample_set({1: 40, 2: 6}, energies=3)
    materials = np.where(np.arange(46) == np.flatnonzero(labels == 2)[0], "alone", materials)
    plan = energy_interpolation("majority", 1, {}, 5).plan(labels, materials, features, seed=0)
    drawn = (labels[plan.base] == 2) & (np.arange(len(plan)) >= 46)
    np.testing.assert_array_equal(materials[plan.base], materials[plan.partner])
    assert (plan.base[drawn] != plan.partner[drawn]).all()
    assert "alone" not in set(materials[plan.base[drawn]])
    assert set(plan.partner[drawn]) == set(np.flatnonzero((labels == 2) & (materials != "alone")))


def test_partners_of_other_materials_are_the_nearest_ones():
    labels, materials, features = sample_set({1: 60, 2: 30}, energies=4, seed=2)
    plan = smote(k_neighbors=3, partners="other_material").plan(labels, materials, features, seed=0)
    drawn = plan.weight > 0
    rows = np.flatnonzero(labels == 2)
    for a, b in zip(plan.base[drawn], plan.partner[drawn], strict=True):
        others = rows[materials[rows] != materials[a]]
        distance = np.linalg.norm(features[others] - features[a], axis=1)
        assert b in others[np.argsort(distance)[:3]]


def test_a_class_of_one_material_is_repeated_where_partners_must_be_others():
    labels, materials, features = sample_set({1: 60, 2: 10}, energies=10)
    plan = smote(partners="other_material").plan(labels, materials, features, seed=0)
    assert plan.drawn_counts(labels) == {1: 60, 2: 60}
    assert not plan.weight.any()
    assert plan.notes == ("1 class has a single material: repeated, nothing to mix with.",)


@pytest.mark.parametrize(
    ("balance", "wanted"),
    [
        ("majority", {2: 60, 14: 60, 62: 60, 148: 60, 225: 60}),
        ("sqrt", {2: 60, 14: 50, 62: 35, 148: 20, 225: 35}),
        ("median", {2: 60, 14: 41, 62: 20, 148: 20, 225: 20}),
        ("cap", {2: 60, 14: 41, 62: 30, 148: 30, 225: 30}),
        ("table", {2: 60, 14: 45, 62: 20, 148: 12, 225: 20}),
    ],
)
@pytest.mark.parametrize("sampler", [over, smote])
def test_targets_of_the_samplers_that_add(sampler, balance, wanted):
    labels, materials, features = sample_set(COUNTS)
    plan = sampler(balance, cap=30, table={14: 45, 148: 12}).plan(labels, materials, features, seed=0)
    assert plan.drawn_counts(labels) == wanted


@pytest.mark.parametrize(
    ("balance", "wanted"),
    [
        ("minority", dict.fromkeys(COUNTS, 7)),
        ("sqrt", {2: 20, 14: 17, 62: 12, 148: 7, 225: 12}),
        ("median", {2: 20, 14: 20, 62: 20, 148: 7, 225: 20}),
        ("cap", {2: 30, 14: 30, 62: 20, 148: 7, 225: 20}),
        ("table", {2: 3, 14: 41, 62: 20, 148: 7, 225: 20}),
    ],
)
def test_targets_of_the_sampler_that_removes(balance, wanted):
    labels, materials, _ = sample_set(COUNTS)
    plan = under(balance, cap=30, table={2: 3}).plan(labels, materials, None, seed=0)
    assert plan.drawn_counts(labels) == wanted


@pytest.mark.parametrize("sampler", [over, under, smote])
def test_one_class_alone_is_planned(sampler):
    labels, materials, features = sample_set({14: 9})
    assert sampler().plan(labels, materials, features, seed=0).drawn_counts(labels) == {14: 9}


@pytest.mark.parametrize("sampler", [over, under, smote])
def test_a_group_of_the_table_without_samples_is_noted(sampler):
    labels, materials, features = sample_set(COUNTS)
    plan = sampler("table", table={2: 60, 199: 5}).plan(labels, materials, features, seed=0)
    assert "199" in plan.notes[0]


@pytest.mark.parametrize(
    ("sampler", "table", "words"),
    [
        (over, {}, "needs sampler.table"),
        (over, {14: 5}, "only adds"),
        (smote, {14: 5}, "only adds"),
        (under, {14: 500}, "only removes"),
        (under, {14: 0}, "no class may be emptied"),
    ],
)
def test_a_table_that_cannot_be_met_is_refused_with_the_way_out(sampler, table, words):
    labels, materials, features = sample_set(COUNTS)
    with pytest.raises(ConfigError, match=words):
        sampler("table", table=table).plan(labels, materials, features, seed=0)


@pytest.mark.parametrize("sampler", [over, under, smote])
def test_the_seed_decides_the_plan(sampler):
    labels, materials, features = sample_set(COUNTS)
    first, again, other = (sampler().plan(labels, materials, features, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.base, again.base)
    np.testing.assert_array_equal(first.weight, again.weight)
    assert not np.array_equal(first.base, other.base)


def test_features_may_be_half_precision_or_a_memory_map(tmp_path):
    labels, materials, features = sample_set(COUNTS)
    half = features.astype(np.float16)
    np.save(tmp_path / "half.npy", half)
    mapped = np.load(tmp_path / "half.npy", mmap_mode="r")
    plan = smote().plan(labels, materials, mapped, seed=0)
    full = smote().plan(labels, materials, half.astype(np.float32), seed=0)
    np.testing.assert_array_equal(plan.partner, full.partner)
