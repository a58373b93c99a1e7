import gemmi
import numpy as np
import pytest
import torch
from abtem.parametrizations import LobatoParametrization, PengParametrization
from ase.data import chemical_symbols
from scipy.special import j0

from sgexp.errors import DataError
from sgexp.simulation import potential
from sgexp.simulation.physics import phase_of_form_factor
from sgexp.simulation.potential import form_factor, slice_phases, transmission
from sgexp.simulation.protocol import Slab

BOX, GRID = (12.0, 15.0), (40, 32)  # x, y in angstrom; Ny, Nx


def random_slab(atoms=30, slices=5):
    rng = np.random.default_rng(3)
    positions = rng.uniform(0, 1, (atoms, 3)) * [*BOX, 2.0 * slices]
    return Slab(rng.choice([6, 14, 79], atoms), positions, BOX, 2.0, slices)


def direct_sum(slab, energy=120.0):
    """The formula of potential.py as it stands, atom by atom in double precision."""
    (ny, nx), (lx, ly) = GRID, slab.box
    ky, kx = np.fft.fftfreq(ny, ly / ny)[:, None], np.fft.fftfreq(nx, lx / nx)[None]
    k2 = kx**2 + ky**2
    inside = k2 < (min(nx / lx, ny / ly) / 2) ** 2
    result = np.zeros((slab.slices, ny, nx), dtype=complex)
    for number, (x, y, z) in zip(slab.numbers, slab.positions, strict=True):
        f = gemmi.Element(int(number)).c4322
        factor = sum(a * np.exp(-b * k2 / 4) for a, b in zip(f.a, f.b, strict=True))
        result[int(z / slab.slice_thickness)] += inside * factor * np.exp(-2j * np.pi * (kx * x + ky * y))
    return phase_of_form_factor(energy) / (lx * ly) * np.fft.ifft2(result, norm="forward").real


def phases(slab, energy=120.0):
    return torch.cat(list(slice_phases(slab, GRID, energy))).numpy()


def test_phases_are_the_direct_sum_over_atoms():
    slab = random_slab()
    assert phases(slab) == pytest.approx(direct_sum(slab), abs=2e-5)


def test_slices_come_in_order_however_many_at_once(monkeypatch):
    whole = phases(random_slab())
    monkeypatch.setitem(potential._PIXELS_AT_ONCE, "cpu", 1)
    assert phases(random_slab()) == pytest.approx(whole, abs=1e-6)


def test_empty_slices_leave_the_wave_alone():
    slab = random_slab(atoms=1)
    assert (np.abs(phases(slab)).max(axis=(1, 2)) > 0).sum() == 1


def test_atoms_are_placed_between_pixels_exactly():
    slab = random_slab()
    shift = np.array([0.3, -0.7, 0.0]) * [BOX[0] / GRID[1], BOX[1] / GRID[0], 1]
    moved = Slab(slab.numbers, slab.positions + shift, slab.box, slab.slice_thickness, slab.slices)
    ky, kx = np.fft.fftfreq(GRID[0], BOX[1] / GRID[0])[:, None], np.fft.fftfreq(GRID[1], BOX[0] / GRID[1])[None]
    factor = np.exp(-2j * np.pi * (kx * shift[0] + ky * shift[1]))
    expected = np.fft.ifft2(np.fft.fft2(phases(slab)) * factor).real
    assert phases(moved) == pytest.approx(expected, abs=2e-5)


def test_form_factors_follow_the_x_ray_ones_by_the_mott_bethe_relation():
    # f_e = (m0 e^2 / (2 h^2)) / (4 pi eps0) ... = 0.023934 Å^-1 (Z - f_x) / s^2, with s = k / 2 in 1/Å
    for number in (14, 38):
        k = np.array([0.6, 1.0, 2.0])
        x_ray = np.array([gemmi.Element(number).it92.calculate_sf((value / 2) ** 2) for value in k])
        assert form_factor(number, k**2) == pytest.approx(0.023934 * (number - x_ray) / (k / 2) ** 2, rel=0.03)


def test_form_factors_are_those_of_other_tables():
    """Lobato and Van Dyck (2014) and Peng et al. (1996), as abTEM has them, 0.2 to 2.5 1/angstrom, all 98 elements."""
    k_squared = np.linspace(0.2, 2.5, 24) ** 2
    for table in (LobatoParametrization(), PengParametrization()):
        apart = []
        for number in range(1, 99):
            theirs = np.asarray(table.scattering_factor(chemical_symbols[number])(k_squared))
            apart.append(np.abs(form_factor(number, k_squared) / theirs - 1).max())
        assert np.median(apart) < 0.02
        assert np.mean(np.array(apart) < 0.05) > 0.9 and max(apart) < 0.12  # heavy alkali metals differ most


def test_one_atom_has_the_hankel_transform_of_its_form_factor():
    slab = Slab(np.array([14]), np.array([[6.0, 7.5, 1.0]]), BOX, 2.0, 1)
    fine = (400, 320)
    values = next(iter(slice_phases(slab, fine, 100.0)))[0].numpy()
    k = np.linspace(0, 12, 4000)
    radius = 3 * BOX[0] / fine[1]
    radial = 2 * np.pi * np.trapezoid(k * form_factor(14, k**2) * j0(2 * np.pi * k * radius), k)
    # The box repeats; its mean and the tails of the images are nearly constant near the atom, so compare differences.
    further = 2 * np.pi * np.trapezoid(k * form_factor(14, k**2) * j0(2 * np.pi * k * 3 * radius), k)
    step = values[200, 163] - values[200, 169]
    assert step == pytest.approx(phase_of_form_factor(100.0) * (radial - further), rel=0.01)


def test_transmission_only_turns_the_phase():
    gratings = transmission(torch.from_numpy(phases(random_slab())))
    assert gratings.dtype == torch.complex64
    assert gratings.abs().numpy() == pytest.approx(1.0, abs=1e-6)


def test_elements_without_form_factors_are_refused():
    with pytest.raises(DataError, match="element 99 has no electron form factor"):
        form_factor(99, np.zeros(1))
