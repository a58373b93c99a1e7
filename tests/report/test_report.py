"""The terminal's tables and the run folder's pictures."""

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from sgexp.console import duration
from sgexp.report import pictures, terminal

INTERVAL = {"value": 0.2134, "low": 0.18, "high": 0.25}
RECORD = {
    "metrics": {"test_family": {"top1": INTERVAL, "macro_f1": {"value": None, "low": None, "high": None}}},
    "baselines": {"nearest_neighbour": {"test_family": {"top1": INTERVAL}}},
    "counts": {"test_family": {"samples": 1200, "materials": 300, "families": 80, "classes": 40}},
}


def text_of(renderable, width=100):
    console = Console(width=width, record=True)
    console.print(renderable)
    return console.export_text()


def test_the_table_names_its_figures_their_intervals_and_what_they_are_over():
    text = text_of(terminal.results_table(RECORD))
    for words in ("families never seen", "0.213 [0.18, 0.25]", "nearest neighbour, top-1", "1,200", "macro-F1"):
        assert words in text
    assert "test_material" not in text


def test_a_value_with_brackets_is_shown_and_not_read_as_markup():
    assert "[red]" in text_of(terminal.config_tree({"name": "[red]", "model": {"_target_": "a.b.C", "x": "[bold]"}}))
    assert "[/nonsense]" in text_of(terminal.shortened(["[/nonsense]"])[0])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3.21, "3.2 s"),
        (41, "41 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (90_000, "25 h 00 min"),
        (3e5, "3 days"),
    ],
)
def test_durations_read_as_people_say_them(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(12, "12 B"), (3_400, "3.4 kB"), (34e6, "34 MB"), (463e9, "463 GB")])
def test_sizes_read_as_people_say_them(number, words):
    assert terminal.size(number) == words


def test_class_distribution_draws_every_part_even_an_empty_one(tmp_path):
    counts = {
        name: np.zeros(231, np.int64) for name in ("train", "drawn", "validation", "test_material", "test_family")
    }
    counts["train"][[2, 14, 225]] = [1000, 500, 1]
    counts["drawn"][[2, 14, 225]] = 1000
    pictures.class_distribution(counts, tmp_path / "x.png")
    image = np.asarray(Image.open(tmp_path / "x.png").convert("RGB"))
    for colour in (pictures.COLOURS["train"], pictures.COLOURS["drawn"]):
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(image.astype(int) - rgb).sum(-1) < 12).any()


def test_examples_survive_names_that_look_like_mathematics(tmp_path):
    patterns = np.random.default_rng(0).random((3, 3, 16, 16))
    names = ["$\\frac{", "<script>", "x" * 300]
    pictures.examples(patterns, np.array([1, 2, 3]), np.array([1, 2, 4]), np.full(3, 0.5), names, tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").size[0] > 600
