"""Calibration is read from the files, and differences that matter are named with both numbers."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from sgexp.data.calibration import Calibration, calibration_of, differences
from sgexp.data.catalog import build_catalog
from sgexp.data.formats.smc19 import Writer
from sgexp.runs import finite

from .makers import attributes, patterns, write_samples

LEARNED = Calibration(2.56, 1.2, 99.0, 100.0, 190.0, 2e-4)


def test_it_is_what_the_files_say(tmp_path):
    with Writer(tmp_path / "in" / "batch_train_0.h5") as writer:
        for n, energy in enumerate((100, 190, 120)):
            extra = {"q_pixel": 0.05, "q_max": 0.35, "thickness": np.array([98.0, 99.0, 100.0])}
            writer.add(f"sample_{n}_0", patterns(n), attributes(material=f"m{n}", energy_keV=energy), extra)
    found = calibration_of(build_catalog(tmp_path / "in", tmp_path / "cache", progress=False))
    means = [float(patterns(n).mean()) for n in range(3)]
    expected = Calibration(0.05 * 16, 0.35, 99.0, 100.0, 190.0, float(np.median(means)), 99.0, 99.0)
    for name, value in expected.as_dict().items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6), name


def test_what_files_do_not_say_is_unknown_and_survives_the_record(tmp_path):
    write_samples(tmp_path / "in" / "batch_train_0.h5", 4, ours=False)
    found = calibration_of(build_catalog(tmp_path / "in", tmp_path / "cache", progress=False))
    assert math.isnan(found.q_width) and math.isnan(found.thickness) and found.energy_low == 100.0
    back = Calibration.read(json.loads(json.dumps(finite(found.as_dict()))))
    assert math.isnan(back.q_width) and back.energy_high == found.energy_high


@pytest.mark.parametrize("record", [None, 3, [], {"q_width": "wide", "q_max": True, "thickness": 1e99}])
def test_a_record_from_a_stranger_is_read_as_unknown(record):
    assert all(math.isnan(value) for value in Calibration.read(record).as_dict().values())


def test_equal_and_nearly_equal_patterns_differ_in_nothing():
    assert differences(LEARNED, LEARNED, 64, True) == []
    near = replace(LEARNED, q_width=2.6, q_max=1.18, thickness=97.0, mean_intensity=3e-4, energy_low=120.0)
    assert differences(LEARNED, near, 64, True) == []
    many = replace(LEARNED, thickness_low=50.0, thickness_high=1500.0)  # as the blind protocol has
    assert differences(many, replace(LEARNED, thickness=400.0), 64, True) == []
    assert len(differences(many, replace(LEARNED, thickness=2000.0), 64, True)) == 1
    assert differences(LEARNED, Calibration(), 64, True) == differences(Calibration(), LEARNED, 64, True) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"q_width": 2.0}, ("camera length", "2.56 1/Å wide", "0.04 1/Å", "2 1/Å")),
        ({"q_max": 0.6}, ("q_max", "1.2", "0.6")),
        ({"thickness": 300.0}, ("thickness", "99", "300")),
        ({"energy_low": 300.0, "energy_high": 300.0}, ("beam energy", "100 to 190 keV", "300 keV")),
        ({"energy_low": 60.0}, ("beam energy", "60 to 190 keV")),
        ({"mean_intensity": 1e3}, ("intensity", "1e+03", "0.0002")),
    ],
)
def test_each_difference_is_named_with_both_numbers(change, words):
    (said,) = differences(LEARNED, replace(LEARNED, **change), 64, True)
    assert all(word in said for word in words), said


def test_exposure_is_nothing_to_a_code_that_is_relative():
    assert differences(LEARNED, replace(LEARNED, mean_intensity=1e3), 64, exposure_matters=False) == []
