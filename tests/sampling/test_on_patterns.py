"""Every sampler on simulated patterns: the tiny data set, its split, and features as training measures them."""

from dataclasses import fields

import numpy as np
import pytest

from sgexp.composition import Composer
from sgexp.data.splits import stored_split
from sgexp.schema import build
from sgexp.tasks.prepare import cache_folder, prepare_data
from sgexp.tasks.train import make_plan
from sgexp.usage import CONF_DIR

# They ask for a network or for a simulation, and are tested with both (test_embedding.py, test_physical.py).
APART = {"embedding_smote", "physical"}
NAMES = sorted({path.stem for path in (CONF_DIR / "sampler").glob("*.yaml")} - APART)
EXTRAPOLATES = {"svm_smote"}


@pytest.fixture(scope="module")
def tiny():
    config = Composer().check(["size=tiny", "report=default"])
    data = prepare_data(config)
    return data.used_by(stored_split(build(config.split), data.catalog, cache_folder(config)))


@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_plans_draws_of_training_crystals_and_loses_no_group(name, tiny):
    data, split = tiny
    words = ["size=tiny", f"sampler={name}"]
    if "rare" in {field.name for field in fields(Composer().check(words).sampler)}:
        words.append("sampler.rare=keep")
    plan = make_plan(Composer().check(words), data, split)
    train = split.rows("train")
    group = data.catalog.space_group
    assert np.isin(plan.base, train).all() and np.isin(plan.partner, train).all()
    np.testing.assert_array_equal(group[plan.partner], group[plan.base])
    assert plan.weight.max(initial=0.0) <= 1.0 and plan.weight.min(initial=0.0) >= -0.5 * (name in EXTRAPOLATES)
    order = np.arange(len(plan)) if plan.recipe is None else plan.recipe.order(1, 0, 20 * len(train))
    assert set(group[plan.base[order]]) == set(group[train])
