"""Ladders vary one setting: everything else of a sample stays as it is."""

import numpy as np
import pytest
import torch

from sgexp.composition import Composer
from sgexp.crystallography.library import load_library
from sgexp.schema import build, plain
from sgexp.simulation.ladders import RUNGS, rung
from sgexp.simulation.stack import simulate

TINY = ("size=tiny",)


@pytest.fixture(scope="module")
def crystal():
    return min(load_library(), key=len)


@pytest.mark.parametrize("over", list(RUNGS))
@pytest.mark.parametrize("protocol", ["smc19", "blind"])
def test_a_rung_sets_one_thing_and_is_right(protocol, over):
    config = Composer().check([*TINY, f"simulation={protocol}"]).simulation
    keys = {"thickness": {"thickness"}, "tilt": {"mistilt_mrad"}, "dose": {"detector"}}
    keys["energy"] = {"energies_kev"}
    for value in RUNGS[over]:
        found = rung(config, over, value)
        assert found.contradiction("simulation") is None
        before, after = plain(config), plain(found)
        assert {key for key in before if before[key] != after[key]} <= keys[over]


def patterns(crystal, over, value, protocol="smc19", energy=100.0):
    config = rung(Composer().check([*TINY, f"simulation={protocol}"]).simulation, over, value)
    return simulate(crystal, config, build(config.engine), energy)


def test_a_dose_counts_the_electrons_of_one_and_the_same_pattern(crystal):
    torch.set_num_threads(1)
    config = Composer().check([*TINY, "simulation=smc19"]).simulation
    ideal = simulate(crystal, config, build(config.engine), 100.0).patterns
    few, many = (patterns(crystal, "dose", dose).patterns for dose in (1e3, 1e9))
    counts = few * 1e3
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-2)
    # counts of mean 1e9 x I have deviation sqrt(1e9 x I): below 1e-3 of any pixel with a thousandth of the beam
    bright = ideal > 1e-3
    np.testing.assert_allclose(many[bright], ideal[bright], rtol=0.01)


def test_a_tilt_of_none_is_the_protocol_and_a_larger_one_moves_further_from_it(crystal):
    config = Composer().check([*TINY, "simulation=smc19"]).simulation
    ideal = simulate(crystal, config, build(config.engine), 100.0).patterns
    none, little, much = (patterns(crystal, "tilt", angle).patterns for angle in (0.0, 1.0, 5.0))
    np.testing.assert_array_equal(none, ideal)
    distances = [np.abs(tilted - ideal).sum() for tilted in (little, much)]
    assert 0 < distances[0] < distances[1]


def test_the_foil_of_the_blind_protocol_is_the_same_on_every_rung(crystal):
    thin, thick = (patterns(crystal, "thickness", value, "blind") for value in (50.0, 100.0))
    np.testing.assert_array_equal(thin.uvw, thick.uvw)
    np.testing.assert_array_equal(thin.recorded["rotation_rad"], thick.recorded["rotation_rad"])
    np.testing.assert_array_equal(thin.recorded["mistilt_rad"], thick.recorded["mistilt_rad"])
    assert (thick.thickness > 1.5 * thin.thickness).all()


def test_thick_rungs_have_the_tilts_that_they_ask_for():
    config = Composer().check(["simulation=quick"]).simulation
    assert config.engine.degree == 2
    assert [rung(config, "thickness", value).engine.degree for value in RUNGS["thickness"]] == [2, 2, None, None]
    assert rung(config, "thickness", 400.0).engine.sampling == config.engine.sampling
    assert all(rung(config, "tilt", value).engine == config.engine for value in RUNGS["tilt"])
