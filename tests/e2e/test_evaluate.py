"""task=evaluate: the run's own figures to the last digit, other data where they can judge, strangers' runs safely."""

import csv
import shutil

import h5py
import numpy as np
import pytest
import yaml
from scipy.special import softmax

from ..commands import command, result

FAST = ("task=evaluate", "evaluation.baselines=[]")


def evaluated(cwd):
    (folder,) = sorted((cwd / "outputs" / "evaluate").glob("*"))
    return folder


def arrays(path):
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def test_on_its_own_data_it_gives_the_runs_own_figures_exactly(tiny_run, tmp_path):
    run, _ = tiny_run
    ended = command("task=evaluate", f"run={run}", cwd=tmp_path)
    assert ended.code == 0 and ended.err == ""
    folder = evaluated(tmp_path)
    again, before = result(folder), result(run)
    for figures in ("metrics", "counts", "baselines", "stamps", "data_fingerprint"):
        assert again[figures] == before[figures], figures
    assert again["split"] == before["split"] and again["left_out"] is None
    for part in ("validation", "test"):
        new, old = (arrays(at / f"predictions_{part}.npz") for at in (folder, run))
        assert all(np.array_equal(new[name], old[name]) for name in old), part
    assert again["task"] == "evaluate" and again["status"] == "finished"
    assert again["source"]["run"] == str(run) and again["source"]["config_hash"] == before["config_hash"]
    assert again["source"]["checkpoint"] == "best.ckpt"
    temperature = again["temperature"]
    assert temperature["samples"] == before["counts"]["validation"]["samples"]
    assert temperature["before"]["test_family"]["ece"] == pytest.approx(
        before["metrics"]["test_family"]["ece"]["value"]
    )
    assert temperature["after"] != temperature["before"]
    assert (folder / "examples.png").exists() and (folder / "reliability.png").exists()


@pytest.fixture
def other_files(tiny_files, tmp_path):
    """The tiny files with new names for most materials, one group turned into one never trained, another scale."""
    folder = tmp_path / "files"
    folder.mkdir()
    for path in tiny_files.glob("*.h5"):
        shutil.copy(path, folder)
        with h5py.File(folder / path.name, "r+") as file:
            for number, key in enumerate(file):
                attributes, ours = file[key].attrs, file[key]["sgexp"].attrs
                ours["q_pixel"] = 0.5 * ours["q_pixel"]
                if number % 4:
                    attributes["material"] = np.bytes_(attributes["material"] + b"-new")
                if number % 5 == 1:
                    attributes["space_group"] = np.bytes_(b"230")
                    ours["family"] = "a family of another group"
    return folder


def test_other_data_judge_by_crystals_that_it_never_saw_and_groups_that_it_knows(tiny_run, other_files, tmp_path):
    run, _ = tiny_run
    views = ("task.rotations=true", "task.patterns=subsets")
    ended = command(*FAST, *views, f"run={run}", "dataset=smc19", f"dataset.root={other_files}", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "camera length: the network learned pictures 2.56 1/Å wide" in ended.words and "1.28 1/Å wide" in ended.words
    assert "samples of 1 groups are left out, as the network does not know them: 230." in ended.words
    assert "never saw turned patterns" in ended.words
    record = result(evaluated(tmp_path))
    with (run / "split.csv").open(newline="") as stream:
        before = list(csv.DictReader(stream))
    seen = {row["material"] for row in before if row["split"] in ("train", "validation")}
    families = {row["family"] for row in before if row["split"] in ("train", "validation")}
    with (evaluated(tmp_path) / "split.csv").open(newline="") as stream:
        judged = list(csv.DictReader(stream))
    for row in judged:
        if row["material"] in seen or row["space_group"] == "230":
            assert row["split"] == "left_out"
        else:
            assert row["split"] == ("test_material" if row["family"] in families else "test_family")
    assert record["left_out"]["unknown_groups"] == {"230": record["left_out"]["unknown_samples"]}
    assert record["left_out"]["seen_samples"] == sum(row["material"] in seen for row in judged) > 0
    assert record["baselines"] == {} and "other data" in record["stamps"][0]
    assert record["views"] == {"rotations": 4, "patterns": "subsets"}
    assert record["temperature"]["samples"] == 0 and "views" in record["temperature"]["note"]
    saved = arrays(evaluated(tmp_path) / "predictions_test.npz")
    right = (saved["classes"][saved["logits"].argmax(1)] == saved["label"]).sum()
    everyone = len(saved["label"]) + record["left_out"]["unknown_samples"]
    assert record["top1_counting_unknown_groups_wrong"] == pytest.approx(right / everyone)
    np.testing.assert_allclose(softmax(saved["logits"], 1).sum(1), 1, rtol=1e-5)


def test_a_run_from_a_stranger_runs_nothing_and_ends_in_a_sentence(tiny_run, tmp_path):
    run, _ = tiny_run
    stolen = tmp_path / "run"
    shutil.copytree(run, stolen)
    config = yaml.safe_load((stolen / "config.yaml").read_text())
    (stolen / "config.yaml").write_text(yaml.safe_dump(config | {"model": {"_target_": "os.system", "command": "id"}}))
    ended = command(*FAST, f"run={stolen}", cwd=tmp_path)
    assert ended.code == 2 and "os.system" in ended.sentence and str(stolen) in ended.sentence

    (stolen / "config.yaml").write_text(yaml.safe_dump(config))
    whole = (stolen / "checkpoints" / "best.ckpt").read_bytes()
    (stolen / "checkpoints" / "best.ckpt").write_bytes(whole[:1000] + bytes(100) + whole[1100:])
    ended = command(*FAST, f"run={stolen}", cwd=tmp_path)
    assert ended.code == 1 and "best.ckpt" in ended.sentence

    assert not (tmp_path / "outputs" / "evaluate").exists()


def test_a_wrong_question_is_answered_before_anything_is_loaded(tiny_run, tmp_path):
    run, _ = tiny_run
    ended = command("task=evaluate", f"run={run}", "model=resnet18", cwd=tmp_path)
    assert ended.code == 2 and "'model=resnet18' cannot be said beside run=" in ended.sentence
    ended = command("task=evaluate", cwd=tmp_path)
    assert ended.code == 2 and "give run=outputs/train/" in ended.sentence
    assert not (tmp_path / "outputs").exists()


def test_corrections_stand_beside_the_plain_figures_and_are_chosen_on_validation(tiny_run, tmp_path):
    run, _ = tiny_run
    ended = command(*FAST, f"run={run}", "task.posthoc=all", cwd=tmp_path)
    assert ended.code == 0 and ended.err == ""
    assert "logit adjustment tau" in ended.words and "tau normalisation" in ended.words
    folder = evaluated(tmp_path)
    found = result(folder)
    assert found["metrics"] == result(run)["metrics"], "the plain figures stay"
    with (run / "classes.csv").open(newline="") as file:
        drawn = np.array([int(row["drawn"]) for row in csv.DictReader(file)])
    plain = arrays(folder / "predictions_test.npz")
    adjusted = arrays(folder / "predictions_test_logit_adjustment.npz")
    tau = found["posthoc"]["logit_adjustment"]["tau"]
    expected = plain["logits"] - tau * np.log(drawn / drawn.sum())
    np.testing.assert_allclose(adjusted["logits"], expected, rtol=1e-5, atol=1e-5)
    for name in ("logit_adjustment", "tau_normalisation"):
        said = found["posthoc"][name]
        assert said["chosen_on"] == "validation" and said["samples"] == found["counts"]["validation"]["samples"]
        assert said["validation"]["corrected"] == max(said["curve"].values()) == said["curve"][str(said["tau"])]
        assert set(said["metrics"]) == {"test_material", "test_family"}


def test_a_last_layer_cannot_be_normalised_behind_averaged_views(tiny_run, tmp_path):
    ended = command(*FAST, f"run={tiny_run[0]}", "task.posthoc=all", "task.rotations=true", cwd=tmp_path)
    assert ended.code == 2 and "choose task.posthoc=logit_adjustment" in ended.sentence
