"""auxiliary=cell: a run trains and judges further answers, and its answers of the space group stay what they are."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import mean_absolute_error

from sgexp.composition import Composer
from sgexp.crystallography.groups import CRYSTAL_SYSTEMS, space_group
from sgexp.errors import UserError
from sgexp.evaluation.predictions import Predictions
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.npz import load_npz
from sgexp.report.collect import read_run
from sgexp.report.details import read_details
from sgexp.report.run_page import auxiliary_table as auxiliary_rows
from sgexp.report.run_page import run_page
from sgexp.report.terminal import auxiliary_table
from sgexp.run_config import settled
from sgexp.tasks.evaluate import evaluate
from sgexp.tasks.prepare import prepare_data
from sgexp.tasks.train import in_folder

from ..commands import result

FEW = ("size=tiny", "trainer.epochs=2", "logger=none", "evaluation.baselines=[]", "evaluation.resamples=100")


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Config, run and record of a tiny training with SMOTE's mixtures."""
    folder = tmp_path_factory.mktemp("auxiliary")
    config = Composer().check([*FEW, "auxiliary=cell", "sampler=smote", f"output_dir={folder}"])
    return config, *in_folder(config)


def test_the_figures_are_those_of_the_answers_that_are_kept(ended):
    config, run, record = ended
    told, kept = record["auxiliary"], load_npz(run.path("auxiliary.npz"), 1)
    assert result(run.folder)["auxiliary"] == told and told["weights"] == {"system": 0.1, "lengths": 0.1, "angles": 0.1}
    assert list(told["metrics"]) == ["validation", "test_material", "test_family"] and told["note"] == ""
    for part, figures in told["metrics"].items():
        own = kept["part"] == part
        true, found = kept["true_cell"][own], kept["cell"][own]
        assert told["counts"][part] == {"samples": own.sum(), "cells": own.sum()}
        assert figures["system_top1"]["value"] == pytest.approx((kept["system"] == kept["true_system"])[own].mean())
        assert figures["length_error"]["value"] == pytest.approx(mean_absolute_error(true[:, :3], found[:, :3]))
        assert figures["angle_error"]["value"] == pytest.approx(mean_absolute_error(true[:, 3:], found[:, 3:]))
        assert set(told["constant"][part]) == set(figures)
    catalog = prepare_data(config).catalog
    np.testing.assert_array_equal(kept["true_cell"], catalog.cell[kept["row"]])
    systems = [space_group(int(group)).crystal_system for group in catalog.space_group[kept["row"]]]
    assert [CRYSTAL_SYSTEMS[place] for place in kept["true_system"]] == systems


def test_the_run_shows_them(ended):
    shown = io.StringIO()
    Console(file=shown, width=80).print(auxiliary_table(ended[2]["auxiliary"]))
    value = ended[2]["auxiliary"]["metrics"]["test_family"]["length_error"]["value"]
    assert f"{value:.3f} [" in shown.getvalue() and "lengths, Å off" in shown.getvalue()


def test_its_page_shows_them_and_a_page_of_another_run_no_such_table(ended, tmp_path):
    _, run, record = ended
    told = read_run(run.folder)
    page = run_page(read_details(told, EvaluationConfig(resamples=100)), "0", "plotly.js")
    value = record["auxiliary"]["metrics"]["test_material"]["angle_error"]["value"]
    assert "Asked beside the space group" in page and f"{value:.3f} [" in page
    assert auxiliary_rows(told)[1][1][0] == "same for all" and len(auxiliary_rows(told)[1]) == 8
    written = result(run.folder)
    (tmp_path / "result.json").write_text(json.dumps({k: v for k, v in written.items() if k != "auxiliary"}))
    assert auxiliary_rows(read_run(tmp_path)) == (["figure"], [])
    (tmp_path / "result.json").write_text(json.dumps(written | {"auxiliary": [1]}))
    with pytest.raises(UserError, match="auxiliary is no mapping"):
        read_run(tmp_path)


def test_the_run_is_evaluated_again_as_any_other(ended, tmp_path):
    _, run, record = ended
    words = ["task=evaluate", f"run={run.folder}", f"output_dir={tmp_path}", "trainer=cpu"]
    config = settled(Composer().check(words), words)
    assert type(config.auxiliary).__name__ == "CellAuxiliaryConfig"
    evaluate(config)
    (again,) = (tmp_path / "evaluate").iterdir()
    assert result(again)["metrics"] == record["metrics"]
    kept = Predictions.load(run.path("predictions_test.npz"))
    np.testing.assert_allclose(Predictions.load(again / "predictions_test.npz").logits, kept.logits, atol=1e-5)
