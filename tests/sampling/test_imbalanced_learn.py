"""Every resampler of imbalanced-learn on SMC-19's 230 classes, scaled down with its tail of single samples.

imbalanced-learn itself is run beside ours wherever it runs at all on the same labels and features.
"""

import csv
import re
import warnings
from importlib import resources

import imblearn.combine
import imblearn.over_sampling
import imblearn.under_sampling
import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier

from sgexp.errors import ConfigError
from sgexp.sampling import schema
from sgexp.sampling.features import announce_search
from sgexp.sampling.forest import OneTreeAtATime
from sgexp.schema import build

SEED = 3


def smc19(share, least=1):
    """SMC-19's training counts of all 230 groups times ``share``, at least ``least`` each."""
    source = resources.files("sgexp.crystallography").joinpath("tables", "smc19_class_counts.csv")
    with source.open() as file:
        counts = [int(row["train"]) for row in csv.DictReader(file)]
    return {group: max(least, round(share * n)) for group, n in enumerate(counts, start=1)}


def sample_set(counts, dtype=np.float32, n_features=24, apart=1.5):
    """Shuffled labels and features: classes overlap, three samples a material lie close together."""
    rng = np.random.default_rng(0)
    labels = np.repeat(list(counts), list(counts.values()))
    material = np.concatenate([np.arange(n) // 3 for n in counts.values()]) + 10_000 * labels
    _, number = np.unique(material, return_inverse=True)
    centre = (
        apart * rng.normal(size=(231, n_features))[labels] + rng.normal(size=(number.max() + 1, n_features))[number]
    )
    features = (centre + 0.7 * rng.normal(size=(len(labels), n_features))).astype(dtype)
    order = rng.permutation(len(labels))
    return labels[order], material[order], features[order]


@pytest.fixture(scope="module")
def tail():
    """230 classes of 1 to 59 samples, more than a hundred of them single."""
    return sample_set(smc19(0.005))


@pytest.fixture(scope="module")
def whole():
    """230 classes of at least 7 that overlap widely: imbalanced-learn runs."""
    return sample_set(smc19(0.005, least=7), apart=0.3)


def named(name):
    (cls,) = [cls for cls in schema.GROUPS["sampler"] if cls.target.endswith(f".{name}")]
    return cls


def planned(name, data, **knobs):
    return build(named(name)(**knobs)).plan(*data, SEED)


ADDERS = {
    "borderline_smote": (imblearn.over_sampling.BorderlineSMOTE, {}),
    "svm_smote": (imblearn.over_sampling.SVMSMOTE, {}),
    "kmeans_smote": (imblearn.over_sampling.KMeansSMOTE, {}),
    "adasyn": (imblearn.over_sampling.ADASYN, {}),
    "smote_enn": (imblearn.combine.SMOTEENN, {}),
    "smote_tomek": (imblearn.combine.SMOTETomek, {}),
}
CLEANERS = {
    "tomek_links": imblearn.under_sampling.TomekLinks,
    "enn": imblearn.under_sampling.EditedNearestNeighbours,
    "renn": imblearn.under_sampling.RepeatedEditedNearestNeighbours,
    "all_knn": imblearn.under_sampling.AllKNN,
    "neighbourhood_cleaning": imblearn.under_sampling.NeighbourhoodCleaningRule,
    "one_sided_selection": imblearn.under_sampling.OneSidedSelection,
    "condensed_nn": imblearn.under_sampling.CondensedNearestNeighbour,
}


def theirs(sampler, data):
    """What imbalanced-learn makes of class numbers without gaps (one of its samplers needs them), and its labels."""
    labels, _, features = data
    groups, numbers = np.unique(labels, return_inverse=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made, made_numbers = sampler.fit_resample(features, numbers)
    return made, groups[made_numbers]


def seeded(cls, **settings):
    return cls(**({"random_state": SEED} if "random_state" in cls().get_params() else {}), **settings)


# Few classes that overlap: every method, SVM and k-means SMOTE too, runs in imbalanced-learn.
EASY = {2: 90, 14: 60, 62: 41, 148: 22, 225: 30}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ADDERS)
def test_adding_mixes_to_the_bits_of_imbalanced_learn(name, dtype):
    data = sample_set(EASY, dtype, n_features=4)
    plan = planned(name, data)
    made, made_labels = theirs(seeded(ADDERS[name][0]), data)
    mixed = plan.mix(data[2])
    np.testing.assert_array_equal(data[0][plan.base], made_labels)
    np.testing.assert_array_equal(data[0][plan.base], data[0][plan.partner])
    np.testing.assert_array_equal(mixed.view(np.uint8), made.view(np.uint8))
    assert np.count_nonzero(plan.weight) > 20


@pytest.mark.parametrize("name", ["borderline_smote", "adasyn", "smote_enn", "smote_tomek"])
def test_adding_to_230_classes_mixes_to_the_bits_of_imbalanced_learn(name, whole):
    table = dict.fromkeys(range(1, 231), 90)
    plan = planned(name, whole, balance="table", table=table, **({"rare": "keep"} if "smote_" in name else {}))
    numbered = {group - 1: n for group, n in table.items()}
    made, made_labels = theirs(seeded(ADDERS[name][0], sampling_strategy=numbered), whole)
    np.testing.assert_array_equal(whole[0][plan.base], made_labels)
    np.testing.assert_array_equal(plan.mix(whole[2]), made)


@pytest.mark.parametrize("name", ["borderline_smote", "svm_smote", "kmeans_smote", "adasyn"])
def test_adding_serves_every_one_of_230_classes_with_a_tail_of_single_samples(name, tail):
    labels = tail[0]
    plan = planned(name, tail)
    before = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    drawn = plan.drawn_counts(labels)
    np.testing.assert_array_equal(plan.base[: len(labels)], np.arange(len(labels)))
    single = [group for group, n in before.items() if n == 1]
    assert len(single) > 100
    assert all(drawn[group] == max(before.values()) for group in single)
    np.testing.assert_array_equal(labels[plan.base], labels[plan.partner])
    assert f"{len(single)} classes have a single sample: repeated, nothing to mix with." in plan.notes
    low, high = build(named(name)()).weight_range
    assert low <= plan.weight.min() and plan.weight.max() <= high


def test_a_class_that_a_method_cannot_serve_is_repeated_and_named():
    labels, materials, features = sample_set({1: 60, 2: 20, 3: 40}, n_features=4)
    features[labels == 2] += 1000  # nobody else is near: ADASYN has no difficult sample to begin from
    plan = planned("adasyn", (labels, materials, features))
    with pytest.raises(RuntimeError, match="Not any neigbours"):
        theirs(seeded(imblearn.over_sampling.ADASYN), (labels, materials, features))
    assert plan.notes == ("adasyn has nothing to go by in groups 2: they are repeated.",)
    assert plan.drawn_counts(labels)[2] == 60
    assert not plan.weight[labels[plan.base] == 2].any()


def test_borderline_smote_leaves_a_class_without_borderline_as_imbalanced_learn_does():
    labels, materials, features = sample_set({1: 60, 2: 20, 3: 40}, n_features=4)
    features[labels == 2] += 1000
    data = labels, materials, features
    plan = planned("borderline_smote", data)
    assert plan.notes == ("borderline_smote finds no sample to begin from in groups 2: they stay as they are.",)
    np.testing.assert_array_equal(plan.mix(features), theirs(seeded(ADDERS["borderline_smote"][0]), data)[0])


def test_svm_smote_goes_beyond_a_sample_by_half_a_step_at_most():
    plan = planned("svm_smote", sample_set(EASY, n_features=4))
    assert -0.5 <= plan.weight.min() < -0.4
    assert 0.9 < plan.weight.max() <= 1
    assert planned("svm_smote", sample_set(EASY, n_features=4), out_step=0.1).weight.min() >= -0.1


@pytest.mark.parametrize("name", CLEANERS)
def test_cleaning_keeps_the_rows_of_imbalanced_learn(name):
    data = sample_set(EASY, n_features=4)
    plan = planned(name, data)
    sampler = seeded(CLEANERS[name])
    made, _ = theirs(sampler, data)
    np.testing.assert_array_equal(plan.base, sampler.sample_indices_)
    np.testing.assert_array_equal(data[2][plan.base], made)
    assert len(plan) < len(data[0])
    assert not plan.weight.any()


@pytest.mark.parametrize("name", CLEANERS)
def test_cleaning_230_classes_empties_none_or_names_those_it_would(name, tail):
    labels = tail[0]
    # imbalanced-learn's one-sided selection fails on classes of one sample unless told to leave them alone.
    several = np.flatnonzero(np.unique(labels, return_counts=True)[1] > 1).tolist()
    sampler = seeded(CLEANERS[name], **({"sampling_strategy": several} if name == "one_sided_selection" else {}))
    theirs(sampler, tail)
    emptied = np.setdiff1d(labels, labels[sampler.sample_indices_])
    kept = planned(name, tail, rare="keep")
    assert set(kept.drawn_counts(labels)) == set(range(1, 231))
    others = ~np.isin(labels[kept.base], emptied)
    np.testing.assert_array_equal(kept.base[others], sampler.sample_indices_)
    if not len(emptied):
        np.testing.assert_array_equal(planned(name, tail).base, kept.base)
        return
    for group in emptied:
        assert kept.drawn_counts(labels)[group] == np.count_nonzero(labels == group)
    with pytest.raises(ConfigError) as refused:
        planned(name, tail)
    said = str(refused.value)
    assert said.startswith(f"sampler={name} would empty {len(emptied)} of 230 classes (groups {emptied[0]}, ")
    assert said.endswith("add sampler.rare=keep to keep such classes whole.")
    assert re.sub("would empty (.*): add.*", r"would empty \1: they are kept whole.", said)[8:] == kept.notes[-1]


REDUCERS = {
    "near_miss": [
        ({"version": n}, imblearn.under_sampling.NearMiss, {"version": n, "n_neighbors": 3}) for n in (1, 2, 3)
    ],
    "cluster_centroids": [({}, imblearn.under_sampling.ClusterCentroids, {"voting": "hard"})],
    "instance_hardness": [
        (
            {"trees": 7, "folds": 3},
            imblearn.under_sampling.InstanceHardnessThreshold,
            {"estimator": RandomForestClassifier(n_estimators=7), "cv": 3},
        ),
        (
            {"estimator": "discriminant"},
            imblearn.under_sampling.InstanceHardnessThreshold,
            {"estimator": LinearDiscriminantAnalysis(solver="lsqr"), "cv": 5},
        ),
    ],
}
CASES = [(name, *case) for name, cases in REDUCERS.items() for case in cases]


@pytest.mark.parametrize(("name", "knobs", "cls", "settings"), CASES)
def test_reducing_keeps_the_rows_of_imbalanced_learn(name, knobs, cls, settings, whole):
    plan = planned(name, whole, balance="minority", **knobs)
    # Told by number which classes to lower: by itself it also chooses anew in those that are as small as the smallest.
    larger = {number: 7 for number, n in enumerate(np.unique(whole[0], return_counts=True)[1]) if n > 7}
    sampler = seeded(cls, sampling_strategy=larger, **settings)
    made, made_labels = theirs(sampler, whole)
    np.testing.assert_array_equal(whole[2][plan.base], made)
    np.testing.assert_array_equal(whole[0][plan.base], made_labels)
    if name != "cluster_centroids":
        np.testing.assert_array_equal(plan.base, sampler.sample_indices_)


def test_a_forest_of_one_tree_at_a_time_answers_to_the_bits_of_scikit_learns(whole):
    labels, _, features = whole
    settings = {"n_estimators": 5, "min_samples_leaf": 2, "random_state": 7}
    theirs = RandomForestClassifier(**settings).fit(features[::2], labels[::2])
    ours = OneTreeAtATime(**settings).fit(features[::2], labels[::2])
    np.testing.assert_array_equal(ours.predict_proba(features[1::2]), theirs.predict_proba(features[1::2]))
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert not hasattr(ours, "estimators_")


@pytest.mark.parametrize(("name", "knobs"), [case[:2] for case in CASES])
@pytest.mark.parametrize("balance", ["minority", "sqrt", "median", "cap"])
def test_reducing_230_classes_with_a_tail_of_single_samples_empties_none(name, knobs, balance, tail):
    labels = tail[0]
    plan = planned(name, tail, balance=balance, cap=20, **knobs)
    before = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    drawn = plan.drawn_counts(labels)
    assert set(drawn) == set(before)
    assert all(drawn[group] <= n for group, n in before.items())
    assert len(plan) < len(labels) or balance == "cap"


@pytest.mark.parametrize(
    "cls", [c for c in schema.GROUPS["sampler"] if "rare" in vars(c()) or "k_neighbors" in vars(c())]
)
def test_one_class_alone_is_planned_by_every_method(cls):
    labels = np.full(9, 14)
    plan = build(cls()).plan(labels, labels, np.random.default_rng(0).normal(size=(9, 3)), SEED)
    assert plan.drawn_counts(labels) == {14: 9}


def test_every_resampler_of_imbalanced_learn_for_numbers_is_a_choice():
    """All but those for categories, and for bags of classifiers."""
    found = set()
    for package in (imblearn.over_sampling, imblearn.under_sampling, imblearn.combine):
        found |= set(package.__all__)
    ours = {"energy_interpolation", "cross_material", "embedding_smote", "Staged", "Physical"}
    choices = [
        cls
        for cls in schema.GROUPS["sampler"]
        if not cls.target.startswith(("sgexp.sampling.online", "sgexp.sampling.plain"))
        and cls.target.rpartition(".")[2] not in ours
    ]
    assert len(found - {"SMOTEN", "SMOTENC"}) == len(choices)


def test_a_long_search_is_announced_before_it_begins(capsys, monkeypatch):
    x = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    assert 0 < announce_search(x, "enn") < 20
    assert capsys.readouterr().out == ""
    announce_search(x, "enn", searches=1e6)
    assert "sampler enn compares each of 2,000 samples with every other: about" in capsys.readouterr().out
