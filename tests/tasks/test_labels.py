"""labels=219: mirror images of each other are one class, in training and in judging, on the same split."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from sgexp.composition import Composer
from sgexp.crystallography.groups import SPACE_GROUPS
from sgexp.errors import ConfigError
from sgexp.loading.augment import Augment
from sgexp.run_config import settled
from sgexp.tasks.evaluate import evaluate
from sgexp.tasks.prepare import Data
from sgexp.tasks.score import the_test
from sgexp.tasks.train import in_folder

from ..commands import result
from ..data.makers import make_catalog

FEW = ("size=tiny", "trainer.epochs=1", "logger=none", "evaluation.baselines=[]", "evaluation.resamples=100")


def test_230_groups_become_219_named_by_the_lower_number_of_a_pair():
    catalog = make_catalog(range(1, 231), [f"m{n}" for n in range(230)], [""] * 230)
    data = Data(catalog, None, None)
    merged = data.labelled(219).catalog
    assert len(np.unique(merged.space_group)) == 219 and data.labelled(230) is data
    partner = {group.number: group.enantiomorph for group in SPACE_GROUPS}
    for before, after in zip(catalog.space_group.tolist(), merged.space_group.tolist(), strict=True):
        assert after == min(before, partner[before] or before)
    assert merged.space_group.dtype == catalog.space_group.dtype and merged.fingerprint == catalog.fingerprint


def test_a_mirrored_stack_keeps_a_merged_label():
    patterns, labels = torch.randn(64, 3, 8, 8), torch.arange(64) % 2
    augment = Augment("none", True, 0.0, 0.0, 0.0, 0.2, classes=[76, 91], seed=1)
    assert torch.equal(augment(patterns, labels, torch.arange(64), 0)[0], patterns), "78 and 95 are not there"
    augment.merge_mirror_images()
    mirrored, kept = augment(patterns, labels, torch.arange(64), 0)
    flipped = (mirrored == patterns.flip(-1)).flatten(1).all(1)
    assert torch.equal(kept, labels) and 16 < int(flipped.sum()) < 48


def test_a_run_over_219_classes_trains_judges_and_is_judged_again_on_the_same_split(tmp_path):
    composer, ended = Composer(), {}
    for labels in (230, 219):
        run, record = in_folder(composer.check([*FEW, f"labels={labels}", f"output_dir={tmp_path / str(labels)}"]))
        with open(run.path("split.csv"), newline="") as file:
            parts = {(row["path"], row["key"]): row["split"] for row in csv.DictReader(file)}
        ended[labels] = run.folder, record, parts
    (_, whole, before), (folder, record, parts) = ended[230], ended[219]
    assert parts == before, "who trains and tests stays the same"
    assert record["config_hash"] != whole["config_hash"]
    metrics = record["metrics"]["test_material"]
    assert metrics["top1"] == metrics["merged_219"]
    words = ["task=evaluate", f"run={folder}", f"output_dir={tmp_path / 'again'}"]
    config = settled(composer.check(words), words)
    assert config.labels == 219
    evaluate(config)
    (again,) = Path(tmp_path / "again" / "evaluate").iterdir()
    assert result(again)["metrics"] == record["metrics"]
    assert any("219" in note for note in result(again)["notes"])


def test_the_benchmark_is_over_230_groups():
    config = Composer().check(["task=score", "task.submission=x", "labels=219"])
    with pytest.raises(ConfigError, match=r"labels=219: the test is over the 230 groups"):
        the_test(config)


def test_other_numbers_of_classes_are_refused():
    with pytest.raises(ConfigError, match=r"labels=200 is not one of 230, 219"):
        Composer().check(["labels=200"])
