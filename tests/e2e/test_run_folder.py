"""A run folder holds exactly what it promises, and its figures can be computed again from its predictions."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import yaml
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, top_k_accuracy_score

from ..commands import TINY, command, only_run, result, runs

FILES = {
    *("config.yaml", "overrides.yaml", "provenance.json", "split.csv", "plan.npz", "classes.csv", "metrics.csv"),
    *("result.json", "predictions_validation.npz", "predictions_test.npz", "set_aside.csv"),
    *(
        "class_distribution.png",
        "examples.png",
        "gallery.npz",
        "run.lock",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt",
    ),
}
PARTS = ("train", "validation", "test_material", "test_family")


def table(path):
    """Return the header and the rows of a csv file."""
    with path.open(newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
    return reader.fieldnames, rows


def arrays(path):
    """Return an npz's arrays; nothing in it may need pickle."""
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def test_the_files_are_those_promised(tiny_run):
    folder, ended = tiny_run
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == FILES
    assert ended.err == ""


def test_config_overrides_and_provenance_say_what_was_run(tiny_run, root):
    folder, _ = tiny_run
    assert yaml.safe_load((folder / "overrides.yaml").read_text()) == list(TINY)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["trainer"]["epochs"] == 2 and config["size"]["materials"] == 60
    assert "${" not in (folder / "config.yaml").read_text()
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["command"][1:] == list(TINY)
    assert provenance["versions"]["torch"] and provenance["python"] and provenance["machine"]["cores"] >= 1
    assert provenance["seeds"] == {"seed": 1, "dataset.seed": 1, "split.seed": 1, "simulation.seed": 1} | {
        "evaluation.seed": config["evaluation"]["seed"]
    }
    if (root / ".git").exists():
        assert len(provenance["git"]["commit"]) == 40


def test_split_csv_has_a_row_a_sample(tiny_run):
    folder, _ = tiny_run
    header, rows = table(folder / "split.csv")
    assert header == ["row", "path", "key", "material", "family", "space_group", "energy_kev", "split"]
    assert [int(row["row"]) for row in rows] == list(range(60))
    assert {row["split"] for row in rows} == set(PARTS)
    assert all(1 <= int(row["space_group"]) <= 230 and 100 <= float(row["energy_kev"]) <= 190 for row in rows)
    assert len({(row["path"], row["key"]) for row in rows}) == 60
    parts_of = {}
    for row in rows:
        parts_of.setdefault(row["material"], set()).add(row["split"])
    assert all(len(parts) == 1 for parts in parts_of.values())
    kept = {row["family"] for row in rows if row["split"] == "test_family"}
    assert not kept & {row["family"] for row in rows if row["split"] != "test_family"}


def test_plan_npz_draws_training_rows_only(tiny_run):
    folder, _ = tiny_run
    plan = arrays(folder / "plan.npz")
    assert set(plan) == {"base", "partner", "weight", "kind", "schema_version"}
    assert plan["base"].dtype == plan["partner"].dtype == np.int64 and plan["weight"].dtype == np.float64
    trained = [int(row["row"]) for row in table(folder / "split.csv")[1] if row["split"] == "train"]
    assert sorted(plan["base"].tolist()) == trained  # sampler=none draws each once
    assert set(plan["partner"].tolist()) <= set(trained)


def test_classes_csv_agrees_with_split_and_plan(tiny_run):
    folder, _ = tiny_run
    header, classes = table(folder / "classes.csv")
    assert header == ["space_group", "families", "materials", "train", "drawn", *PARTS[1:]]
    _, rows = table(folder / "split.csv")
    drawn = Counter(rows[row]["space_group"] for row in arrays(folder / "plan.npz")["base"].tolist())
    assert [line["space_group"] for line in classes] == sorted({row["space_group"] for row in rows}, key=int)
    for line in classes:
        own = [row for row in rows if row["space_group"] == line["space_group"]]
        assert int(line["families"]) == len({row["family"] for row in own})
        assert int(line["materials"]) == len({row["material"] for row in own})
        assert int(line["drawn"]) == drawn[line["space_group"]]
        for part in PARTS:
            assert int(line[part]) == sum(row["split"] == part for row in own)


def test_predictions_cover_the_test_rows_once(tiny_run):
    folder, _ = tiny_run
    _, rows = table(folder / "split.csv")
    for name, parts in (("test", PARTS[2:]), ("validation", PARTS[1:2])):
        found = arrays(folder / f"predictions_{name}.npz")
        assert set(found) == {
            *("row", "key", "material", "family", "energy_kev", "label", "logits", "classes", "schema_version")
        }
        assert sorted(found["row"].tolist()) == [int(row["row"]) for row in rows if row["split"] in parts]
        assert found["logits"].shape == (len(found["row"]), len(found["classes"]))
        assert np.isfinite(found["logits"]).all()
        for column, told in (("key", "key"), ("material", "material"), ("family", "family")):
            assert found[column].tolist() == [rows[row][told] for row in found["row"]]
        assert found["label"].tolist() == [int(rows[row]["space_group"]) for row in found["row"]]


def test_result_json_tells_all(tiny_run):
    folder, _ = tiny_run
    record = result(folder)
    assert record["status"] == "finished" and record["schema_version"] == 1
    assert record["seed"] == 1 and record["set_aside"] == 0 and record["stamps"] == []
    assert len(record["config_hash"]) == 8 and folder.name.endswith(record["config_hash"])
    assert len(record["data_fingerprint"]) == 32
    assert 0 < record["wall_seconds"] < 1200 and 50 < record["peak_memory_mb"] < 4096
    names = {"top1", "top5", "balanced_accuracy", "macro_f1", "crystal_system", "laue_class", "point_group"}
    names |= {"merged_219", "worst10_recall", "ece"}
    assert set(record["metrics"]) == {"validation", "test_material", "test_family"}
    assert set(record["baselines"]) == {"majority", "nearest_neighbour", "radial_linear"}
    for scored in (record["metrics"], *record["baselines"].values()):
        for part, figures in scored.items():
            assert part in PARTS
            for name, figure in figures.items():
                assert set(figure) == {"value", "low", "high"}, (part, name)
    assert all(names <= set(figures) for figures in record["metrics"].values())
    assert set(record["counts"]["test_family"]) >= {"samples", "materials", "families", "classes"}


@pytest.mark.parametrize("part", ["test_material", "test_family", "validation"])
def test_scikit_learn_computes_the_same_figures(tiny_run, part):
    folder, _ = tiny_run
    found = arrays(folder / ("predictions_validation.npz" if part == "validation" else "predictions_test.npz"))
    _, rows = table(folder / "split.csv")
    mine = np.array([rows[row]["split"] == part for row in found["row"]])
    labels, logits, classes = found["label"][mine], found["logits"][mine].astype(np.float64), found["classes"]
    predicted = classes[logits.argmax(1)]
    figures = result(folder)["metrics"][part]
    expected = {
        "top1": accuracy_score(labels, predicted),
        "top5": top_k_accuracy_score(labels, logits, k=5, labels=classes),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "macro_f1": f1_score(labels, predicted, average="macro", labels=np.unique(labels), zero_division=0),
    }
    for name, value in expected.items():
        assert figures[name]["value"] == pytest.approx(value), name
        assert figures[name]["low"] <= value <= figures[name]["high"]


@pytest.mark.slow
def test_the_same_seed_predicts_the_same_and_another_keeps_the_split(tiny_run, tmp_path):
    folder, _ = tiny_run
    for seed in (1, 2):
        assert command(*TINY, f"seed={seed}", cwd=tmp_path).code == 0
    again, other = runs(tmp_path)
    expected = arrays(folder / "predictions_test.npz")
    for name, values in arrays(again / "predictions_test.npz").items():
        assert np.array_equal(values, expected[name]), name
    assert not np.array_equal(arrays(other / "predictions_test.npz")["logits"], expected["logits"])
    for name in ("split.csv", "classes.csv"):
        assert (other / name).read_text() == (again / name).read_text() == (folder / name).read_text()
    same, changed = result(again), result(other)
    assert same["metrics"] == result(folder)["metrics"] and same["config_hash"] == result(folder)["config_hash"]
    assert changed["config_hash"] != same["config_hash"] and changed["split"] == same["split"]


def test_a_leaky_split_is_stamped_on_the_result_and_the_terminal(tmp_path):
    ended = command(*TINY, "split=sample", cwd=tmp_path)
    assert ended.code == 0, ended.err
    record = result(only_run(tmp_path))
    assert any("LEAKY" in stamp for stamp in record["stamps"]) and record["split"]["leaky"]
    assert "LEAKY SPLIT (sample)" in ended.words
