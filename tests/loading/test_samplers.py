from dataclasses import fields
from itertools import chain

import numpy as np
import pytest

from sgexp.errors import ConfigError
from sgexp.loading.batches import PatternDraws
from sgexp.loading.samplers import EvaluationBatches, TrainingBatches, epoch_order
from sgexp.sampling import online
from sgexp.sampling.schema import GROUPS
from sgexp.schema import build

from .stores import random_store


def global_batches(n, size, world, epoch=0, seed=1, start=0):
    """The batches of all ranks, put together step by step."""
    ranks = []
    for rank in range(world):
        sampler = TrainingBatches(n, size, seed, rank, world)
        sampler.set_epoch(epoch)
        sampler.start = start
        ranks.append(list(sampler))
    return [list(chain(*parts)) for parts in zip(*ranks, strict=True)]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_step_sees_the_same_samples_on_any_number_of_ranks(world):
    assert global_batches(50, 8, world) == global_batches(50, 8, 1)


def test_an_epoch_draws_nothing_twice():
    drawn = list(chain(*global_batches(50, 8, 2)))
    assert len(drawn) == len(set(drawn)) == 48


def test_the_order_is_decided_by_seed_and_epoch():
    assert global_batches(50, 8, 1, epoch=3) == global_batches(50, 8, 1, epoch=3)
    assert global_batches(50, 8, 1, epoch=3) != global_batches(50, 8, 1, epoch=4)
    assert global_batches(50, 8, 1, seed=1) != global_batches(50, 8, 1, seed=2)


def test_a_resumed_epoch_goes_on_where_it_was():
    assert global_batches(50, 8, 2, start=2) == global_batches(50, 8, 2)[2:]


def test_fewer_draws_than_a_batch_make_one_smaller_batch():
    assert sorted(global_batches(5, 64, 1)[0]) == [0, 1, 2, 3, 4]
    assert len(global_batches(5, 64, 2)) == 1
    assert len(global_batches(5, 64, 2)[0]) == 4


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(ConfigError, match="batch_size=9 cannot be shared evenly by 2 devices"):
        TrainingBatches(50, 9, 0, 0, 2)


@pytest.mark.parametrize("n", [0, 1, 3, 7, 64, 65, 130])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_evaluation_sees_each_sample_once_and_all_ranks_make_as_many_batches(n, world):
    samplers = [EvaluationBatches(n, 16, rank, world) for rank in range(world)]
    batches = [list(sampler) for sampler in samplers]
    assert len({len(parts) for parts in batches}) == 1
    assert all(len(parts) == len(sampler) for parts, sampler in zip(batches, samplers, strict=True))
    assert sorted(chain(*chain(*batches))) == list(range(n))
    assert (
        max((sum(len(parts[step]) for parts in batches) for step in range(len(samplers[0]))), default=0) <= 16 + world
    )


def test_evaluation_keeps_the_catalog_order_on_one_rank():
    assert list(chain(*EvaluationBatches(40, 16))) == list(range(40))


def test_orders_of_neighbouring_seeds_share_no_pattern():
    first = np.array(global_batches(4096, 64, 1, seed=1)).ravel()
    second = np.array(global_batches(4096, 64, 1, seed=2)).ravel()
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06


def test_epochs_of_a_given_length_are_stretches_of_whole_passes():
    seen = np.concatenate([epoch_order(10, 3, epoch, 4) for epoch in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert len(epoch_order(10, 3, 0, 25)) == 25
    assert (np.bincount(epoch_order(10, 3, 1, 20)) == 2).all()


def test_an_epoch_without_a_length_is_one_pass():
    assert (epoch_order(10, 3, 2) == epoch_order(10, 3, 2, 10)).all()


@pytest.mark.parametrize(("draws", "length", "batches"), [(100, 32, 4), (5, 32, 4), (100, 4, 1), (100, None, 12)])
def test_the_length_of_an_epoch_sets_its_steps_whatever_the_plan(draws, length, batches):
    sampler = TrainingBatches(draws, 8, 0, epoch_draws=length)
    found = list(sampler)
    assert len(found) == len(sampler) == batches
    assert {len(batch) for batch in found} == {min(8, length or 8)}


def recipe_batches(recipe, n, size, world, epoch=0, start=0, **options):
    """The batches of all ranks, put together step by step."""
    ranks = []
    for rank in range(world):
        sampler = TrainingBatches(n, size, 1, rank, world, recipes=(recipe, None), **options)
        sampler.set_epoch(epoch)
        sampler.start = start
        ranks.append(list(sampler))
    return [list(chain(*parts)) for parts in zip(*ranks, strict=True)]


LABELS = np.repeat([1, 2, 3, 4], [60, 25, 10, 5])
RECIPES = {
    "instance": online.instance,
    "sqrt": online.sqrt,
    "class_balanced": online.class_balanced,
    "progressive": lambda: online.progressive(4),
    "deferred": lambda: online.deferred(0.5, 4),
    "repeat_factor": lambda: online.repeat_factor(0.5),
    "m_per_class": lambda: online.m_per_class(4),
    "family_balanced": lambda: online.family_balanced("even"),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("epoch_draws", [None, 48, 333])
def test_a_recipe_draws_the_same_on_any_number_of_ranks_and_after_a_resume(name, epoch_draws):
    recipe = RECIPES[name]().plan(LABELS, LABELS, None, 0).recipe
    alone = recipe_batches(recipe, 100, 16, 1, epoch=2, epoch_draws=epoch_draws)
    assert len(alone) == (epoch_draws or 100) // 16
    for world in (2, 4):
        assert recipe_batches(recipe, 100, 16, world, epoch=2, epoch_draws=epoch_draws) == alone
    assert recipe_batches(recipe, 100, 16, 2, epoch=2, start=2, epoch_draws=epoch_draws) == alone[2:]
    assert recipe_batches(recipe, 100, 16, 1, epoch=1, epoch_draws=epoch_draws) != alone


FRESH = [cls for cls in GROUPS["sampler"] if "fresh" in {field.name for field in fields(cls)}]


@pytest.mark.parametrize("cls", FRESH, ids=lambda cls: cls.__name__)
def test_fresh_mixtures_are_the_same_on_any_number_of_ranks_and_after_a_resume(cls, tmp_path):
    rng = np.random.default_rng(0)
    store = random_store(tmp_path, 100)
    labels, materials = rng.permutation(LABELS), np.arange(100) // 3
    plan = build(cls(fresh=True)).plan(labels, materials, rng.normal(size=(100, 4)), seed=1)
    draws = PatternDraws(store, labels, plan.base, plan.partner, plan.weight, steps=plan.recipe.steps)
    options = {"epoch_draws": plan.draws}
    alone = recipe_batches(plan.recipe, len(plan), 16, 1, epoch=2, **options)
    epoch = plan.epoch(1, 2)
    for world in (2, 4):
        assert recipe_batches(plan.recipe, len(plan), 16, world, epoch=2, **options) == alone
    assert recipe_batches(plan.recipe, len(plan), 16, 2, epoch=2, start=2, **options) == alone[2:]
    numbers = np.array(list(chain(*alone)))
    mixed = draws.__getitems__(numbers.tolist())
    expected = plan_patterns(store, epoch)[: len(numbers)]
    np.testing.assert_allclose(mixed["patterns"].numpy(), expected, atol=2e-6)
    np.testing.assert_array_equal(mixed["row"].numpy(), epoch.base[: len(numbers)])
    one_by_one = [draws.__getitems__([number])["patterns"].numpy()[0] for number in numbers[:8].tolist()]
    np.testing.assert_array_equal(np.stack(one_by_one), mixed["patterns"].numpy()[:8])


def plan_patterns(store, plan):
    """What a static plan draws."""
    base, partner = store.read(plan.base), store.read(plan.partner)
    return base + plan.weight.reshape(-1, 1, 1, 1) * (partner - base)


def test_a_candidate_drawn_again_has_another_number_and_the_same_place():
    recipe = online.class_balanced().plan(LABELS, LABELS, None, 0).recipe
    drawn = np.array(list(chain(*recipe_batches(recipe, 100, 16, 1, epoch_draws=320))))
    assert len(np.unique(drawn)) == 320
    places, times = np.unique(drawn % 100, return_counts=True)
    assert times[LABELS[places] == 4].min() >= 15  # 80 draws of 5 samples
    for place, n in zip(places, times, strict=True):
        assert sorted(drawn[drawn % 100 == place] // 100) == list(range(n))


def test_every_global_batch_holds_m_samples_of_each_of_its_classes():
    recipe = online.m_per_class(4).plan(LABELS, LABELS, None, 0).recipe
    for batch in recipe_batches(recipe, 100, 16, 2, epoch_draws=160):
        groups, counts = np.unique(LABELS[np.array(batch) % 100], return_counts=True)
        assert groups.tolist() == [1, 2, 3, 4] and counts.tolist() == [4, 4, 4, 4]


def test_a_batch_that_would_cut_a_block_is_refused():
    recipe = online.m_per_class(5).plan(LABELS, LABELS, None, 0).recipe
    with pytest.raises(ConfigError, match=r"batch_size=16 does not hold whole blocks of sampler.m=5"):
        TrainingBatches(100, 16, 0, recipes=(recipe, None))


def test_a_second_plan_and_its_recipe_take_over():
    recipe = online.class_balanced().plan(LABELS, LABELS, None, 0).recipe
    sampler = TrainingBatches(30, 10, 1, later=(2, 100), recipes=(None, recipe))
    for epoch, second in enumerate([False, False, True, True]):
        sampler.set_epoch(epoch)
        assert all((draw % 130 >= 30) == second for draw in chain(*sampler))
