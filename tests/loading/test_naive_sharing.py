"""Two known pains of several processes, each shown with the usual way, which fails, and with ours, which does not."""

from collections import Counter

import numpy as np
import pytest
import torch
from lightning_fabric.utilities.distributed import DistributedSamplerWrapper
from torch.utils.data import BatchSampler, DistributedSampler, SequentialSampler, WeightedRandomSampler

from sgexp.loading.samplers import EvaluationBatches, TrainingBatches

DRAWS, BATCH, WORLD = 24, 8, 2


def assert_every_sample_once(shares, n_samples):
    """Assert that the ranks' batches hold each of ``range(n_samples)`` once."""
    counts = Counter(sample for share in shares for batch in share for sample in batch)
    assert counts == Counter(range(n_samples)), {sample: count for sample, count in counts.items() if count > 1}


def assert_same_batches(shares, whole):
    """Assert that step by step the ranks together see what one process would see, no sample in two shares."""
    for step, parts in enumerate(zip(*shares, strict=True)):
        assert sorted(sample for part in parts for sample in part) == sorted(whole[step])


@pytest.mark.parametrize("n_samples", [1, 10, 11, 31])
@pytest.mark.parametrize("world", [2, 4])
def test_no_test_sample_is_judged_twice(n_samples, world):
    naive = [
        list(BatchSampler(DistributedSampler(range(n_samples), world, rank, shuffle=False), 4, drop_last=False))
        for rank in range(world)
    ]
    if n_samples % world:  # it pads, so that the first samples count twice
        with pytest.raises(AssertionError):
            assert_every_sample_once(naive, n_samples)
    ours = [list(EvaluationBatches(n_samples, 4 * world, rank, world)) for rank in range(world)]
    assert_every_sample_once(ours, n_samples)
    assert len({len(share) for share in ours}) == 1  # ranks that exchange buffers wait for each other


def test_weighted_draws_are_shared_and_not_repeated():
    """A plan that draws rare samples often: one global order, disjoint shares, the same as in one process."""
    weights = np.linspace(0.1, 1.0, DRAWS)

    def weighted(seed):
        generator = torch.Generator().manual_seed(seed)
        return WeightedRandomSampler(weights.tolist(), DRAWS, replacement=False, generator=generator)

    # Left to itself, every rank draws the same order: twice the work for one step.
    whole = list(BatchSampler(weighted(0), BATCH, drop_last=True))
    alike = [list(BatchSampler(weighted(0), BATCH // WORLD, drop_last=True)) for _ in range(WORLD)]
    assert alike[0] == alike[1]
    with pytest.raises(AssertionError):
        assert_same_batches([share[: len(whole)] for share in alike], whole)
    # Seeded by rank, the ranks draw some samples both and others never.
    apart = [list(BatchSampler(weighted(rank), BATCH // WORLD, drop_last=True))[: len(whole)] for rank in range(WORLD)]
    with pytest.raises(AssertionError):
        assert_every_sample_once(apart, DRAWS)

    ours = [list(TrainingBatches(DRAWS, BATCH, seed=0, rank=rank, world=WORLD)) for rank in range(WORLD)]
    one = list(TrainingBatches(DRAWS, BATCH, seed=0))
    assert_same_batches(ours, one)
    assert_every_sample_once(ours, DRAWS)


def test_batches_keep_what_they_are_made_of():
    """A batch of pairs: Lightning's wrapper of a sampler tears them apart, sharing out whole batches does not."""
    pairs = [sample for first in range(0, DRAWS, 2) for sample in (first, first + 1)]

    class Pairs(SequentialSampler):
        def __iter__(self):
            return iter(pairs)

    def kept(batches):
        return all(sample ^ 1 in batch for batch in batches for sample in batch)

    naive = [
        list(BatchSampler(DistributedSamplerWrapper(Pairs(pairs), num_replicas=2, rank=rank, shuffle=False), 4, True))
        for rank in range(WORLD)
    ]
    assert not any(kept(share) for share in naive)

    random = [list(TrainingBatches(DRAWS, BATCH, seed=3, rank=rank, world=WORLD)) for rank in range(WORLD)]
    one = list(TrainingBatches(DRAWS, BATCH, seed=3))
    for step, batch in enumerate(one):  # shares are stretches of the batch, in its order
        assert [*random[0][step], *random[1][step]] == batch
