"""Fast electrons: wavelength and interaction, relativistically correct (CODATA constants of scipy).

Equation numbers are those of E. J. Kirkland, *Advanced Computing in Electron Microscopy*, 2nd ed. (Springer, 2010).
"""

from __future__ import annotations

import math

from scipy import constants

_REST_ENERGY_EV = constants.electron_mass * constants.c**2 / constants.e  # 510,998.95 eV


def wavelength(energy_kev: float) -> float:
    """Return the wavelength in Å of electrons accelerated by ``energy_kev`` kilovolts (Kirkland eq. 2.5)."""
    energy_ev = 1e3 * energy_kev
    hc_ev_angstrom = constants.h * constants.c / constants.e * 1e10
    return hc_ev_angstrom / math.sqrt(energy_ev * (2.0 * _REST_ENERGY_EV + energy_ev))


def mass_ratio(energy_kev: float) -> float:
    """Return the relativistic mass over the rest mass, gamma = 1 + eV / (m0 c^2) (Kirkland eq. 2.4)."""
    return 1.0 + 1e3 * energy_kev / _REST_ENERGY_EV


def interaction(energy_kev: float) -> float:
    """Return sigma = 2 pi m e lambda / h^2, the phase in rad for each V Å of projected potential (Kirkland eq. 5.6)."""
    si = 2.0 * math.pi * mass_ratio(energy_kev) * constants.electron_mass * constants.e / constants.h**2
    return si * wavelength(energy_kev) * 1e-20  # 1/(V m^2) x Å -> 1/(V Å)


def phase_of_form_factor(energy_kev: float) -> float:
    """Return gamma lambda, in Å: the phase that a form factor of 1 Å spread over 1 Å^2 gives, in rad.

    The projected potential of an atom is h^2 / (2 pi m0 e) times the two-dimensional Fourier transform of its electron
    form factor (Kirkland eq. 5.9); times ``interaction`` every constant but gamma lambda cancels.
    """
    return mass_ratio(energy_kev) * wavelength(energy_kev)
