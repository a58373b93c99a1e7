"""What is asked beside the space group: crystal system, cell lengths and angles."""

import numpy as np
import pytest
import torch

from sgexp.composition import Composer
from sgexp.crystallography.groups import CRYSTAL_SYSTEMS, space_group
from sgexp.errors import ConfigError
from sgexp.learning.auxiliary import Auxiliary, CrystalTargets
from sgexp.learning.callbacks import COLUMNS
from sgexp.learning.checkpoint import read_checkpoint
from sgexp.learning.models.heads import head_of
from sgexp.learning.schema import CallbacksConfig
from sgexp.learning.trainer import answers, make_trainer
from sgexp.loading.batches import PatternDraws
from sgexp.loading.mixing import mixup

from .plumbing import CLASSES, IN_STAGES, config, in_stages, make_data, make_module, weights, with_auxiliary
from .test_module import StopAt, fit, history, without_time

GROUPS = np.array([225, 2, 14, 225, 62, 194])
CELLS = np.array(
    [
        [5.6, 5.6, 5.6, 90, 90, 90],
        [4.0, 5.0, 7.0, 80, 95, 100],
        [3.0, 8.0, 6.0, 90, 110, 90],
        [5.6, 5.6, 9.9, 90, 90, 90],  # not cubic
        [np.nan, 5.0, 6.0, 90, 90, 90],
        [3.2, 3.2, 5.1, 90, 90, 120],
    ],
    dtype=np.float32,
)
GOOD = np.array([0, 1, 2, 5])


def made(train=(0, 1, 2, 3, 4), **weights):
    torch.manual_seed(0)
    weights = {"system": 0.3, "lengths": 0.5, "angles": 0.2} | weights
    return Auxiliary(4, CrystalTargets.of(GROUPS, CELLS), np.array(train), weights)


def each(auxiliary, rows, partners=None):
    features = torch.randn(len(rows), 4, generator=torch.Generator().manual_seed(1))
    rows = torch.tensor(rows)
    partners = rows if partners is None else torch.tensor(partners)
    return features, auxiliary.each(features, rows, partners)


def by_hand(auxiliary, features, rows, known):
    """The loss in NumPy, from the layer's numbers and the training cells alone."""
    out = features.numpy() @ auxiliary.layer.weight.detach().numpy().T + auxiliary.layer.bias.detach().numpy()
    coded = np.hstack([np.log(CELLS[:, :3]), CELLS[:, 3:]])
    train = coded[[0, 1, 2]]  # rows 3 and 4 train too, without a cell; 5 does not train
    found = []
    for row, sure, answer in zip(rows, known, out.astype(np.float64), strict=True):
        logits = answer[:7]
        place = CRYSTAL_SYSTEMS.index(space_group(int(GROUPS[row])).crystal_system)
        total = 0.3 * (np.log(np.exp(logits).sum()) - logits[place])
        if sure:
            gap = np.abs((coded[row] - train.mean(0)) / train.std(0) - answer[7:])
            huber = np.where(gap < 1, gap**2 / 2, gap - 0.5)
            total += 0.5 * huber[:3].mean() + 0.2 * huber[3:].mean()
        found.append(total)
    return found


def test_the_loss_is_the_stated_formula_and_leaves_out_cells_that_cannot_be_used():
    auxiliary, rows = made(), [0, 1, 2, 3, 4, 5, 0]
    features, loss = each(auxiliary, rows)
    expected = by_hand(auxiliary, features, rows, [row in GOOD for row in rows])
    np.testing.assert_allclose(loss.detach(), expected, rtol=1e-4)
    loss.sum().backward()
    assert torch.isfinite(auxiliary.layer.weight.grad).all()


def test_a_mixture_with_another_cell_has_a_system_and_no_cell():
    auxiliary, rows = made(), [0, 1, 1, 3]
    features, loss = each(auxiliary, rows, partners=[0, 1, 2, 3])
    np.testing.assert_allclose(loss.detach(), by_hand(auxiliary, features, rows, [True, True, False, False]), rtol=1e-4)


def test_a_plan_tells_which_row_is_mixed_into_a_draw():
    class Store:
        def read(self, rows):
            return np.zeros((len(rows), 3, 2, 2), np.float32)

    draws = PatternDraws(Store(), np.zeros(9, int), np.array([1, 2, 3]), np.array([4, 5, 6]), np.array([0.0, 0.5, 1.0]))
    assert draws.__getitems__([2, 0, 1])["partner"].tolist() == [6, 1, 5]
    assert "partner" not in PatternDraws(Store(), np.zeros(9, int), np.array([1, 2, 3])).__getitems__([0])


def test_answers_are_in_angstrom_and_degrees():
    auxiliary = made()
    with torch.no_grad():
        auxiliary.layer.weight.zero_()
        auxiliary.layer.bias.zero_()
        auxiliary.layer.bias[CRYSTAL_SYSTEMS.index("hexagonal")] = 1.0
    found = auxiliary.answers(torch.randn(2, 4))
    expected = [*np.exp(np.log(CELLS[:3, :3]).mean(0)), *CELLS[:3, 3:].mean(0)]
    np.testing.assert_allclose(found["cell"], [expected] * 2, rtol=1e-5)
    assert [CRYSTAL_SYSTEMS[place] for place in found["system"]] == ["hexagonal"] * 2


def test_cells_that_do_not_vary_are_not_divided_by_their_spread():
    auxiliary = made(train=(0, 2))
    assert auxiliary.spread.tolist()[3] == 1.0 and torch.isfinite(each(auxiliary, [0, 1, 2, 5])[1]).all()


def test_what_cannot_be_used_is_counted_in_one_sentence():
    said = CrystalTargets.of(GROUPS, CELLS).left_out()
    assert "of 6 cells 2 cannot be used (1 have none, 1 are at odds with the crystal system)" in said
    assert "." not in said and CrystalTargets.of(GROUPS[GOOD], CELLS[GOOD]).left_out() == ""


def test_cells_are_asked_for_only_where_training_has_some():
    with pytest.raises(ConfigError, match="none has one that can be used"):
        made(train=(3, 4))
    alone = made(train=(3, 4), lengths=0.0, angles=0.0)
    assert alone.tasks == ("system",) and torch.isfinite(each(alone, [3, 4])[1]).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["auxiliary.system=0", "auxiliary.lengths=0", "auxiliary.angles=0"], "all 0"),
        (["trainer=fsdp"], "auxiliary=cell keeps its layer whole"),
        (["dataset=stream"], r"auxiliary\.lengths=0\.1 needs to know each cell"),
    ],
)
def test_what_cannot_be_asked_is_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        Composer().check(["auxiliary=cell", *words])
    Composer().check(["auxiliary=cell", "auxiliary.lengths=0", "dataset=stream"])


def test_training_learns_the_tasks_tells_their_loss_and_keeps_checkpoints_plain(tmp_path):
    module = with_auxiliary(make_module())
    before = weights(module.auxiliary)
    trainer, _ = fit(tmp_path, trainer=config(epochs=8), module=module)
    rows = history(tmp_path)
    assert tuple(rows[0]) == (*COLUMNS, "train/auxiliary")
    assert float(rows[-1]["train/auxiliary"]) < 0.8 * float(rows[0]["train/auxiliary"])
    assert not torch.equal(weights(module.auxiliary), before)
    stored = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]  # read with weights_only=True
    own = {name for name in stored if name.startswith("auxiliary.")}
    assert own == {f"auxiliary.{name}" for name in ("layer.weight", "layer.bias", "mean", "spread")}
    assert {name for name in stored if name.startswith("model.")} == {f"model.{n}" for n in module.model.state_dict()}
    found_rows, found = answers(trainer, module, make_data().evaluation_loader("validation"))
    with torch.no_grad():
        features = []
        handle = head_of(module.model).register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        batch = torch.from_numpy(make_data().store.read(found_rows))
        logits = module.eval()(batch)
        handle.remove()
    np.testing.assert_allclose(found["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(found["cell"], module.auxiliary.answers(features[0])["cell"], rtol=1e-4)
    assert not head_of(module.model)._forward_pre_hooks


def test_tasks_without_weight_leave_the_network_as_it_was_without_them(tmp_path):
    _, plain = fit(tmp_path / "plain")
    _, beside = fit(tmp_path / "beside", module=with_auxiliary(make_module(), system=0.0, lengths=0.0, angles=0.0))
    assert torch.equal(weights(plain.model), weights(beside.model))
    _, asked = fit(tmp_path / "asked", module=with_auxiliary(make_module()))
    assert not torch.equal(weights(plain.model), weights(asked.model))


@pytest.mark.parametrize("mixing", [False, True], ids=["plain", "mixup"])
def test_a_resumed_run_ends_as_if_it_had_never_stopped(mixing, tmp_path):
    def parts():
        module = with_auxiliary(make_module())
        module.mixing = mixup(1.0, class_counts=np.full(len(CLASSES), 12), seed=5) if mixing else None
        return {"module": module, "data": make_data(mixing=module.mixing)}

    often = CallbacksConfig(progress=False, checkpoint_steps=1)
    _, whole = fit(tmp_path / "whole", callbacks=often, **parts())
    with pytest.raises(RuntimeError, match="crash"):
        fit(tmp_path / "stopped", callbacks=often, extra_callbacks=[StopAt(5)], **parts())
    again = parts()
    torch.nn.init.zeros_(again["module"].auxiliary.layer.weight)
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    _, resumed = fit(tmp_path / "stopped", callbacks=often, resume=last, **again)
    assert torch.equal(weights(resumed), weights(whole))
    assert without_time(history(tmp_path / "stopped")) == without_time(history(tmp_path / "whole"))


def test_a_mixture_is_asked_for_both_its_crystals_by_their_shares(tmp_path):
    module = with_auxiliary(make_module(dropout=0.0))
    features = torch.randn(3, 64)
    module._tap = type("Tap", (), {"features": staticmethod(lambda count: features)})()
    batch = {"row": torch.tensor([1, 2, 3, 9])}
    share, first, second = torch.tensor([1.0, 0.25, 0.0]), torch.tensor([0, 1, 2]), torch.tensor([1, 3, 3])
    found = module._auxiliary_loss(batch, [(share, first), (1 - share, second)])
    rows = batch["row"]
    one, other = (module.auxiliary.each(features, rows[place], rows[place]) for place in (first, second))
    torch.testing.assert_close(found, (share * one + (1 - share) * other).mean())


@pytest.mark.parametrize("name", IN_STAGES)
def test_a_stage_that_keeps_the_features_still_lets_the_tasks_rest(name, tmp_path):
    module, data, switch = in_stages(IN_STAGES[name], 4)
    with_auxiliary(module)
    seen = {}

    class Watch(type(switch).__mro__[1]):
        def on_train_batch_start(self, trainer, pl_module, *_):
            if trainer.current_epoch == switch.begins:
                seen.setdefault("before", weights(pl_module.auxiliary))

    trainer = make_trainer(
        config(epochs=4), tmp_path, callbacks=CallbacksConfig(progress=False), extra_callbacks=[switch, Watch()]
    )
    trainer.fit(module, datamodule=data)
    rests = IN_STAGES[name].trains != "all"
    assert torch.equal(seen["before"], weights(module.auxiliary)) == rests
    rows = history(tmp_path)
    assert [float(row["train/auxiliary"]) == 0 for row in rows] == [False, False, rests, rests]
