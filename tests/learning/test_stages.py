import csv

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from sgexp.composition import Composer
from sgexp.errors import ConfigError
from sgexp.learning.checkpoint import read_checkpoint
from sgexp.learning.losses import CrossEntropy
from sgexp.learning.losses.base import effective_number_weights
from sgexp.learning.schema import CallbacksConfig
from sgexp.learning.stages import Reweighted, Stages, crt, drs, drw, lws, probability_flow, trickle_down
from sgexp.learning.trainer import make_trainer
from sgexp.loading.augment import Augment
from sgexp.loading.mixing import remix
from sgexp.sampling.plan import ResamplingPlan
from sgexp.schema import build
from sgexp.tasks.corrections import corrected_twice, counts_shown

from .plumbing import config, in_stages, weights

EPOCHS, BEGINS = 5, 3
ALL = {
    "crt": crt(0.6, 0.5),
    "lws": lws(0.6, 0.5),
    "drw": drw(0.6, 0.999),
    "drs": drs(0.6),
    "probability_flow": probability_flow(0.6, 0.5, 3, 0.5, 2),
    "trickle_down": trickle_down(0.6, 0.5, 2, whole=True),
}


class Watch(pl.Callback):
    """Keeps what training looked like at each step, and stops where it is told to."""

    def __init__(self, stop=None):
        self.stop, self.steps, self.parts = stop, [], {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.parts[trainer.current_epoch] = {
                name: value.detach().clone() for name, value in pl_module.model.state_dict().items()
            }

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.steps.append((trainer.current_epoch, batch, outputs["loss"].item(), rate))
        if trainer.global_step == self.stop:
            raise KeyboardInterrupt


def fit(folder, stages, *, resume=None, stop=None, epochs=EPOCHS, loss=None):
    module, data, switch = in_stages(stages, epochs, loss=loss)
    watch = Watch(stop)
    quiet = CallbacksConfig(progress=False, checkpoint_steps=1)
    trainer = make_trainer(
        config(epochs=epochs), folder, callbacks=quiet, extra_callbacks=[switch, watch], best_from=switch.begins
    )
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    except KeyboardInterrupt:
        assert stop is not None
    return module, watch


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training of each kind: folder, module, what was watched."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ALL}
    return {name: (folders[name], *fit(folders[name], stages)) for name, stages in ALL.items()}


def differing(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("crt", {"head.weight", "head.bias"}),
        ("lws", {"head.scales"}),
        ("probability_flow", {"second.units.weight", "second.units.bias"}),
    ],
)
def test_the_second_stage_trains_its_part_and_nothing_else(name, moved, trained):
    _, module, watch = trained[name]
    end = module.model.state_dict()
    assert differing(watch.parts[BEGINS + 1], end) == moved
    first = {part for part in end if not part.startswith("second.")} - {"head.scales", "_extra_state"}
    # Watched after the switch, which draws crt's layer anew and begins units with the first stage's layer.
    assert differing(watch.parts[0], watch.parts[BEGINS]) - set(moved) - {"_extra_state"} == first - set(moved)


def test_levels_are_trained_with_the_encoder_and_the_first_answers_layer_keeps_still(trained):
    _, module, watch = trained["trickle_down"]
    moved = differing(watch.parts[BEGINS], module.model.state_dict())
    assert {"network.conv.weight", "second.levels.weight"} <= moved
    assert not {"network.head.weight", "second.place"} & moved
    assert torch.equal(watch.parts[0]["second.levels.weight"], watch.parts[BEGINS]["second.levels.weight"])


def test_a_retrained_classifier_begins_afresh_and_a_scaled_one_where_it_was(trained):
    before = trained["crt"][2].parts
    fresh = torch.nn.Linear(64, 5)
    torch.manual_seed(5)
    fresh.reset_parameters()
    # Watched after the switch: the batch that begins the second stage already meets the fresh layer.
    torch.testing.assert_close(before[BEGINS]["head.weight"], fresh.weight.detach())
    assert torch.equal(trained["lws"][2].parts[BEGINS]["head.scales"], torch.ones(5))


@pytest.mark.parametrize("name", ["drw", "drs"])
def test_deferred_stages_go_on_with_the_whole_network(name, trained):
    _, module, watch = trained[name]
    assert differing(watch.parts[BEGINS], module.model.state_dict()) == set(module.model.state_dict())


@pytest.mark.parametrize("name", ALL)
def test_classes_are_drawn_evenly_from_the_second_stage_on(name, trained):
    drawn = np.zeros((EPOCHS, 5), int)
    for epoch, batch, _, _ in trained[name][2].steps:
        drawn[epoch] += np.bincount(batch["label"].numpy(), minlength=5)
        second = ALL[name].draws_evenly and epoch >= BEGINS
        assert ((batch["draw"] >= 60) == second).all(), "60 draws of the first plan, then those of the second"
    assert (drawn.sum(1) == 48).all(), "epochs keep their length"
    if ALL[name].draws_evenly:  # 96 of two epochs' stretch of a pass through 100, 20 of each class
        assert drawn[BEGINS:].sum(0).min() >= 16


def test_rare_classes_weigh_more_in_the_second_stage():
    logits, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    weights_K = effective_number_weights([100, 10, 40, 20, 5], 0.999)
    loss = drw(0.5, 0.999).loss(CrossEntropy(0.1), [100, 10, 40, 20, 5])
    expected = (weights_K[labels] * F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")).mean()
    torch.testing.assert_close(loss(logits, labels), expected)
    assert weights_K.argmax() == 4 and float(weights_K.mean()) == pytest.approx(1.0)


def test_a_loss_that_only_knows_its_mean_cannot_be_reweighted():
    with pytest.raises(ConfigError, match="gives only their mean"):
        Reweighted(torch.nn.CrossEntropyLoss(), torch.ones(5))


def test_each_stage_that_wants_it_has_a_schedule_of_its_own(trained):
    for name, (_, _, watch) in trained.items():
        rates = np.array([rate for *_, rate in watch.steps])  # the rate after each step
        assert len(rates) == 15
        if ALL[name].lr is None:
            assert rates[8] > 1e-4, "one cycle over both"
        else:
            assert rates[7] < 1e-5, "the first cycle ends with the first stage"
            cosine = 0.01 * 0.5 * (1 + np.cos(np.pi * np.arange(6) / 6)) / 2
            np.testing.assert_allclose(rates[8:14], cosine, atol=1e-8)


@pytest.mark.parametrize("stop", [5, 11], ids=["in the first stage", "in the second stage"])
@pytest.mark.parametrize("name", ALL)
def test_a_run_resumed_in_either_stage_ends_as_one_that_was_never_stopped(name, stop, tmp_path, trained):
    fit(tmp_path, ALL[name], stop=stop + 1)
    last = str(tmp_path / "checkpoints" / "last.ckpt")
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == stop
    module, watch = fit(tmp_path, ALL[name], resume=last)
    assert torch.equal(weights(module), weights(trained[name][1]))
    losses = [loss for *_, loss, _ in trained[name][2].steps]
    assert [loss for *_, loss, _ in watch.steps] == losses[stop:]


@pytest.mark.parametrize("name", ALL)
def test_the_run_folder_says_which_stage_which_epoch_was_and_judges_the_second(name, trained):
    folder = trained[name][0]
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["1"] * BEGINS + ["2"] * (EPOCHS - BEGINS)
    first, second = ALL[name].record(EPOCHS)
    assert (first["last_epoch"], second["first_epoch"], second["name"]) == (BEGINS - 1, BEGINS, name)
    assert read_checkpoint(folder / "checkpoints" / "best.ckpt")["epoch"] >= BEGINS


def test_what_mixes_by_frequency_goes_by_the_draws_of_its_stage(tmp_path):
    """Remix gives the label to the rarer class, and where classes are drawn evenly there is none."""
    module, data, switch = in_stages(drs(0.5), 4)
    module.mixing = remix(1.0, 3.0, 0.5, class_counts=[60, 20, 6, 2, 1], seed=5)
    data.mixing, seen = module.mixing, {}

    class Keep(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            seen[trainer.current_epoch] = pl_module.mixing.counts.tolist()

    quiet = CallbacksConfig(progress=False)
    trainer = make_trainer(config(epochs=4), tmp_path, callbacks=quiet, extra_callbacks=[switch, Keep()])
    trainer.fit(module, datamodule=data)
    assert seen == {0: [60, 20, 6, 2, 1], 1: [60, 20, 6, 2, 1], 2: [20] * 5, 3: [20] * 5}


def test_priors_are_those_of_the_labels_that_are_shown():
    """Drawn 30 times each 2, 10 times 76 and twice 78: half of the mirrored 76 are shown as 78, and the other way."""
    plan = ResamplingPlan.selection(np.repeat([0, 1, 2], [30, 10, 2]))
    class_of_row, classes = np.array([0, 1, 2]), [2, 76, 78]
    plain = Augment("none", False, 0.0, 0.0, 0.0, 0.2, classes=classes, seed=1)
    mirror = Augment("none", True, 0.0, 0.0, 0.0, 0.2, classes=classes, seed=1)
    assert counts_shown(plan, class_of_row, 3, plain).tolist() == [30, 10, 2]
    assert counts_shown(plan, class_of_row, 3, mirror).tolist() == [30, 6, 6]
    labels = torch.from_numpy(class_of_row[plan.base])
    shown = [mirror(torch.zeros(42, 1, 2, 2), labels, torch.arange(42), epoch)[1] for epoch in range(200)]
    np.testing.assert_allclose(torch.bincount(torch.cat(shown)).numpy() / 200, [30, 6, 6], atol=0.5)
    mirror.merge_mirror_images()
    assert counts_shown(plan, class_of_row, 3, mirror).tolist() == [30, 10, 2]
    alone = Augment("none", True, 0.0, 0.0, 0.0, 0.2, classes=[2, 76, 91], seed=1)
    assert counts_shown(plan, class_of_row, 3, alone).tolist() == [30, 10, 2], (
        "their partners are not among the classes"
    )


def test_stages_begin_within_the_training():
    assert Stages().begins(9) is None and Stages().record(9) == []
    assert [drs(start).begins(10) for start in (0.0, 0.44, 0.8, 1.0)] == [1, 4, 8, 9]


@pytest.mark.parametrize(
    ("choice", "said"),
    [("trainer.epochs=1", "no room for two stages"), ("callbacks.patience=3", "may end the training before")],
)
def test_a_training_that_would_never_reach_its_second_stage_is_refused(choice, said):
    with pytest.raises(ConfigError, match=said):
        Composer().check(["stage=drs", choice])


def test_every_choice_of_a_stage_is_built_and_says_its_name():
    for name in ("none", *ALL):
        assert build(Composer().check([f"stage={name}"]).stage).name == name


@pytest.mark.parametrize(
    ("choices", "sentences"),
    [
        (["sampler=random_over", "loss=class_balanced"], ["sampler and loss"]),
        (["sampler=class_balanced", "loss=balanced_softmax"], ["sampler and loss"]),
        (["sampler=random_over", "stage=crt"], ["sampler and stage"]),
        (["loss=ldam", "stage=drw"], ["loss and stage"]),
        (["loss=ldam", "stage=crt"], []),
        (["loss=focal", "sampler=random_over"], []),
        (["mixing=remix", "sampler=sqrt"], ["mixing on top of sampler"]),
        (["mixing=cmo", "loss=ldam", "stage=drw"], ["loss and stage", "mixing on top of loss and stage"]),
        (["mixing=cmo"], []),
        (["mixing=mixup", "sampler=sqrt"], []),
        ([], []),
    ],
)
def test_what_corrects_twice_is_told_in_one_sentence(choices, sentences):
    said = corrected_twice(Composer().check(choices))
    short = [text.split(" both")[0].split(":")[0].replace(" treats the imbalance", "") for text in said]
    assert short == sentences
    assert all(text.count(".") == 1 for text in said)
