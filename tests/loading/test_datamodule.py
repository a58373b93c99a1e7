import os
import signal

import numpy as np
import pytest
import torch

from sgexp.errors import DataError
from sgexp.loading.datamodule import PatternDataModule
from sgexp.sampling.online import m_per_class
from sgexp.sampling.plan import ResamplingPlan

from .stores import random_store


def plan_of(base, partner=None, weight=None):
    base = np.asarray(base)
    partner = base if partner is None else np.asarray(partner)
    return ResamplingPlan(base, partner, np.zeros(len(base)) if weight is None else weight)


def module_of(folder, plan, **options):
    store = random_store(folder, 40)
    rows = {"validation": np.arange(30, 37), "test_material": np.arange(37, 40)}
    options = {"batch_size": 8, "eval_batch_size": 4, "seed": 3} | options
    return PatternDataModule(store, np.arange(40) % 5, rows, plan, **options)


def epoch_of(loader, epoch=0):
    loader.batch_sampler.set_epoch(epoch)
    return list(loader)


def test_a_batch_holds_patterns_labels_rows_and_draws(tmp_path):
    data = module_of(tmp_path, plan_of(np.arange(20)[::-1]))
    batch = next(iter(data.train_dataloader()))
    assert batch["patterns"].shape == (8, 3, 8, 8) and batch["patterns"].dtype == torch.float32
    assert torch.equal(batch["row"], 19 - batch["draw"])
    assert torch.equal(batch["label"], batch["row"] % 5)
    expected = torch.from_numpy(data.store.read(batch["row"].numpy()))
    assert torch.equal(batch["patterns"], expected)


def test_drawn_patterns_are_mixed_as_the_plan_says(tmp_path):
    rng = np.random.default_rng(0)
    base, partner = rng.integers(0, 30, 25), rng.integers(0, 30, 25)
    weight = np.where(rng.random(25) < 0.4, 0.0, rng.uniform(-0.5, 1.0, 25))
    data = module_of(tmp_path, plan_of(base, partner, weight))
    x = data.store.read(np.arange(40))
    expected = x[base] + weight[:, None, None, None].astype(np.float32) * (x[partner] - x[base])
    for batch in data.train_dataloader():
        np.testing.assert_allclose(batch["patterns"], expected[batch["draw"]], atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="needs fork")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_request_to_stop_at_a_workers_first_moment_leaves_it_alive(name, tmp_path):
    """A cluster signals every process of a job, also one that has only just been forked."""
    number = getattr(signal, name)
    armed = [True]
    os.register_at_fork(after_in_child=lambda: armed and os.kill(os.getpid(), number))
    before = signal.signal(number, signal.SIG_DFL)
    try:
        loader = module_of(tmp_path, plan_of(np.arange(30)), workers=2).train_dataloader()
        assert sum(len(batch["row"]) for batch in loader) == 24  # whole batches of 8
        assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())  # this process still hears
    finally:
        armed.clear()  # what is registered stays registered
        signal.signal(number, before)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("draws", ["mixed", "anew every epoch"])
def test_any_number_of_workers_gives_the_same_batches(tmp_path, draws, workers):
    plan = plan_of(np.arange(30), np.arange(30)[::-1], np.full(30, 0.25))
    if draws == "anew every epoch":
        plan = m_per_class(2).plan(np.arange(30) % 5, np.arange(30), None, 0).at_rows(np.arange(30))
    alone = module_of(tmp_path, plan).train_dataloader()
    helped = module_of(tmp_path, plan, workers=workers).train_dataloader()
    for epoch in range(2):
        for one, other in zip(epoch_of(alone, epoch), epoch_of(helped, epoch), strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_on_from_its_saved_state(tmp_path, workers):
    whole = epoch_of(module_of(tmp_path, plan_of(np.arange(40)), workers=workers).train_dataloader())
    stopped = module_of(tmp_path, plan_of(np.arange(40)), workers=workers).train_dataloader()
    stopped.batch_sampler.set_epoch(0)
    batches = iter(stopped)
    next(batches), next(batches)
    state = stopped.state_dict()
    resumed = module_of(tmp_path, plan_of(np.arange(40)), workers=workers).train_dataloader()
    resumed.load_state_dict(state)
    rest = epoch_of(resumed)
    assert [batch["draw"].tolist() for batch in rest] == [batch["draw"].tolist() for batch in whole[2:]]
    assert len(epoch_of(resumed, 1)) == len(whole), "the epoch after the resumed one is whole again"


def test_evaluation_reads_every_row_of_its_part_once_in_order(tmp_path):
    data = module_of(tmp_path, plan_of(np.arange(20)))
    assert torch.cat([batch["row"] for batch in data.val_dataloader()]).tolist() == list(range(30, 37))
    assert torch.cat([batch["row"] for batch in data.evaluation_loader("test_material")]).tolist() == [37, 38, 39]


def test_overfitting_trains_and_validates_on_the_same_few_rows(tmp_path):
    data = module_of(tmp_path, plan_of(np.arange(30)), overfit_batches=1)
    trained = [torch.cat([b["row"] for b in epoch_of(data.train_dataloader(), e)]).sort().values for e in range(2)]
    assert len(trained[0]) == 8 and torch.equal(trained[0], trained[1])
    assert torch.equal(torch.cat([batch["row"] for batch in data.val_dataloader()]), trained[0])


def test_nothing_to_train_on_is_said(tmp_path):
    with pytest.raises(DataError, match="nothing to train on"):
        module_of(tmp_path, plan_of(np.empty(0, dtype=np.int64)))
