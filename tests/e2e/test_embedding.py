"""sampler=embedding_smote: another run's network says who is whose neighbour, if it has not seen this run's tests."""

import csv

import numpy as np

from ..commands import TINY, command, only_run

QUICK = (*TINY[:1], "trainer.epochs=1", "logger=none", "evaluation.baselines=[]", "sampler=embedding_smote")


def test_neighbours_are_those_of_the_networks_features_and_are_kept(tiny_run, made_data, tmp_path):
    run, _ = tiny_run
    ended = command(*QUICK, f"sampler.run={run}", cwd=tmp_path)
    assert ended.code == 0, ended.err
    folder = only_run(tmp_path)
    assert f"features of {run}/checkpoints/best.ckpt of" in ended.words
    (cached,) = (made_data / "cache" / "embeddings").glob("*.npy")
    features = np.load(cached)
    with (folder / "split.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    assert len(features) == len(rows)
    place = {int(row["row"]): number for number, row in enumerate(rows)}
    with np.load(folder / "plan.npz") as plan:
        mixed = plan["weight"] > 0
        base, partner = (np.array([place[row] for row in plan[name][mixed].tolist()]) for name in ("base", "partner"))
    groups = np.array([int(row["space_group"]) for row in rows])
    for a, b in list(zip(base.tolist(), partner.tolist(), strict=True))[:40]:
        same = np.setdiff1d(np.flatnonzero(groups == groups[a]), [a])
        distance = np.linalg.norm(features[same] - features[a], axis=1)
        assert b in same[np.argsort(distance)[:5]]


def test_a_network_that_was_trained_on_this_runs_tests_is_refused(tiny_run, made_data, tmp_path):
    run, _ = tiny_run
    ended = command(*QUICK, f"sampler.run={run}", "split.seed=5", cwd=tmp_path)
    assert ended.code == 1
    assert "that this run is tested on: its features would leak" in ended.sentence


def test_without_a_network_it_says_what_to_give(made_data, tmp_path):
    ended = command(*QUICK, cwd=tmp_path)
    assert ended.code == 2
    assert "sampler.run has no value: give sampler.run=" in ended.sentence
