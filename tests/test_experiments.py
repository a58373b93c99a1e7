"""The experiment files that repeat published systems say what their sources say."""

import shutil

import h5py
import numpy as np
import pytest
import torch

from sgexp.composition import Composer
from sgexp.data.formats.smc19 import Writer
from sgexp.learning.optimizers import for_batch
from sgexp.schema import build
from sgexp.tasks.train import in_folder
from sgexp.usage import CONF_DIR

from .data.makers import attributes, patterns


@pytest.fixture(scope="module")
def stemdl():
    return Composer().check(["experiment=stemdl", "dataset.root=somewhere"])


def test_stemdl_has_the_optimizer_and_the_constant_rate_of_its_code(stemdl):
    # github.com/mlcommons/science, benchmarks/stemdl/ornl/sgcl_runner.py: AdamW, 1e-3 x GPUs, 5e-5
    optimizer, scheduler = build(for_batch(stemdl.optimizer, stemdl.trainer)[0], model=torch.nn.Linear(2, 2), steps=9)
    assert isinstance(optimizer, torch.optim.AdamW)
    (group,) = optimizer.param_groups
    published = torch.optim.AdamW(torch.nn.Linear(2, 2).parameters(), lr=1e-3, weight_decay=5e-5).param_groups[0]
    for key in ("lr", "betas", "eps", "weight_decay", "amsgrad"):
        assert group[key] == pytest.approx(published[key])
    assert {scheduler.lr_lambdas[0](step) for step in range(9)} == {1.0}
    assert (stemdl.trainer.batch_size, stemdl.trainer.epochs, stemdl.trainer.clip) == (32, 90, 0.0)
    larger = Composer().check(["experiment=stemdl", "dataset.root=x", "trainer.batch_size=192", "trainer.devices=6"])
    assert for_batch(larger.optimizer, larger.trainer)[0].lr == pytest.approx(6e-3)


def test_stemdl_has_the_network_and_the_input_of_its_code(stemdl):
    # torchvision's ResNet-50 (25,557,032) with one input channel instead of three and 231 outputs instead of 1,000
    network = build(stemdl.model, n_classes=231)
    expected = 25_557_032 - 2 * 64 * 49 - (1000 - 231) * 2049
    assert sum(parameter.numel() for parameter in network.parameters()) == expected == 23_975_079
    assert (stemdl.model.patterns, stemdl.model.pool) == ("shared", "logits")
    assert (stemdl.transform.code, stemdl.transform.pixels, stemdl.augment.erase) == ("log", 128, 0.8)
    assert stemdl.mixing.target.endswith("none") and stemdl.loss.label_smoothing == 0.0


# What each source says: optimizer, its settings, batch, epochs, code (trickle_down's reports no optimizer: STEMDL's).
PUBLISHED = {
    "smc2019_before": ("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-5, "nesterov": False}, 128, 90, "none"),
    "stemdl_reference": ("AdamW", {"lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 5e-5}, 32, 90, "log"),
    "stemdl_stfc": ("AdamW", {"lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 5e-5}, 32, 10, "log"),
    "probability_flow": (
        "LAMB",
        {"lr": 2e-2, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.01, "debias": False, "longest": 10.0},
        171,
        80,
        "log",
    ),
    "trickle_down": ("AdamW", {"lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 5e-5}, 32, 90, "log"),
}
LATER_2019 = ("smc2019_redistributed", "smc2019_redistributed_honest", "smc2019_smote")
PUBLISHED |= dict.fromkeys(LATER_2019, PUBLISHED["smc2019_before"])
LITERATURE = (*PUBLISHED, "best")
RESNET50 = 25_557_032  # torchvision's, 3 channels and 1,000 outputs
# (parameters, outputs): torchvision's resnet50 as it is; with one channel and 231 outputs; with three; the entry's own.
PARAMETERS = {name: (RESNET50, 1000) for name in PUBLISHED} | {
    "stemdl_reference": (RESNET50 - 2 * 64 * 49 - 769 * 2049, 231),
    "stemdl_stfc": (RESNET50 - 769 * 2049, 231),
    "probability_flow": (2_456_420, 230),
}


@pytest.fixture(scope="module")
def experiments():
    composer = Composer()
    return {name: composer.check([f"experiment={name}"]) for name in LITERATURE}


@pytest.mark.parametrize("name", PUBLISHED)
def test_optimizer_schedule_and_input_are_those_of_the_source(name, experiments):
    config, (kind, settings, batch, epochs, code) = experiments[name], PUBLISHED[name]
    optimizer, scheduler = build(config.optimizer, model=torch.nn.Linear(2, 2), steps=100)
    assert type(optimizer).__name__ == kind
    (group,) = optimizer.param_groups  # biases decay too
    # A schedule has moved lr already.
    assert {key: group["initial_lr" if key == "lr" else key] for key in settings} == settings
    assert (config.trainer.batch_size, config.trainer.epochs, config.trainer.clip) == (batch, epochs, 0.0)
    assert (config.transform.code, config.transform.standardise, config.loss.label_smoothing) == (code, False, 0.0)
    factors = [scheduler.lr_lambdas[0](step) for step in range(100)]
    if name != "probability_flow":
        assert set(factors) == {1.0}
        return
    one = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    published = torch.optim.lr_scheduler.OneCycleLR(one, 1.0, total_steps=100, cycle_momentum=False)
    for factor in factors:
        assert factor == pytest.approx(published.get_last_lr()[0], rel=1e-6, abs=1e-12)
        one.step()
        published.step()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_network_has_as_many_parameters_as_the_sources(name, experiments):
    count, outputs = PARAMETERS[name]
    with torch.device("meta"):
        network = build(experiments[name].model, n_classes=outputs)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_what_makes_each_system_what_it_is(experiments):
    def target(name, group):
        return getattr(experiments[name], group).target.rpartition(".")[2]

    assert target("smc2019_redistributed", "split") == "Sample"
    assert {target(f"smc2019_{name}", "split") for name in ("redistributed_honest", "smote")} == {"Material"}
    shares = experiments["smc2019_redistributed"].split
    assert shares.validation == shares.test_material == pytest.approx(1 / 9, abs=1e-4), "7 : 1 : 1"
    assert target("smc2019_smote", "sampler") == "Smote" and experiments["smc2019_smote"].sampler.k_neighbors == 6
    reference, flow = experiments["stemdl_reference"], experiments["probability_flow"]
    assert (reference.model.patterns, reference.model.pool, reference.augment.show) == ("shared", "logits", "one")
    assert (flow.model.patterns, flow.model.pool, flow.augment.show) == ("shared", "probabilities", "each")
    for config in (reference, flow):  # torchvision.transforms.RandomErasing(p=0.8)
        augment = config.augment
        assert (augment.erase, augment.erase_least, augment.erase_area, augment.erase_ratio) == (0.8, 0.02, 0.33, 3.3)
    assert target("probability_flow", "mixing") == "mixup" and flow.mixing.alpha == 0.4
    assert all(target(name, "stage") == name for name in ("probability_flow", "trickle_down"))
    assert experiments["smc2019_before"].model.patterns == experiments["stemdl_stfc"].model.patterns == "stacked"


@pytest.mark.parametrize("name", LITERATURE)
def test_each_takes_smc19_with_no_other_change(name, experiments):
    config = Composer().check([f"experiment={name}", "dataset=smc19", "dataset.root=DIR", "size=smc19"])
    pixels = 32 if name == "best" else 128
    assert config.dataset.target.endswith("SMC19") and config.transform.pixels == pixels
    for group in ("model", "optimizer", "loss", "augment", "stage", "mixing", "trainer", "sampler"):
        assert getattr(config, group) == getattr(experiments[name], group)


def test_each_says_its_source_what_was_reached_and_what_differs():
    for name in LITERATURE:
        text = (CONF_DIR / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
        assert "\n# Source: " in text, name
        assert name == "best" or ("\n# Reached there: " in text and "\n# NOT the same: " in text), name


FEW = ("size=tiny", "trainer.limit_batches=1", "trainer.batch_size=4", "trainer.epochs=2", "logger=none")
QUIET = ("evaluation.baselines=[]", "evaluation.resamples=100", "callbacks.progress=false", "report=default")


@pytest.mark.slow
def test_each_trains_and_is_judged(tmp_path, capsys):
    """Two epochs of a batch on the tiny data: the experiments' own networks, optimizers, stages and splits."""
    for name in LITERATURE:
        run, results = in_folder(Composer().check([f"experiment={name}", *FEW, *QUIET, f"output_dir={tmp_path}"]))
        assert results["status"] in ("running", "finished") and "top1" in results["metrics"]["test_material"], name
        assert bool(results["stamps"]) == (name == "smc2019_redistributed"), "only the leaky one is stamped"
        assert (run.folder / "plan_stage2.npz").exists() == (name in ("probability_flow", "trickle_down"))
        shutil.rmtree(run.folder / "checkpoints")  # of all of them: 5 GB


def write_smc19(folder):
    """Six materials of each of four groups at up to five energies, with gaps, zeros, NaN and denormal numbers."""
    folder.mkdir()
    circle = np.hypot(*(np.mgrid[:40, :40] - 19.5)) < 20
    for part, materials in {"train": range(16), "dev": range(16, 20), "test": range(20, 24)}.items():
        with Writer(folder / f"batch_{part}_7.h5") as writer:
            for i in materials:
                for k in (0, 1, 4, 6, 9)[: 5 - i % 3]:
                    facts = attributes((2, 14, 62, 225)[i % 4], f"mp-{i}", energy_keV=100 + 10 * k, formula=f"Fe{i}")
                    writer.add(f"sample_{3 * i}_{k}", patterns(10 * i + k, 40) * circle, facts)
    with h5py.File(folder / "batch_train_7.h5", "a") as file:
        file["sample_0_1/cbed_stack"][1, 10:20] = np.nan
        file["sample_6_0/cbed_stack"][2] = 0
        file["sample_9_0"].attrs["abc_angstrom"] = [1e-310, np.nan, 3.0]


@pytest.mark.slow
def test_files_of_smc19s_layout_train_each_with_no_other_change(tmp_path):
    write_smc19(tmp_path / "smc19")
    smc19 = ("dataset=smc19", f"dataset.root={tmp_path / 'smc19'}", f"data_dir={tmp_path / 'data'}")
    for name in LITERATURE:
        words = [f"experiment={name}", *smc19, *FEW, *QUIET, f"output_dir={tmp_path}"]
        run, results = in_folder(Composer().check(words))
        assert "top1" in results["metrics"]["test_material"], name
        assert "families are a proxy" in [stamp[:20] for stamp in results["stamps"]], name
        shutil.rmtree(run.folder / "checkpoints")
