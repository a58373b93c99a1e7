import pytest
from abtem.core.energy import energy2sigma, energy2wavelength

from sgexp.simulation.physics import interaction, phase_of_form_factor, wavelength


@pytest.mark.parametrize("energy", [60.0, 100.0, 190.0, 300.0])
def test_electrons_are_those_of_abtem(energy):
    assert wavelength(energy) == pytest.approx(energy2wavelength(1e3 * energy), rel=1e-6)
    assert interaction(energy) == pytest.approx(energy2sigma(1e3 * energy), rel=1e-6)


def test_wavelength_at_100_kv_is_the_textbook_value():
    assert wavelength(100.0) == pytest.approx(0.03701, abs=1e-5)  # Kirkland 2010, table 2.1


def test_the_two_ways_to_a_phase_agree():
    # h^2 / (2 pi m0 e) = 47.878 V Å^2, Kirkland 2010, appendix C
    assert phase_of_form_factor(150.0) == pytest.approx(interaction(150.0) * 47.878, rel=1e-4)
