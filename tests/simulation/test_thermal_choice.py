"""One choice of thermal motion: the same words mean the same in both engines."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from sgexp.__main__ import main
from sgexp.simulation import protocol
from sgexp.simulation.generation import settings_fingerprint
from sgexp.simulation.multislice import Illumination, Multislice
from sgexp.simulation.physics import wavelength
from sgexp.simulation.schema import MultisliceEngine, SimulationConfig, TiltEngine
from sgexp.simulation.tilt import Tilt

from .crystals import strontium_titanate

KEV = 100.0
MEANS = ("none", "debye_waller", "einstein")
CONFIG = SimulationConfig(
    grid=192, box=32.0, pixels=192, probes=16, thickness=40.0, displacement=0.09, aperture_edge=20.0, max_slice=1.0
)
CRYSTAL = strontium_titanate()
OLD = ["4d946bae369c9a63", "4c2f52e0fe83b88c"]  # fingerprints of data made before multislice had this choice
ZONE = protocol.zones(CRYSTAL, CONFIG)[0]


def q():
    index = np.arange(CONFIG.grid) - CONFIG.grid // 2
    return np.hypot(index[:, None], index[None]) / CONFIG.box


def scattered(ours, reference):
    """R1 without the direct disk."""
    seen = (q() > ZONE.semi_angle / wavelength(KEV) + 0.1) & (q() < 1.5)
    return float(np.abs(ours - reference)[seen].sum() / reference[seen].sum())


def log_coded(pattern):
    return np.clip(10.0 * (np.maximum(-17.0, np.log(np.maximum(pattern, 1e-30))) + 17.0), 0.0, 255.0)


@pytest.fixture(scope="module")
def by_multislice():
    return {kind: Multislice(thermal=kind).zone_pattern(CRYSTAL, ZONE, CONFIG, KEV, None).pattern for kind in MEANS}


@pytest.fixture(scope="module")
def by_tilt():
    engine = {"sampling": CONFIG.box / CONFIG.grid, "max_points": 10**6}
    return {kind: Tilt(thermal=kind, **engine).zone_pattern(CRYSTAL, ZONE, CONFIG, KEV, None).pattern for kind in MEANS}


@pytest.mark.parametrize("kind", MEANS)
def test_both_engines_mean_the_same_by_a_word(kind, by_multislice, by_tilt):
    assert scattered(by_tilt[kind], by_multislice[kind]) < 0.05  # 16 probes are not all places
    others = [scattered(by_tilt[other], by_multislice[kind]) for other in MEANS if other != kind]
    assert min(others) > 4 * scattered(by_tilt[kind], by_multislice[kind])
    assert by_tilt[kind].sum() == pytest.approx(by_multislice[kind].sum(), abs=0.01)


def test_what_multislice_absorbs_comes_back_as_background(by_multislice):
    assert by_multislice["debye_waller"].sum() == pytest.approx(1.0, abs=0.01)
    assert 0.95 < by_multislice["einstein"].sum() < by_multislice["debye_waller"].sum()  # some lies beyond the picture
    gaps = (q() > 0.75) & (q() < 1.5)
    gaps &= by_multislice["none"] < np.quantile(by_multislice["none"][gaps], 0.2)
    assert by_multislice["einstein"][gaps].mean() > 10 * by_multislice["debye_waller"][gaps].mean()


def test_a_mean_is_nearer_to_frozen_phonons_than_less_is(by_multislice):
    rng = np.random.default_rng(1)
    frozen = np.mean([Multislice().zone_pattern(CRYSTAL, ZONE, CONFIG, KEV, rng).pattern for _ in range(10)], axis=0)
    seen = q() < 1.5
    away = {kind: np.abs(log_coded(by_multislice[kind]) - log_coded(frozen))[seen].mean() for kind in MEANS}
    assert away["einstein"] < 0.25 * min(away["none"], away["debye_waller"])


def test_still_atoms_are_at_rest_in_every_kind(by_multislice):
    rest = replace(CONFIG, displacement=0.0)
    for kind in ("einstein", "debye_waller", "frozen_phonons"):
        pattern = Multislice(thermal=kind).zone_pattern(CRYSTAL, ZONE, rest, KEV, np.random.default_rng(0)).pattern
        assert np.array_equal(pattern, by_multislice["none"])


def test_means_hold_for_each_element_its_own_displacement(by_multislice):
    own = replace(CONFIG, displacement=0.0, element_displacement={"Sr": 0.09, "Ti": 0.09, "O": 0.09})
    same = Multislice(thermal="einstein").zone_pattern(CRYSTAL, ZONE, own, KEV, None).pattern
    assert same == pytest.approx(by_multislice["einstein"], abs=1e-9)
    other = replace(own, element_displacement={"O": 0.2})
    assert scattered(Multislice(thermal="einstein").zone_pattern(CRYSTAL, ZONE, other, KEV, None).pattern, same) > 0.01


def test_one_configuration_is_what_multislice_did_before():
    beam = Illumination(KEV, ZONE.semi_angle, CONFIG.aperture_edge, protocol.probe_positions(16, (32.0, 32.0)))
    slab = protocol.displaced(protocol.cut_slab(CRYSTAL, ZONE, CONFIG), 0.09, np.random.default_rng(5))
    made = Multislice().zone_pattern(CRYSTAL, ZONE, CONFIG, KEV, np.random.default_rng(5)).pattern
    assert np.array_equal(made, Multislice().pattern(slab, beam, (192, 192)))


def test_the_words_are_the_same_and_old_data_keep_their_names():
    choices = [
        next(field.metadata["choices"] for field in dataclasses.fields(engine) if field.name == "thermal")
        for engine in (MultisliceEngine, TiltEngine)
    ]
    assert choices[0] == choices[1]
    named = [settings_fingerprint([CRYSTAL], CONFIG, engine) for engine in (MultisliceEngine(), TiltEngine(degree=2))]
    assert named == OLD
    assert settings_fingerprint([CRYSTAL], CONFIG, MultisliceEngine(thermal="einstein")) not in named


def test_displaced_atoms_are_refused_on_one_cell(capsys):
    assert main(["simulation.engine.thermal=frozen_phonons"]) == 2
    assert "use simulation.engine.thermal=einstein (their mean), or simulation/engine=multislice" in (
        capsys.readouterr().err
    )
    assert main(["simulation/engine=multislice", "simulation.engine.thermal=absorptive"]) == 2
    assert "frozen_phonons" in capsys.readouterr().err
