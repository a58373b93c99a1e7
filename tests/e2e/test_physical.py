"""``sampler=physical`` as a person asks for it: new crystals of rare groups, made once, and never of the judged."""

import csv
import os
import signal

import numpy as np
import pytest
import spglib
import torch

from sgexp.composition import Composer
from sgexp.crystallography.population import make_population
from sgexp.data.growing import ROWS, GrowingStore
from sgexp.data.transforms import Transform
from sgexp.sampling.plan import ResamplingPlan
from sgexp.schema import build
from sgexp.simulation.variants import kind
from sgexp.tasks.physical import recipe_of

from ..commands import caught, command, end, only_run, result, start, wait_for
from .test_resume import ends_like, rows_written
from .test_run_folder import arrays

ASKED = ("size=tiny", "sampler=physical", "sampler.balance=sqrt", "trainer.epochs=2", "callbacks.progress=false")
ASKED += ("logger=none", "evaluation.baselines=[]", "size.energies_per_material=2")
EPOCHS = 15  # seconds, of which a kill needs a moment


def table(folder, name="new_crystals.csv"):
    with (folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_new_crystals_are_told_of_and_made_again_from_the_table(tmp_path):
    ended = command(*ASKED, cwd=tmp_path, env={"SGEXP_DATA": str(tmp_path / "data")})
    assert ended.code == 0, ended.err
    assert "new crystals in" in ended.words and "which cost" in ended.words
    one = only_run(tmp_path)

    rows, split = table(one), table(one, "split.csv")
    made = [row for row in split if row["split"] == "made"]
    assert [row["row"] for row in made] == [row["row"] for row in rows] and len(rows) > 5
    trained = {row["material"] for row in split if row["split"] == "train"}
    judged = [row for row in split if row["split"] not in ("train", "made")]
    assert {row["parent"] for row in rows} <= trained
    assert not {row["material"] for row in rows} & {row["material"] for row in judged}
    assert not {row["family"] for row in rows} & {row["family"] for row in judged if row["split"] == "test_family"}
    plan = ResamplingPlan.load(one / "plan.npz")
    assert set(plan.base.tolist()) == {int(row["row"]) for row in split if row["split"] in ("train", "made")}
    assert result(one)["new_crystals"]["rows"] == len(rows)
    counts = {int(row["space_group"]): row for row in table(one, "classes.csv")}
    for group in {int(row["space_group"]) for row in rows}:
        extra = sum(row["space_group"] == str(group) for row in rows)
        assert int(counts[group]["drawn"]) == int(counts[group]["train"]) + extra
    _remake(rows, {row["material"] for row in judged}, tmp_path / "data")


def _remake(rows, judged, data):
    """Every row again from its line alone: the label by spglib, and none that is judged; one's patterns to the bit."""
    crystals = {crystal.name: crystal for crystal in make_population(60, 1)}
    held_out = {kind(crystals[name]) for name in judged}
    for row in rows:
        recipe = recipe_of(row)
        crystal = recipe.crystal(crystals[recipe.parent])
        found = spglib.get_symmetry_dataset((crystal.cell, crystal.positions, crystal.numbers), symprec=0.01)
        assert found.number == int(row["space_group"]) and crystal.name == row["material"]
        assert crystal.name in crystals or kind(crystal) not in held_out
    (found,) = data.glob(f"cache/new_crystals/*/{ROWS}")
    cache = found.parent
    store = GrowingStore(cache, (3, 32, 32))
    config = Composer().check(["size=tiny"]).simulation
    patterns = torch.from_numpy(recipe.stack(crystal, config, build(config.engine)).patterns)
    coded = Transform("log", 0.25, 32, True).encode(patterns[None])[0].to(torch.float16).numpy()
    stored = np.fromfile(cache / "patterns.bin", "<f2").reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(stored[store.facts[f"{row['space_group']}-{row['number']}"]["place"]], coded)


def test_what_cannot_be_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "files").mkdir()
    ended = command("dataset=smc19", f"dataset.root={tmp_path / 'files'}", "sampler=physical", cwd=tmp_path)
    assert ended.code == 2 and "files of patterns do not say where the atoms are" in ended.sentence
    ended = command("dataset=stream", "sampler=physical", cwd=tmp_path)
    assert ended.code == 2 and "choose dataset=crystals, or sampler=none" in ended.sentence
    ended = command("simulation=blind", "sampler=physical", "sampler.rotate=true", cwd=tmp_path)
    assert ended.code == 2 and "leave sampler.rotate out" in ended.sentence


@pytest.mark.slow
def test_killed_while_it_simulates_and_while_it_trains_it_ends_like_an_undisturbed_one(tmp_path):
    words = (*ASKED, f"trainer.epochs={EPOCHS}", "trainer.batch_size=8", "seed=5", "sampler.balance=majority")
    env = {"SGEXP_DATA": "data"}

    def killed_twice(cwd):
        process = start(*words, cwd=cwd, env=env)
        wait_for(lambda: _lines(cwd) >= 3, process)
        os.killpg(process.pid, signal.SIGINT)
        end(process)
        kept, folder = _lines(cwd), only_run(cwd)
        assert kept >= 3
        if (folder / "new_crystals.csv").exists():
            return None
        process = start(f"resume={folder}", cwd=cwd, env=env)
        wait_for(lambda: rows_written(cwd) >= 3, process)
        os.killpg(process.pid, signal.SIGKILL)
        end(process)
        return cwd if _lines(cwd) > kept and rows_written(cwd) < EPOCHS else None

    cwd = caught(killed_twice, tmp_path / "two")
    folder = only_run(cwd)
    again = command(f"resume={folder}", cwd=cwd, env=env)
    assert again.code == 0, again.err
    one = command(*words, cwd=tmp_path / "one", env={"SGEXP_DATA": str(cwd / "data")})
    assert one.code == 0, one.err
    first = only_run(tmp_path / "one")
    assert (first / "new_crystals.csv").read_bytes() == (folder / "new_crystals.csv").read_bytes()  # seconds: cached
    ends_like(folder, first, "new_crystals.csv")


def _lines(cwd):
    found = list(cwd.glob("data/cache/new_crystals/*/rows.jsonl"))
    return len(found[0].read_text().splitlines()) if found else 0


@pytest.mark.slow
def test_two_processes_train_on_the_same_new_crystals_as_one(tmp_path):
    words = (*ASKED, "trainer.batch_size=10", "trainer.accelerator=cpu", "model.norm=group", "seed=7")
    two = command("trainer=ddp", "trainer.devices=2", *words, cwd=tmp_path / "two")
    assert two.code == 0, two.err
    one = command(*words, cwd=tmp_path / "one")
    assert one.code == 0, one.err
    first, second = only_run(tmp_path / "one"), only_run(tmp_path / "two")
    assert (first / "new_crystals.csv").read_bytes() == (second / "new_crystals.csv").read_bytes()
    logits = [arrays(folder / "predictions_test.npz")["logits"] for folder in (first, second)]
    assert np.allclose(*logits, atol=5e-3)
