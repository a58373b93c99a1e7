"""Pages, tables and figures: what they say, that text stays text, and that broken files cost a note and no more."""

import csv
import html
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from sgexp.errors import ConfigError, DataError
from sgexp.evaluation.predictions import Predictions
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.npz import save_npz
from sgexp.report import exports, figures
from sgexp.report.charts import charts
from sgexp.report.collect import collect, find_folders, read_run
from sgexp.report.details import INPUTS, read_details
from sgexp.report.gallery import Gallery, as_bytes, choose_judged, choose_mixed
from sgexp.report.leaderboard import leaderboard
from sgexp.report.rendering import asset, inputs_of, refuse_foreign
from sgexp.report.run_page import confusion_data, judged_stacks, run_page
from sgexp.report.updates import inputs_digest
from sgexp.report.writing import Report
from sgexp.sampling.plan import ResamplingPlan

from .folders import HOSTILE, HOSTILE_END, change, folders, other_run, record

CONFIG = EvaluationConfig(resamples=100)


@pytest.fixture(scope="module")
def outputs(tiny_run, tmp_path_factory):
    return folders(tiny_run[0], tmp_path_factory.mktemp("pages") / "outputs")


@pytest.fixture(scope="module")
def report(outputs):
    found = collect(find_folders(None, outputs, outputs / "report"))
    return Report(outputs / "report", outputs, found, leaderboard(found.runs), CONFIG, [])


@pytest.fixture(scope="module")
def index(report):
    report.write_tables()
    return (report.folder / "index.html").read_text()


def test_text_from_files_stays_text_in_html(index):
    assert HOSTILE not in index and HOSTILE_END not in index
    assert html.escape(HOSTILE, quote=True).replace("&#x27;", "&#39;") in index
    assert index.count("<script>") == 1, "the page's own"


def test_text_from_files_stays_text_in_the_json_of_a_script(outputs):
    page = run_page(read_details(read_run(outputs / "train" / "hostile"), CONFIG), "x", "p.js")
    assert HOSTILE not in page and HOSTILE_END not in page
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(data)["name"] == HOSTILE and "<" not in data


def test_every_folder_that_is_left_out_is_named(index):
    for name in ("cut", "list", "no_figures", "foreign"):
        assert f"train/{name}<" in index


def test_runs_on_other_test_sets_stand_in_a_table_of_their_own_and_stamps_above_it(index):
    assert index.count('<table class="board"') == 2
    assert "judged on 2 different test sets" in index
    leaky = index[index.index('id="set-B"') :]
    assert "LEAKY SPLIT (sample): do not believe these scores" in leaky.partition("<table")[0]


def test_a_thousand_runs_make_a_page_under_twenty_megabytes(tiny_run, tmp_path):
    source = other_run(tiny_run[0], tmp_path / "outputs" / "run-0", 0)
    told = record(source)
    for number in range(1000):
        folder = tmp_path / "outputs" / f"run-{number}"
        folder.mkdir(exist_ok=True)
        config = told["config"] | {"seed": number % 5, "optimizer": told["config"]["optimizer"] | {"lr": number // 5}}
        text = json.dumps(told | {"seed": number % 5, "config": config, "config_hash": f"{number:08x}"})
        (folder / "result.json").write_text(text)
    found = collect(find_folders(None, tmp_path / "outputs", tmp_path / "report"))
    assert len(found.runs) == 1000
    made = Report(tmp_path / "report", tmp_path, found, leaderboard(found.runs), CONFIG, [])
    made.write_tables()
    assert (tmp_path / "report" / "index.html").stat().st_size < 20_000_000
    assert len(made.sets[0].experiments) == 200
    assert len((tmp_path / "report" / "leaderboard.csv").read_text().splitlines()) == 1001


def test_the_leaderboard_reads_no_file_but_result_json(tiny_run, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    shutil.copy(tiny_run[0] / "result.json", folder)
    (item,) = leaderboard(collect([folder]).runs)
    assert item.rows[0].cell("test_family", "top1").value == record(folder)["metrics"]["test_family"]["top1"]["value"]


def test_csv_holds_every_figure_with_its_interval_and_no_formula(report, outputs):
    change(outputs / "train" / "none-1", name="=cmd()")
    found = collect([outputs / "train" / "none-1"])
    change(outputs / "train" / "none-1", name="none")
    (line,) = csv.DictReader(io.StringIO(exports.csv_text(leaderboard(found.runs))))
    figure = record(outputs / "train" / "none-1")["metrics"]["test_family"]["macro_f1"]
    for end, key in (("value", ""), ("low", ".low"), ("high", ".high")):
        assert float(line[f"test_family.macro_f1{key}"]) == pytest.approx(figure[end], rel=1e-5)
    assert line["name"] == "'=cmd()"
    lines = list(csv.DictReader(io.StringIO(exports.csv_text(report.sets))))
    assert len(lines) == 8 and {line["test_set"] for line in lines} == {"A", "B"}


def test_markdown_has_a_row_an_experiment_and_escapes_what_would_be_markup(report):
    text = exports.markdown_text(report.sets)
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| run")]
    baselines = sum(len(item.baselines) for item in report.sets)
    assert baselines and len(rows) == 4 + 1 + baselines  # experiments of A and of B
    assert HOSTILE not in text and "LEAKY SPLIT" in text
    assert len({row.count(" | ") for row in rows}) == 1


def test_a_page_is_made_again_only_when_its_run_has_changed(tiny_run, tmp_path):
    folder = other_run(tiny_run[0], tmp_path / "outputs" / "run", 0)
    found = collect([folder])
    made = Report(tmp_path / "report", tmp_path, found, leaderboard(found.runs), CONFIG, [])
    waiting = made.out_of_date(None)
    assert len(waiting) == 1 and made.out_of_date(0) == []
    made.write_pages(waiting)
    assert made.out_of_date(None) == []
    assert inputs_of(made.page(found.runs[0])) == inputs_digest(found.runs[0], CONFIG)
    (folder / "metrics.csv").write_text((folder / "metrics.csv").read_text() + "\n")
    assert len(made.out_of_date(None)) == 1


def test_a_page_that_cannot_be_made_is_listed_with_the_reason_and_the_others_are_made(tiny_run, tmp_path):
    found = collect([other_run(tiny_run[0], tmp_path / "outputs" / name, 0) for name in ("broken", "good")])
    made = Report(tmp_path / "report", tmp_path, found, leaderboard(found.runs), CONFIG, [])
    broken, good = (made.page(run) for run in found.runs)
    (broken / "in the way").mkdir(parents=True)
    made.write_pages(made.out_of_date(None))
    assert inputs_of(good) is not None
    ((path, reason),) = made.not_made
    assert path == found.runs[0].folder and "Is a directory" in reason and "\n" not in reason
    made.write_tables()
    assert "its page was not made: " in (tmp_path / "report" / "index.html").read_text()


def test_a_page_of_somebody_else_is_not_written_over(tmp_path):
    (tmp_path / "index.html").write_text("<h1>mine</h1>")
    with pytest.raises(ConfigError, match="did not write"):
        refuse_foreign(tmp_path)


@pytest.mark.parametrize("file", [name for name in INPUTS if name != "result.json"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"row,split\n1,train\n,\n", None])
def test_a_broken_file_costs_a_note_and_no_more(outputs, tmp_path, file, content):
    folder = tmp_path / "run"
    shutil.copytree(outputs / "train" / "smote-1", folder)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    details = read_details(read_run(folder), CONFIG)
    page = run_page(details, "x", "p.js")
    assert file in [name for name, _ in details.missing]
    assert "</html>" in page and all("/" not in reason for _, reason in details.missing)


@pytest.mark.parametrize(
    "wrong",
    [
        {"patterns": np.zeros((2, 3, 0, 0), np.uint8)},
        {"patterns": np.zeros((2, 3, 5000, 2), np.uint8)},
        {"patterns": np.zeros((2, 3, 8, 8))},
        {"row": np.arange(3)},
        {"row": np.array(5)},
        {"weight": np.full(2, np.nan)},
        {"base": np.zeros((2, 3), np.uint8)},
        {"space_group": np.array(["a", "b"])},
    ],
)
def test_a_gallery_that_is_none_is_refused(wrong, tmp_path):
    stacks, names = np.zeros((2, 3, 8, 8), np.uint8), np.array(["a", "b"])
    arrays = {name: stacks for name in ("patterns", "base", "partner")} | {"weight": np.zeros(2)}
    arrays |= {name: np.arange(2) for name in ("row", "space_group", "base_row", "partner_row")}
    arrays |= {name: names for name in ("formula", "base_formula", "partner_formula")}
    np.savez(tmp_path / "good.npz", **arrays, schema_version=1)
    assert len(Gallery.load(tmp_path / "good.npz").row) == 2
    np.savez(tmp_path / "wrong.npz", **arrays | wrong, schema_version=1)
    with pytest.raises(DataError, match="holds no gallery"):
        Gallery.load(tmp_path / "wrong.npz")


def test_predictions_of_groups_that_do_not_exist_are_not_shown(outputs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(outputs / "train" / "smote-1", folder)
    found = Predictions.load(folder / "predictions_test.npz")
    save_npz(folder / "predictions_test.npz", 1, **{**vars(found), "classes": found.classes + 500})
    details = read_details(read_run(folder), CONFIG)
    assert set(details.parts) == {"validation"} and "go from 1 to 230" in details.missing[0][1]


def test_every_chart_has_its_numbers_as_a_table_and_intervals(outputs):
    details = read_details(read_run(outputs / "train" / "smote-1"), CONFIG)
    made = {chart.key: chart for chart in charts(details)}
    assert set(made) == {"loss", "scores", "recall", "kinship", "reliability", "risk", "classes"}
    for chart in made.values():
        assert chart.rows and all(len(row) == len(chart.columns) for row in chart.rows), chart.key
        json.dumps(chart.data, allow_nan=False)
    assert all("[" in row[-1] for key in ("recall", "reliability", "risk") for row in made[key].rows)


def test_the_confusion_of_the_page_counts_every_sample_once(outputs):
    details = read_details(read_run(outputs / "train" / "smote-1"), CONFIG)
    data = confusion_data(details)
    for part, told in data["parts"].items():
        n = len(details.parts[part].predictions)
        assert sum(count for *_, count in told["pairs"]) == n
        assert all(sum(samples for *_, samples, _ in level.values()) == n for level in told["recall"])


def test_a_gallery_shows_what_the_predictions_say(outputs):
    details = read_details(read_run(outputs / "train" / "none-1"), CONFIG)
    shown = {title: items for title, items in judged_stacks(details)}
    for title, items in shown.items():
        for item in items:
            assert item["right"] == title.endswith("named right") == (item["truth"] == item["answer"])
            assert item["top"][0][0] == item["answer"] and len(item["top"]) == 5
            assert item["image"].startswith("data:image/png;base64,")
    judged = sum(len(items) for items in shown.values())
    assert judged == len(details.gallery.row)


def test_without_a_gallery_the_page_says_that_patterns_are_not_at_hand(outputs, tmp_path):
    shutil.copytree(outputs / "train" / "smote-1", tmp_path / "run", ignore=shutil.ignore_patterns("gallery.npz"))
    page = run_page(read_details(read_run(tmp_path / "run"), CONFIG), "x", "p.js")
    assert page.count("Patterns not at hand") == 2


def test_a_kept_mixture_is_the_mixture_that_was_drawn_to_a_grey_level(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.random((6, 3, 8, 8), dtype=np.float32)
    plan = ResamplingPlan(np.array([0, 1, 2, 3]), np.array([1, 0, 2, 5]), np.array([0.25, 0.5, 0, -0.4]))
    groups = np.array([14, 14, 2, 62, 62, 62])
    draws = choose_mixed(plan, groups, seed=0)
    assert set(draws) == {0, 1, 3}
    base, partner = plan.base[draws], plan.partner[draws]
    names = np.array(["a"] * len(draws))
    gallery = Gallery(
        **{"row": np.arange(2), "patterns": as_bytes(x[:2]), "formula": names[:2], "weight": plan.weight[draws]},
        **{"base": as_bytes(x[base]), "partner": as_bytes(x[partner]), "space_group": groups[base]},
        **{"base_row": base, "partner_row": partner, "base_formula": names, "partner_formula": names},
    )
    drawn = plan.mix(x)[draws].clip(0, 1)
    assert np.abs(gallery.mixed / 255 - drawn).max() < 2 / 255
    gallery.save(tmp_path / "gallery.npz")
    again = Gallery.load(tmp_path / "gallery.npz")
    assert np.array_equal(again.base, gallery.base) and np.array_equal(again.row, gallery.row)


def test_the_gallery_is_drawn_blindly_and_at_most_so_many_of_each(outputs):
    found = Predictions.load(outputs / "train" / "none-1" / "predictions_test.npz")
    chosen = choose_judged(found, seed=0, most=3)
    right = (found.predicted == found.label)[chosen]
    assert right.sum() <= 3 and (~right).sum() <= 3 and len(np.unique(chosen)) == len(chosen)


def test_figures_for_papers_come_as_png_and_svg_with_text_as_text(report):
    assert set(figures.write(report, "best")) == {
        f"{name}-{letter}.{form}" for name in ("leaderboard", "best") for letter in "AB" for form in ("png", "svg")
    }
    assert Image.open(report.folder / "figures" / "best-A.png").size[0] > 1000
    svg = (report.folder / "figures" / "leaderboard-A.svg").read_text()
    assert "macro-F1, test_family" in svg and HOSTILE not in svg
    before = (report.folder / "figures" / "best-A.svg").stat().st_mtime_ns
    figures.write(report, "best")
    assert (report.folder / "figures" / "best-A.svg").stat().st_mtime_ns == before


def luminance(colour):
    """Relative luminance of ``#rrggbb``, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["dashboard.css", "dark.css"])
def test_text_stands_out_from_its_paper(theme):
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", asset(theme).partition("/*DARK*/")[0]))
    pairs = [(ink, paper) for ink in ("ink", "muted", "accent", "good", "warn") for paper in ("paper", "raised")]
    for ink, paper in [*pairs, ("warn", "warn-paper")]:
        bright, dark = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)


@pytest.mark.parametrize(
    ("name", "damage"),
    [("row", lambda array: array[:, None]), ("weight", lambda array: array[:, None]), ("base", lambda a: a[..., :-1])],
)
def test_a_gallery_whose_arrays_do_not_fit_is_left_out(name, damage, outputs, tmp_path):
    arrays = vars(Gallery.load(outputs / "train" / "smote-1" / "gallery.npz"))
    save_npz(tmp_path / "gallery.npz", 1, **{**arrays, name: damage(arrays[name])})
    with pytest.raises(DataError, match="holds no gallery"):
        Gallery.load(tmp_path / "gallery.npz")
