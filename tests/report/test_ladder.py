"""The picture of a ladder."""

import warnings

import matplotlib.image
import pytest

from sgexp.report.ladder import FIGURES, draw_ladder


def figures(value):
    return {"test_material": {name: {"value": value, "low": value - 0.1, "high": value + 0.1} for name in FIGURES}}


@pytest.mark.parametrize(("logarithmic", "rungs"), [(True, [1e6]), (False, [0.0]), (True, [1e4, 1e6])])
def test_it_is_drawn_without_a_warning_also_of_one_rung(tmp_path, logarithmic, rungs):
    pictures = []
    for value in (0.2, 0.4):
        path = tmp_path / f"{value}.png"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = [figures(value)] * len(rungs)
            draw_ladder("dose", "electrons", logarithmic, rungs, found, figures(0.6), path)
        pictures.append(matplotlib.image.imread(path)[..., :3])
    middle = pictures[0].shape[0] // 2
    assert (pictures[0] != pictures[1])[middle:].any(), "the points are not where the figures are"
