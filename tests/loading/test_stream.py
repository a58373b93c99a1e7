"""Patterns that are simulated while training: the same to the bit for anybody who loads them, and from nowhere else."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from sgexp.crystallography.population import make_population
from sgexp.crystallography.stored import load_crystals, save_crystals
from sgexp.data.transforms import Transform
from sgexp.errors import DataError
from sgexp.loading.datamodule import PatternDataModule
from sgexp.loading.samplers import TrainingBatches
from sgexp.loading.slots import Slots
from sgexp.loading.stream import Stream
from sgexp.sampling.plan import ResamplingPlan
from sgexp.schema import build
from sgexp.simulation.schema import SimulationConfig
from sgexp.simulation.stack import simulate
from sgexp.simulation.variants import Variants, kind

from .stores import random_store

CONFIG = SimulationConfig(grid=32, box=12.0, pixels=16, thickness=12.0)
TRANSFORM = Transform("log", 0.25, 8, True)
SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def crystals():
    return make_population(30, 1)


@pytest.fixture(scope="module")
def trained(crystals):
    return dict(enumerate(crystals[:20]))


def stream_of(crystals, trained, slots=None, keep=2, substitute=0.5, seed=3):
    variants = Variants(CONFIG, crystals[20:], substitute, any_energy=True)
    energies = np.full(30, 100.0)
    return Stream(trained, energies, variants, TRANSFORM.encode, seed=seed, keep=keep, slots=slots)


def module_of(folder, stream, plan=None, workers=0):
    rows = np.arange(20)
    plan = plan or ResamplingPlan.selection(rows)
    parts = {"validation": np.arange(20, 30)}
    labels = np.arange(30) % 5
    options = {"batch_size": 8, "eval_batch_size": 4, "seed": 3, "workers": workers, "stream": stream}
    return PatternDataModule(random_store(folder, 30), labels, parts, plan, **options)


def epochs(data, numbers, start=0):
    """Return the batches of some epochs, the first one from batch ``start`` on."""
    loader = data.train_dataloader()
    batches = []
    for epoch in numbers:
        loader.batch_sampler.set_epoch(epoch)
        if start:
            loader.load_state_dict({"served": start})
            start = 0
        batches += list(loader)
    return batches


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(one[name], other[name]) for one, other in zip(first, second, strict=True) for name in one
    )


def test_workers_ranks_resumes_and_slots_change_no_bit(crystals, trained, tmp_path):
    (tmp_path / "a").mkdir()
    expected = epochs(module_of(tmp_path, stream_of(crystals, trained)), range(4))
    slots = Slots(tmp_path / "slots", 20, SHAPE, 2**20)
    assert same(epochs(module_of(tmp_path, stream_of(crystals, trained, slots), workers=2), range(4)), expected)
    half = Slots(tmp_path / "few", 20, SHAPE, 3000)
    assert half.count == 7
    assert same(epochs(module_of(tmp_path, stream_of(crystals, trained, half)), range(4)), expected)
    resumed = epochs(module_of(tmp_path, stream_of(crystals, trained, slots)), range(2, 4), start=1)
    assert same(resumed, expected[5:])
    draws = module_of(tmp_path, stream_of(crystals, trained)).draws
    shares = [TrainingBatches(20, 8, 3, rank, 2) for rank in range(2)]
    for share in shares:
        share.set_epoch(3)
    for batch, halves in zip(expected[6:], zip(*shares, strict=True), strict=True):
        joined = torch.cat([draws.__getitems__(half)["patterns"] for half in halves])
        assert torch.equal(joined, batch["patterns"])


def test_threads_change_no_bit(crystals, trained):
    stream = stream_of(crystals, trained)
    before = torch.get_num_threads()
    alone = stream.patterns(4, 4, 1)
    torch.set_num_threads(2)
    try:
        assert np.array_equal(stream.patterns(4, 4, 1), alone) and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_every_keep_epochs_a_new_pattern_takes_the_place_of_the_last(crystals, trained, tmp_path):
    stream = stream_of(crystals, trained, Slots(tmp_path / "slots", 20, SHAPE, 2**20), keep=4)
    draws = np.arange(20)
    numbers = np.stack([stream.variant(draws, epoch) for epoch in range(9)])
    assert (numbers[0] == 0).all() and (numbers[8] == 2).all()
    assert (np.diff(numbers, axis=0).sum(1) == 5).all()  # a quarter of the draws an epoch
    data = module_of(tmp_path, stream)
    first = epochs(data, [0])
    stored = data.store.read(np.concatenate([batch["row"] for batch in first]))
    assert np.array_equal(np.concatenate([batch["patterns"] for batch in first]), stored)
    assert stream.done[0] == 0
    epochs(data, [3])
    made = int(stream.done[0])
    assert made > 0
    epochs(data, [3])
    assert int(stream.done[0]) == made  # they are in their slots
    stream.close()
    assert not (tmp_path / "slots").exists()


def test_other_seeds_draws_and_variants_are_other_patterns(crystals, trained):
    stream, other = stream_of(crystals, trained), stream_of(crystals, trained, seed=4)
    made = [stream.patterns(4, 4, 1), stream.patterns(4, 24, 1), stream.patterns(4, 4, 2), other.patterns(4, 4, 1)]
    assert all(not np.array_equal(made[i], made[j]) for i in range(4) for j in range(i))


def test_labels_and_validation_stay_what_they_are(crystals, trained, tmp_path):
    data = module_of(tmp_path, stream_of(crystals, trained))
    for batch in epochs(data, [5]):
        assert torch.equal(batch["label"], batch["row"] % 5) and (batch["row"] < 20).all()
    judged = torch.cat([batch["patterns"] for batch in data.val_dataloader()])
    assert np.array_equal(judged, data.store.read(np.arange(20, 30)))


def test_smote_mixes_the_stored_partner_into_the_new_base(crystals, trained, tmp_path):
    plan = ResamplingPlan(np.array([0, 1, 2]), np.array([5, 6, 7]), np.array([0.25, 0.0, 0.5]))
    stream = stream_of(crystals, trained, keep=1)
    data = module_of(tmp_path, stream, plan)
    (batch,) = epochs(data, [1])
    for patterns, row, draw in zip(
        batch["patterns"].numpy(), batch["row"].tolist(), batch["draw"].tolist(), strict=True
    ):
        base = stream.patterns(row, draw, 1).astype(np.float32)
        partner = data.store.read(plan.partner[[draw]])[0]
        assert np.allclose(patterns, base + plan.weight[draw] * (partner - base), atol=1e-6)


def test_no_variant_is_of_a_held_out_material_and_each_has_the_group_and_family_of_its_crystal(crystals, trained):
    held_out = crystals[20:]
    variants = Variants(CONFIG, held_out, 1.0, any_energy=True)
    names, forbidden = set(), {kind(crystal) for crystal in held_out}
    for crystal in trained.values():
        for seed in range(5):
            child = variants.child(crystal, seed)
            if child is not None:
                names.add(child.name)
                assert kind(child) not in forbidden
                assert (child.space_group, child.family) == (crystal.space_group, crystal.family)
    assert len(names) > 40
    # Whatever would have been made is not, once it is held out; nor is its mirror image.
    first = Variants(CONFIG, [], 1.0, True).child(crystals[0], 1)
    assert Variants(CONFIG, [first], 1.0, True).child(crystals[0], 1).name != first.name
    left = replace(crystals[0], space_groups=(76, 76, 76))
    assert kind(left) == kind(replace(left, space_groups=(78, 78, 78)))


def test_a_stack_is_the_one_that_simulations_make(crystals):
    expected = simulate(crystals[0], CONFIG, build(CONFIG.engine), 120.0, 9)
    assert np.array_equal(Variants(CONFIG, [], 0.0, False).stack(crystals[0], 120.0, 9).patterns, expected.patterns)


def test_a_crystal_that_cannot_be_simulated_keeps_its_stored_patterns(crystals, trained, tmp_path):
    variants = Variants(replace(CONFIG, max_cell_edge=1.0), [], 0.5, any_energy=False)
    stream = Stream(trained, np.full(30, 100.0), variants, TRANSFORM.encode, seed=3, keep=1)
    data = module_of(tmp_path, stream)
    for batch in epochs(data, [2]):
        assert np.array_equal(batch["patterns"], data.store.read(batch["row"].numpy()))


def test_slots_give_back_only_what_is_whole(tmp_path):
    path, patterns = tmp_path / "slots", np.random.default_rng(0).random(SHAPE).astype(np.float16)
    slots = Slots(path, 5, SHAPE, 2**20)
    assert slots.read(2, 1) is None and slots.read(0, 0) is None
    slots.write(2, 1, patterns)
    assert np.array_equal(slots.read(2, 1), patterns)
    assert slots.read(7, 1) is None and slots.read(2, 2) is None  # same slot, another draw or variant
    assert np.array_equal(Slots(path, 5, SHAPE, 2**20).read(2, 1), patterns)  # after a resume
    size = path.stat().st_size // 5
    with path.open("r+b") as file:
        file.seek(2 * size + size // 2)
        file.write(b"\xff" * 4)
    assert slots.read(2, 1) is None
    slots.write(2, 1, patterns)
    os.truncate(path, 2 * size + 30)
    assert slots.read(2, 1) is None
    with pytest.raises(DataError, match="cannot be made"):
        Slots(tmp_path / "nowhere" / "slots", 5, SHAPE, 2**20)


def test_crystals_come_back_from_their_file_to_the_bit(crystals, tmp_path):
    save_crystals(tmp_path / "c.npz", crystals)
    for one, other in zip(crystals, load_crystals(tmp_path / "c.npz"), strict=True):
        for name in ("cell", "numbers", "positions"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("space_groups", "name", "parent", "family"):
            assert getattr(one, name) == getattr(other, name)
    np.savez(tmp_path / "other.npz", schema_version=1)
    with pytest.raises(DataError, match="holds no crystals"):
        load_crystals(tmp_path / "other.npz")
