"""task=predict: the same answers as in training, sums that add up, bad files refused while others go on."""

import csv
import json
import os
import shutil
import signal

import h5py
import numpy as np
import pytest
import tifffile
import torch
import yaml
from scipy.special import softmax

from sgexp.crystallography.groups import space_group
from sgexp.evaluation.calibration import fit_temperature
from sgexp.evaluation.predictions import Predictions

from ..commands import caught, command, end, result, start, wait_for


def predicted(cwd):
    (folder,) = sorted((cwd / "outputs" / "predict").glob("*"))
    return folder


def table(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_runs_own_crystals_get_the_answers_of_its_test_and_levels_add_up(tiny_run, tiny_files, tmp_path):
    run, _ = tiny_run
    ended = command("task=predict", f"run={run}", f"input={tiny_files}", cwd=tmp_path)
    assert ended.code == 0 and ended.err == ""
    assert "the first 20 of 60" in ended.words and "never validated on measured patterns" in ended.words
    assert "10 of the 230 space groups" in ended.words
    folder = predicted(tmp_path)
    rows = {(row["file"], row["key"]): row for row in table(folder / "predictions.csv")}
    entries = json.loads((folder / "predictions.json").read_text())
    temperature = fit_temperature(Predictions.load(run / "predictions_validation.npz")).value
    assert len(rows) == len(entries["crystals"]) == 60 and entries["temperature"] == pytest.approx(temperature)
    of_key = {row["row"]: (row["path"], row["key"]) for row in table(run / "split.csv")}
    tested = Predictions.load(run / "predictions_test.npz")
    expected = softmax(tested.logits.astype(np.float64) / temperature, axis=1)
    by_place = {(entry["file"], entry["key"]): entry for entry in entries["crystals"]}
    for row, probabilities in zip(tested.row.tolist(), expected, strict=True):
        place = of_key[str(row)]
        order = np.lexsort((tested.classes, -probabilities.round(9)))[:5]
        found = by_place[place]["top"]
        np.testing.assert_allclose([item["probability"] for item in found], probabilities[order], atol=1e-6)
        assert int(rows[place]["group_1"]) == found[0]["group"] and rows[place]["calibrated"] == "true"
        check_levels(by_place[place], dict(zip(tested.classes.tolist(), probabilities.tolist(), strict=True)))
    assert result(folder)["crystals"] == {"named": 60, "refused": 0, "uncalibrated": 0}
    notes = result(folder)["notes"]
    assert entries["notes"] == notes and not any("these" in note for note in notes)  # its own scale is no difference
    assert result(folder)["task"] == "predict" and (folder / "predictions.png").stat().st_size > 10_000


def check_levels(entry, probabilities):
    """Each level is the sum of the groups' probabilities, and the levels nest."""
    groups = {group: space_group(group) for group in probabilities}
    for level in ("point_group", "laue_class", "crystal_system"):
        assert sum(entry[level].values()) == pytest.approx(1, abs=1e-9)
        for name, value in entry[level].items():
            members = [p for group, p in probabilities.items() if getattr(groups[group], level) == name]
            assert value == pytest.approx(sum(members), abs=1e-5)
    for fine, coarse in (("point_group", "laue_class"), ("laue_class", "crystal_system")):
        for name, value in entry[coarse].items():
            inside = {getattr(group, fine) for group in groups.values() if getattr(group, coarse) == name}
            assert value == pytest.approx(sum(entry[fine][member] for member in inside), abs=1e-9)


@pytest.fixture
def mixture(tiny_files, tmp_path):
    """A folder of all kinds of files, good, bad and hostile; and the stack that is in several of them."""
    folder = tmp_path / "mixture"
    folder.mkdir()
    with h5py.File(tiny_files / "batch_train_0.h5") as file:
        stack = file[sorted(file)[0]]["cbed_stack"][()]
    np.save(folder / "stack.npy", stack)
    np.save(folder / "single_$[red].npy", stack[0])
    tifffile.imwrite(folder / "pages.tif", stack, photometric="minisblack")
    np.save(folder / "counts.npy", stack * 1e7)
    np.save(folder / "fine.npy", np.kron(stack, np.ones((2, 2))) / 4)
    np.save(folder / "five.npy", np.concatenate([stack, stack[:2]]))
    np.save(folder / "nan.npy", np.where(stack > 0.01, np.nan, stack))
    np.save(folder / "pickled.npy", np.array([print], dtype=object), allow_pickle=True)
    np.savez(folder / "archive.npz", stack)
    with h5py.File(folder / "links.h5", "w") as file:
        file["good"] = stack
        file["soft"] = h5py.SoftLink("/good")
        file["external"] = h5py.ExternalLink(str(tiny_files / "batch_train_0.h5"), "/")
    (folder / "cut.h5").write_bytes((tiny_files / "batch_train_0.h5").read_bytes()[:5000])
    (folder / "notes.txt").write_text("x")
    return folder


def test_bad_and_hostile_files_are_refused_each_with_its_reason_and_others_go_on(tiny_run, mixture, tmp_path):
    run, _ = tiny_run
    ended = command("task=predict", f"run={run}", f"input={mixture}", "task.folder=answers", cwd=tmp_path)
    folder = tmp_path / "answers"
    assert ended.code == 1 and "6 of 13 crystals could not be named" in ended.sentence
    refused = {row["file"] + row["key"]: row["reason"] for row in table(folder / "refused.csv")}
    expected = {
        "nan.npy": "NaN",
        "pickled.npy": "pickled",
        "archive.npz": "not read",
        "links.h5soft": "link to somewhere else",
        "links.h5external": "link to somewhere else",
        "cut.h5": "cut short",
    }
    assert all(words in refused[name] for name, words in expected.items()), refused
    rows = {row["file"]: row for row in table(folder / "predictions.csv")}
    same = ("pages.tif", "links.h5", "stack.npy")
    assert len({rows[name]["probability_1"] + rows[name]["group_1"] for name in same}) == 1
    assert rows["single_$[red].npy"]["calibrated"] == rows["five.npy"]["calibrated"] == "false"
    assert rows["five.npy"]["patterns"] == "5" and result(folder)["scaled"] == 2  # counts; four times finer
    assert "single_$[red].npy" in ended.words and result(folder)["status"] == "finished"
    again = command("task=predict", f"run={run}", f"input={mixture}", "task.folder=answers", cwd=tmp_path)
    assert again.code == 2 and "nothing is overwritten" in again.sentence


def stacked(run, folder):
    """Copy a run and give it a network of stacked patterns (whatever it answers)."""
    from omegaconf import OmegaConf

    from sgexp.config import check
    from sgexp.schema import build

    shutil.copytree(run, folder)
    values = yaml.safe_load((folder / "config.yaml").read_text())
    values["model"]["patterns"] = "stacked"
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    network = build(check(OmegaConf.create(values)).model, n_classes=len(checkpoint["state_dict"]["classes"]))
    weights = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save(
        {"state_dict": weights | {"classes": checkpoint["state_dict"]["classes"]}}, folder / "checkpoints/best.ckpt"
    )


def test_a_stacked_network_refuses_too_few_patterns_and_sees_too_many_in_subsets(tiny_run, tiny_files, tmp_path):
    stacked(tiny_run[0], tmp_path / "run")
    with h5py.File(tiny_files / "batch_train_0.h5") as file:
        stack = file[sorted(file)[0]]["cbed_stack"][()]
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "two.npy", stack[:2])
    np.save(tmp_path / "in" / "five.npy", np.concatenate([stack, stack[:2]]))
    ended = command("task=predict", f"run={tmp_path / 'run'}", f"input={tmp_path / 'in'}", cwd=tmp_path)
    assert ended.code == 1
    (few,), (many,) = (table(predicted(tmp_path) / f"{name}.csv") for name in ("refused", "predictions"))
    assert few["file"] == "two.npy" and "has 2 pattern(s)" in few["reason"] and "needs 3" in few["reason"]
    assert many["file"] == "five.npy" and many["patterns"] == "5" and many["calibrated"] == "false"


def test_each_crystal_of_another_scale_counts_wherever_it_is_in_the_input(tiny_run, tiny_files, tmp_path):
    with h5py.File(tiny_files / "batch_train_0.h5") as source, h5py.File(tmp_path / "many.h5", "w") as file:
        key = sorted(source)[0]
        for index in range(133):
            name = f"{index:03d}"
            source.copy(key, file, name)
            if index >= 130:  # after what is named at once, and too few for any median
                file[name]["sgexp"].attrs["q_pixel"] = file[name]["sgexp"].attrs["q_pixel"] * 1.5
            if index in (0, 131):
                file[name].attrs["energy_keV"] = 300.0
            if index == 132:
                file[name]["sgexp"].attrs["thickness"] = np.full(3, 500.0)
    ended = command("task=predict", f"run={tiny_run[0]}", f"input={tmp_path / 'many.h5'}", cwd=tmp_path)
    assert ended.code == 0, ended.err
    folder = predicted(tmp_path)
    notes = json.loads((folder / "predictions.json").read_text())["notes"]
    assert notes == result(folder)["notes"] and len(notes) == len(set(notes))
    counted = {note.partition(":")[0]: note for note in notes if "of 133 crystals" in note}
    crystals = {"camera length": 3, "beam energy": 2, "thickness": 1}
    assert {kind: int(note.rpartition("(")[2].split()[0]) for kind, note in counted.items()} == crystals
    assert all(ended.words.count(note) == 1 for note in counted.values())


def test_differences_with_a_number_for_every_crystal_do_not_become_a_note_each(tiny_run, tiny_files, tmp_path):
    with h5py.File(tiny_files / "batch_train_0.h5") as source, h5py.File(tmp_path / "many.h5", "w") as file:
        key = sorted(source)[0]
        for index in range(30):
            source.copy(key, file, str(index))
            file[str(index)]["sgexp"].attrs["thickness"] = np.full(3, 300.0 + 5 * index)
    command("task=predict", f"run={tiny_run[0]}", f"input={tmp_path / 'many.h5'}", cwd=tmp_path)
    thick = [note for note in result(predicted(tmp_path))["notes"] if note.startswith("thickness")]
    assert len(thick) == 6 and "25 other values" in thick[-1] and "(25 of 30 crystals)" in thick[-1]


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_named(tiny_run, tmp_path):
    many = np.random.default_rng(0).random((20_000, 1, 32, 32), dtype=np.float32)
    np.save(tmp_path / "many.npy", many)

    def interrupt(cwd):
        process = start("task=predict", f"run={tiny_run[0]}", f"input={tmp_path / 'many.npy'}", cwd=cwd)
        answers = cwd / "outputs" / "predict"
        wait_for(lambda: any(path.stat().st_size > 20_000 for path in answers.glob("*/predictions.csv")), process)
        os.killpg(process.pid, signal.SIGINT)
        ended = end(process)
        named = len(table(predicted(cwd) / "predictions.csv"))
        return None if named == 20_000 else (predicted(cwd), ended, named)

    folder, ended, named = caught(interrupt, tmp_path)
    assert ended.code == 130 and "predictions.csv" in ended.sentence and "interrupted after" in ended.sentence
    assert 100 <= named < 20_000 and f"{named:,} crystals" in ended.sentence
    entries = json.loads((folder / "predictions.json").read_text())
    assert len(entries["crystals"]) == named
    assert any(
        "camera length (1/Å a pixel)" in note and f"({named:,} of {named:,}" in note for note in entries["notes"]
    )
    assert result(folder)["status"] == "interrupted"
