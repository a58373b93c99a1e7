from itertools import pairwise

import pytest
import torch
from torch import nn

from sgexp.errors import ConfigError
from sgexp.learning.optimizers import adamw, for_batch, learning_rate_factor, parameter_groups, sgd
from sgexp.learning.schema import GROUPS, AdamWConfig, CrossEntropyConfig, TrainerConfig
from sgexp.schema import build


def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("warmup", [0.1, 0.25, 0.5])
def test_one_cycle_is_pytorchs(warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2.0, total_steps=40, pct_start=warmup, cycle_momentum=False)
    ours = learning_rate_factor("one_cycle", warmup, 40)
    for step in range(40):
        assert 2.0 * ours(step) == pytest.approx(torchs.get_last_lr()[0], rel=1e-6, abs=1e-12), step
        optimizer.step()
        torchs.step()


def test_cosine_rises_in_a_line_and_falls_to_nothing():
    factor = learning_rate_factor("cosine", 0.2, 100)
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(1 / 21) and values[20] == 1.0 and values[100] == pytest.approx(0.0)
    assert values[60] == pytest.approx(0.5)
    assert all(later > earlier for earlier, later in pairwise(values[:21]))


def test_constant_stays_after_its_rise():
    factor = learning_rate_factor("constant", 0.1, 50)
    assert [factor(step) for step in (5, 20, 49)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.95])
def test_schedules_are_sane_for_any_number_of_steps(schedule, steps, warmup):
    factor = learning_rate_factor(schedule, warmup, steps)
    assert all(0.0 <= factor(step) <= 1.0 for step in range(steps + 3))


def test_norms_and_biases_do_not_decay_unless_asked():
    decayed, others = parameter_groups(network(), 0.1, decay_norms=False)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2, 4} and {p.ndim for p in others["params"]} == {1}
    assert sum(len(group["params"]) for group in (decayed, others)) == 6
    (only,) = parameter_groups(network(), 0.1, decay_norms=True)
    assert len(only["params"]) == 6 and only["weight_decay"] == 0.1


@pytest.mark.parametrize("schema", GROUPS["optimizer"])
def test_every_registered_optimizer_lowers_a_loss(schema):
    torch.manual_seed(0)
    model = network()
    optimizer, scheduler = build(schema(), model=model, steps=20)
    x, y = torch.randn(16, 1, 3, 3), torch.randint(0, 2, (16,))
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_settings_reach_the_optimizer():
    first, _ = sgd(0.1, 0.0, 0.0, False, "constant", 0.0, model=network(), steps=3)
    assert not first.defaults["nesterov"]
    second, _ = adamw(0.1, 0.8, 0.95, 0.0, False, "constant", 0.0, model=network(), steps=3)
    assert second.defaults["betas"] == (0.8, 0.95)


@pytest.mark.parametrize(
    ("scaling", "batch", "accumulate", "factor"),
    [
        ("none", 512, 4, 1.0),
        ("linear", 64, 1, 1.0),
        ("linear", 128, 4, 8.0),
        ("sqrt", 256, 1, 2.0),
        ("linear", 32, 1, 0.5),
    ],
)
def test_a_learning_rate_is_scaled_only_when_asked_and_always_told(scaling, batch, accumulate, factor):
    trainer = TrainerConfig(batch_size=batch, accumulate=accumulate, lr_scaling=scaling, lr_batch=64)
    scaled, told = for_batch(AdamWConfig(lr=0.01), trainer)
    assert scaled.lr == pytest.approx(0.01 * factor)
    assert f"{0.01 * factor:g}" in told and f"trainer.lr_scaling={scaling}" in told
    assert f"{batch * accumulate:,} samples a step" in told


def test_devices_alone_never_change_the_learning_rate():
    """A batch is over all devices together, so eight devices take the same steps as one."""
    one, eight = (for_batch(AdamWConfig(), TrainerConfig(devices=n, lr_scaling="linear"))[0] for n in (1, 8))
    assert one == eight


def test_a_rate_that_is_not_there_is_not_scaled():
    trainer = TrainerConfig(lr_scaling="sqrt")
    with pytest.raises(ConfigError, match=r"trainer\.lr_scaling=sqrt cannot scale"):
        for_batch(CrossEntropyConfig(), trainer)
