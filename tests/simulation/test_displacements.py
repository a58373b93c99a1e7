"""Displacements of single elements: both engines move them by these, and by nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from sgexp.__main__ import main
from sgexp.composition import Composer
from sgexp.simulation import protocol
from sgexp.simulation.multislice import Multislice
from sgexp.simulation.schema import SimulationConfig
from sgexp.simulation.stack import simulate
from sgexp.simulation.thermal import diffuse_intensity
from sgexp.simulation.tilt import Tilt

from .crystals import strontium_titanate

PLAIN = SimulationConfig(grid=64, box=20.0, pixels=32, thickness=30.0, displacement=0.08)
KEV = 100.0


def patterns(engine, **changes):
    return simulate(strontium_titanate(), replace(PLAIN, **changes), engine, KEV).patterns


def test_atoms_of_a_frozen_configuration_move_as_far_as_their_element():
    config = replace(PLAIN, box=60.0, grid=192, element_displacement={"O": 0.2, "Sr": 0.0})
    crystal = strontium_titanate()
    slab = protocol.cut_slab(crystal, protocol.zones(crystal, config)[0], config)
    rms = protocol.rms_displacements(slab.numbers, crystal, config)
    steps = protocol.displaced(slab, rms, np.random.default_rng(0)).positions - slab.positions
    measured = {number: np.sqrt((steps[slab.numbers == number] ** 2).mean()) for number in (8, 22, 38)}
    assert measured == {8: pytest.approx(0.2, rel=0.03), 22: pytest.approx(0.08, rel=0.05), 38: 0.0}


@pytest.mark.parametrize("make", [Multislice, Tilt])
def test_the_same_number_for_each_element_is_the_number_for_all(make):
    each = {"Sr": 0.08, "Ti": 0.08, "O": 0.08}
    assert np.array_equal(patterns(make(), element_displacement=each), patterns(make()))
    assert np.array_equal(patterns(make(), element_displacement={"Pb": 0.3}), patterns(make()))  # it has no lead
    rest = dict.fromkeys(each, 0.0)
    assert np.array_equal(patterns(make(), element_displacement=rest), patterns(make(), displacement=0.0))
    other = patterns(make(), element_displacement={"O": 0.2})
    assert np.abs(other - patterns(make())).sum() > 1e-3


def test_an_engine_does_not_mix_up_displacements_of_one_crystal():
    engine = Tilt()
    before = patterns(engine)
    patterns(engine, element_displacement={"O": 0.2})
    assert np.array_equal(patterns(engine), before)


def test_diffuse_scattering_comes_from_what_moves():
    """Lead at rest scatters nothing diffusely: the profile is that of oxygen alone."""
    q = np.linspace(0, 4, 50)
    mixed = diffuse_intensity(np.array([82, 8, 8]), q, {82: 0.0, 8: 0.6})
    assert mixed == pytest.approx(diffuse_intensity(np.array([8]), q, {8: 0.6}))


def test_what_was_set_is_stored_with_a_sample():
    extra = simulate(strontium_titanate(), replace(PLAIN, element_displacement={"O": 0.1}), Tilt(), KEV).extra(
        strontium_titanate()
    )
    assert extra["B_O"] == pytest.approx(8 * np.pi**2 * 0.01) and extra["B"] == pytest.approx(8 * np.pi**2 * 0.0064)


def test_mistakes_are_told_in_a_sentence(capsys):
    good = Composer().check(["+simulation.element_displacement={O: 0.1}"])
    assert good.simulation.element_displacement == {"O": 0.1}
    assert main(["+simulation.element_displacement={Ox: 0.1}"]) == 2
    assert "simulation.element_displacement names 'Ox'" in capsys.readouterr().err
    assert main(["+simulation.element_displacement={O: 1.5}"]) == 2
    assert "give 0 to 1 Å" in capsys.readouterr().err
