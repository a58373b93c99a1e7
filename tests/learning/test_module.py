import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import f1_score, top_k_accuracy_score

from sgexp.errors import ConfigError, DataError
from sgexp.learning.callbacks import COLUMNS, cut_rows_past
from sgexp.learning.checkpoint import read_checkpoint
from sgexp.learning.loggers.base import About, RunLogger
from sgexp.learning.module import validation_scores
from sgexp.learning.schema import CallbacksConfig, SmallNetConfig
from sgexp.learning.trainer import make_trainer, predict
from sgexp.loading.augment import Augment
from sgexp.loading.mixing import mixup
from sgexp.schema import build

from .plumbing import CLASSES, config, make_data, make_module, weights

QUIET = CallbacksConfig(progress=False)


def fit(folder, *, trainer=None, callbacks=QUIET, module=None, data=None, resume=None, **options):
    module, data = module or make_module(), data or make_data()
    built = make_trainer(trainer or config(), folder, callbacks=callbacks, **options)
    built.fit(module, datamodule=data, ckpt_path=resume)
    return built, module


def history(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def without_time(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_training_learns_what_can_be_seen_and_writes_its_history(tmp_path):
    trainer, _ = fit(tmp_path, trainer=config(epochs=8))
    rows = history(tmp_path)
    assert tuple(rows[0]) == COLUMNS and [row["epoch"] for row in rows] == [str(epoch) for epoch in range(8)]
    assert [int(row["step"]) for row in rows] == [3 * (epoch + 1) for epoch in range(8)]
    assert all(value != "" for row in rows for value in row.values())
    assert float(rows[-1]["train/loss"]) < float(rows[0]["train/loss"])
    assert float(rows[-1]["val/macro_f1"]) > 0.8
    assert float(trainer.callback_metrics["val/macro_f1"]) == pytest.approx(float(rows[-1]["val/macro_f1"]))


def plain_descent(model, steps):
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0, steps)


def step_length(folder, clip):
    """Return how far one step of plain gradient descent with rate 1 moves the weights: the gradient's norm, as used."""
    module = make_module(dropout=0.0)
    module.make_optimizer = plain_descent
    before = weights(module)
    fit(folder, trainer=config(epochs=1, limit_batches=1, clip=clip), module=module)
    return float((weights(module) - before).norm())


def test_gradients_are_clipped_to_the_norm_asked_for_and_no_further(tmp_path):
    free = step_length(tmp_path / "free", 0.0)
    assert step_length(tmp_path / "clipped", free / 10) == pytest.approx(free / 10, rel=1e-3)
    assert step_length(tmp_path / "wide", 2 * free) == pytest.approx(free, rel=1e-5)


def test_validation_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 9, 200), rng.normal(size=(200, 10)).astype(np.float32)
    scores = validation_scores(labels, logits)
    expected = f1_score(labels, logits.argmax(1), labels=range(9), average="macro", zero_division=0)
    assert scores["macro_f1"] == pytest.approx(expected)
    assert scores["top5"] == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=range(10)))


def test_the_best_checkpoint_is_the_one_of_the_best_validation_score(tmp_path):
    fit(tmp_path, trainer=config(epochs=6))
    scores = [float(row["val/macro_f1"]) for row in history(tmp_path)]
    best, last = (read_checkpoint(tmp_path / "checkpoints" / name) for name in ("best.ckpt", "last.ckpt"))
    assert best["epoch"] == int(np.argmax(scores)) and last["epoch"] == 5
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    assert last["hyper_parameters"] == {"model": "tiny", "lr": 0.01, "decay_norms": False}


class StopAt(pl.Callback):
    """Breaks off after so many optimizer steps, before what was to be written then."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_, **__):
        if trainer.global_step == self.step:
            raise RuntimeError("crash")


class CrashInValidation(pl.Callback):
    """Breaks off when the last batch of an epoch is done and its end is not."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_validation_start(self, trainer, *_):
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("crash")


# Three steps an epoch: 3 is the end of one, 4 and 5 are within the next. Checkpoints at every second step.
@pytest.mark.parametrize(
    "crash",
    [StopAt(4), StopAt(5), StopAt(6), StopAt(7), CrashInValidation(1), CrashInValidation(2)],
    ids=["step4", "step5", "step6", "step7", "validation1", "validation2"],
)
@pytest.mark.parametrize("steps", [0, 2], ids=["each-epoch", "each-2-steps"])
def test_a_resumed_run_ends_as_if_it_had_never_stopped(tmp_path, crash, steps):
    callbacks = CallbacksConfig(progress=False, checkpoint_steps=steps)
    _, whole = fit(tmp_path / "whole", trainer=config(epochs=4), callbacks=callbacks)
    folder = tmp_path / "stopped"
    with pytest.raises(RuntimeError, match="crash"):
        fit(folder, trainer=config(epochs=4), callbacks=callbacks, extra_callbacks=[crash])
    # The run is resumed by a new process: other initial weights, and a row of history that no checkpoint has seen.
    with open(folder / "metrics.csv", "a") as file:
        file.write("9,999,1.0,0.1,,,,,,\n9,10")
    fresh = make_module(seed=5)
    torch.nn.init.zeros_(fresh.model.head.weight)
    resumed, fresh = fit(
        folder, trainer=config(epochs=4), callbacks=callbacks, module=fresh, resume=folder / "checkpoints" / "last.ckpt"
    )
    assert resumed.global_step == 12
    assert torch.equal(weights(fresh), weights(whole))
    found, expected = without_time(history(folder)), without_time(history(tmp_path / "whole"))
    assert [row["step"] for row in found] == [row["step"] for row in expected] == ["3", "6", "9", "12"]
    assert found == expected


def test_ctrl_c_reaches_the_caller_and_works_again(tmp_path):
    class Press(pl.Callback):
        def on_train_batch_end(self, trainer, *_, **__):
            if trainer.global_step == 4:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, extra_callbacks=[Press()])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 3


def test_every_epoch_has_an_order_of_its_own(tmp_path):
    seen = []

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(tuple(batch["draw"].tolist()))

    fit(tmp_path, extra_callbacks=[Look()])
    assert len(seen) == 9 and len(set(seen)) == 9


def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(tmp_path):
    _, alone = fit(tmp_path / "a")
    _, helped = fit(tmp_path / "b", data=make_data(workers=2))
    assert torch.equal(weights(alone), weights(helped))


def test_predictions_hold_each_row_once_in_order(tmp_path):
    trainer, module = fit(tmp_path, trainer=config(epochs=1))
    data = make_data()
    rows, logits = predict(trainer, module, data.evaluation_loader("validation"))
    assert rows.tolist() == list(range(60, 80)) and logits.shape == (20, len(CLASSES))
    module.eval()
    with torch.no_grad():
        expected = module(torch.from_numpy(data.store.read(np.arange(60, 80)))).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_overfitting_learns_its_few_batches_by_heart(tmp_path):
    trainer, _ = fit(
        tmp_path,
        trainer=config(epochs=60, validate_every=60),
        module=make_module(dropout=0.0),
        data=make_data(overfit_batches=1),
    )
    assert float(trainer.callback_metrics["val/top1"]) == 1.0


def test_limits_and_sparse_validation_are_kept(tmp_path):
    trainer, _ = fit(tmp_path, trainer=config(epochs=4, limit_batches=1, validate_every=2))
    rows = history(tmp_path)
    assert trainer.global_step == 4
    assert [row["val/top1"] != "" for row in rows] == [False, True, False, True]
    assert all(row["train/loss"] != "" for row in rows)


def test_accumulated_batches_step_the_schedule_once(tmp_path):
    trainer, _ = fit(tmp_path, trainer=config(epochs=4, accumulate=3))
    assert trainer.global_step == 4
    assert trainer.optimizers[0].param_groups[0]["lr"] < 1e-4, "the schedule reached its end"


def test_patience_stops_early(tmp_path):
    # A learning rate schedule that never learns: the score cannot improve on the first one.
    module = make_module()
    for parameter in module.model.parameters():
        parameter.requires_grad_(False)
    module.model.head.bias.requires_grad_(True)
    module.make_optimizer = lambda model, steps: _frozen(model)
    trainer, _ = fit(
        tmp_path, trainer=config(epochs=50), callbacks=CallbacksConfig(progress=False, patience=2), module=module
    )
    assert trainer.current_epoch == 3


def _frozen(model):
    optimizer = torch.optim.SGD([model.head.bias], lr=0.0)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def test_bfloat16_gives_float32_logits(tmp_path):
    trainer, module = fit(tmp_path, trainer=config(epochs=1, precision="bf16"))
    _, logits = predict(trainer, module, make_data().evaluation_loader("validation"))
    assert logits.dtype == np.float32 and np.isfinite(logits).all()


def test_the_progress_bar_says_how_far_training_is(tmp_path, capsys):
    fit(tmp_path, trainer=config(epochs=2), callbacks=CallbacksConfig())
    shown = capsys.readouterr().out
    assert "epoch 2/2" in shown and "6/6" in shown and "left" in shown


class Breaking(RunLogger):
    title = "This service"

    def _row(self, values, step):
        raise ConnectionError("it is [gone]")


def test_a_logger_that_breaks_says_so_once_and_costs_neither_training_nor_history(tmp_path, capsys):
    logger = Breaking()
    logger.start(About(tmp_path))
    fit(tmp_path, trainer=config(epochs=3), logger=logger)
    assert capsys.readouterr().out.count("This service records no more of this run (it is [gone])") == 1
    assert len(history(tmp_path)) == 3


class Keeping(RunLogger):
    def _start(self):
        self.rows = []

    def _row(self, values, step):
        self.rows.append(step)


def test_ctrl_c_between_the_history_and_the_logger_leaves_both_with_the_same_rows(tmp_path, monkeypatch):
    logger, sync = Keeping(), os.fsync
    logger.start(About(tmp_path))

    def interrupted(descriptor):
        sync(descriptor)
        if os.path.samestat(os.fstat(descriptor), os.stat(tmp_path / "metrics.csv")):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, trainer=config(epochs=3), logger=logger)
    assert [int(row["step"]) for row in history(tmp_path)] == logger.rows == [3]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"accelerator=gpu, but PyTorch sees no GPU.*choose trainer=cpu"):
        make_trainer(config(accelerator="gpu"), tmp_path)


def test_resuming_with_other_space_groups_is_refused(tmp_path):
    fit(tmp_path, trainer=config(epochs=1))
    other = make_module(classes=(*CLASSES[:-1], 227))
    with pytest.raises(DataError, match="trained for other space groups"):
        fit(tmp_path, trainer=config(epochs=2), module=other, resume=tmp_path / "checkpoints" / "last.ckpt")


def test_history_is_cut_to_whole_rows_up_to_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(",".join(COLUMNS) + "\n0,3,1.5,0.1,2,0,2,0,0,0\n1,6,3.0,0.1,2,0,2,0,0,0\n2,9,4.5")
    assert cut_rows_past(path, 6) == 3.0
    assert [row["step"] for row in history(tmp_path)] == ["3", "6"]
    assert cut_rows_past(path, 0) == 0.0
    assert history(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["plain", "crt auxiliary", "probability_flow", "trickle_down", "mixup auxiliary"])
def test_two_processes_train_and_predict_like_one(way, tmp_path):
    """Gloo, group normalisation: the same global batches give the same weights up to the order of additions."""
    script = Path(__file__).with_name("plumbing.py")
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    out = {}
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        command = [sys.executable, str(script), str(devices), str(folder), *way.split()]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        out[devices] = torch.load(folder / "out.pt"), np.load(folder / "predictions.npz"), history(folder)
    (one, predicted_one, history_one), (two, predicted_two, history_two) = out[1], out[2]
    torch.testing.assert_close(one["weights"], two["weights"], atol=1e-5, rtol=1e-4)
    assert predicted_two["rows"].tolist() == list(range(60, 80)), "20 rows over two ranks, none twice, none lost"
    np.testing.assert_allclose(predicted_one["logits"], predicted_two["logits"], atol=1e-3)
    assert one["scores"] == pytest.approx(two["scores"], abs=1e-4)
    assert len(history_one) == len(history_two) == 3, "one process writes the history"


@pytest.mark.parametrize("way", ["naive", "ours"])
def test_the_history_is_not_deleted_on_resume(way, tmp_path):
    """Lightning's CSVLogger begins its file anew; only the rows after the resume are left."""

    def part(epochs, resume=None):
        if way == "ours":
            fit(tmp_path, trainer=config(epochs=epochs), resume=resume)
            return history(tmp_path)
        logger = pl.loggers.CSVLogger(tmp_path, name="", version="")
        trainer = make_trainer(config(epochs=epochs), tmp_path / "run", callbacks=QUIET)
        trainer.loggers = [logger]
        trainer.fit(make_module(), datamodule=make_data(), ckpt_path=resume)
        return history(tmp_path)

    assert [row["epoch"] for row in part(2) if row["val/top1"]] == ["0", "1"]
    folder = tmp_path / ("run" if way == "naive" else "")
    rows = part(4, resume=folder / "checkpoints" / "last.ckpt")
    kept = [row["epoch"] for row in rows if row["val/top1"]]
    assert kept == (["2", "3"] if way == "naive" else ["0", "1", "2", "3"])


@pytest.mark.parametrize("way", ["one", "each"])
@pytest.mark.parametrize("mixes", [False, True], ids=["plain", "mixup"])
def test_training_sees_single_patterns_and_evaluation_the_average_over_all(way, mixes):
    module = make_module()
    module.model = build(SmallNetConfig(width=4, pool="probabilities"), n_classes=len(CLASSES))
    module.augment = Augment("none", False, 0.0, 0.0, 0.0, 0.2, show=way, classes=CLASSES, seed=5)
    module.mixing = mixup(1.0, class_counts=np.full(len(CLASSES), 9), seed=5) if mixes else None
    batch = make_data().draws.__getitems__([3, 8, 9, 2]) | {"other": torch.tensor([1, 0, 3, 2])}
    seen, losses = [], []
    module.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module.loss.register_forward_hook(lambda _, inputs, out: losses.append(inputs[1]))
    module.trainer = SimpleNamespace(max_epochs=3, current_epoch=0)
    loss = module.training_step(batch, 0)
    assert loss.isfinite()
    n = 4 if way == "one" else 12
    assert seen[0].shape == (n, 1, 8, 8)
    if not mixes:
        stack = batch["patterns"] - batch["patterns"].mean((-2, -1), keepdim=True)
        assert torch.equal(losses[0], batch["label"].repeat_interleave(n // 4))
        assert way == "one" or torch.equal(seen[0], stack.flatten(0, 1)[:, None])
    module.eval()
    whole = module(batch["patterns"])
    single = torch.stack([module(batch["patterns"][:, [c]]).softmax(1) for c in range(3)]).mean(0)
    torch.testing.assert_close(whole.softmax(1), single)
