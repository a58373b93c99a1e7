"""The picture of a ladder."""

import warnings

import matplotlib.image
import pytest

from sgexp.report.ladder import FIGURES, draw_ladder

FIGURE = {"test_material": {name: {"value": 0.4, "low": 0.3, "high": 0.5} for name in FIGURES}}


@pytest.mark.parametrize(("logarithmic", "rungs"), [(True, [1e6]), (False, [0.0]), (True, [1e4, 1e6])])
def test_it_is_drawn_without_a_warning_also_of_one_rung(tmp_path, logarithmic, rungs):
    path = tmp_path / "ladder.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_ladder("dose", "electrons", logarithmic, rungs, [FIGURE] * len(rungs), FIGURE, path)
    picture = matplotlib.image.imread(path)[..., :3]
    assert (abs(picture - picture.mean(axis=-1, keepdims=True)) > 0.2).any(), "no coloured point"
