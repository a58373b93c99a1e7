"""Small supercells and abTEM's patterns of them, with our form factors: the judge of our engine."""

from __future__ import annotations

from dataclasses import dataclass

import abtem
import numpy as np
from abtem.parametrizations import Parametrization
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.data import atomic_numbers
from ase.spacegroup import crystal as spacegroup_crystal

from sgexp.crystallography.crystal import Crystal
from sgexp.simulation.multislice import Illumination, Multislice
from sgexp.simulation.physics import wavelength
from sgexp.simulation.potential import form_factor
from sgexp.simulation.protocol import Slab, atoms_in_box

from .crystals import triclinic

abtem.config.set({"diagnostics.progress_bar": False, "precision": "float32", "dask.lazy": False})
PREFACTOR = 47.87801  # h^2 / (2 pi m0 e), V Å^2: from a form factor in Å to a projected potential in V Å
ENERGY, SEMI_ANGLE = 100.0, 3.0e-3


class OurFormFactors(Parametrization):
    """abTEM's door for form factors: ``projected_scattering_factor`` takes k squared and returns V Å^3."""

    def __init__(self) -> None:
        super().__init__(parameters={}, sigmas=None)

    def scaled_parameters(self, symbol: str, name: str) -> np.ndarray:
        raise NotImplementedError

    def projected_scattering_factor(self, symbol: str, charge: float = 0.0):
        return lambda k_squared: PREFACTOR * form_factor(atomic_numbers[symbol], np.asarray(k_squared))


@dataclass(frozen=True)
class Supercell:
    """A block of repeated cells, cut into slices."""

    atoms: Atoms
    repeats: tuple[int, int, int]
    slices: int

    @property
    def lengths(self) -> tuple[float, float, float]:
        return tuple(self.atoms.cell.lengths().tolist())


def supercell(name: str) -> Supercell:
    cell, repeats, slices = CRYSTALS[name]
    return repeated(cell(), repeats, slices)


def repeated(atoms: Atoms, repeats: tuple[int, int, int], slices: int) -> Supercell:
    """Repeat a cell, raised by 0.1 Å so that no atom lies on a slice's face; ``slices`` a repeat along the beam."""
    block = atoms.repeat(repeats)
    block.positions[:, 2] += 0.1
    block.wrap()
    return Supercell(block, repeats, slices * repeats[2])


def silicon_110() -> Atoms:
    return _zincblende_110("Si", 5.431)


def gallium_arsenide_110() -> Atoms:
    return _zincblende_110("GaAs", 5.653)


def _zincblende_110(formula: str, a: float) -> Atoms:
    cell = bulk(formula, "diamond" if formula == "Si" else "zincblende", a=a, cubic=True)
    oriented = make_supercell(cell, [[0, 0, 1], [1, -1, 0], [1, 1, 0]])  # z along [110]; twice the repeat
    return _upright(oriented)


def strontium_titanate_001() -> Atoms:
    x = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Atoms("SrTiO3", scaled_positions=x, cell=[3.905] * 3, pbc=True)


QUARTZ = {"Si": [[0.4697, 0, 0]], "O": [[0.4135, 0.2669, 0.1191]]}


def quartz_001(left: bool = False) -> Atoms:
    """Quartz in P3_1 21, or its mirror image, as an orthogonal cell of 18 atoms.

    The mirror y -> -y leaves the projection along c as it is: its twofold axes along a are mirror lines there.
    """
    atoms = spacegroup_crystal(
        list(QUARTZ),
        [QUARTZ["Si"][0], QUARTZ["O"][0]],
        spacegroup=152,
        cellpar=[4.9137, 4.9137, 5.4047, 90, 90, 120],
    )
    atoms = _upright(make_supercell(atoms, [[1, 0, 0], [1, 2, 0], [0, 0, 1]]))
    if left:
        atoms.positions[:, 1] = -atoms.positions[:, 1]
        atoms.wrap()
    return atoms


def magnesium_001() -> Atoms:
    return _upright(make_supercell(bulk("Mg", "hcp", a=3.2094, c=5.2105), [[1, 0, 0], [1, 2, 0], [0, 0, 1]]))


def rock_salt_001() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.640, cubic=True)


def copper_001() -> Atoms:
    return bulk("Cu", "fcc", a=3.615, cubic=True)


def rutile_001() -> Atoms:
    cell = [4.594, 4.594, 2.959, 90, 90, 90]
    return spacegroup_crystal(["Ti", "O"], [[0, 0, 0], [0.3049, 0.3049, 0]], spacegroup=136, cellpar=cell)


def barium_titanate_001() -> Atoms:
    """P4mm: the polar axis lies along the beam."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.512], [0.5, 0.5, 0.023], [0.5, 0, 0.486]]
    cell = [3.998, 3.998, 4.018, 90, 90, 90]
    return spacegroup_crystal(["Ba", "Ti", "O", "O"], sites, spacegroup=99, cellpar=cell)


def wurtzite_001() -> Atoms:
    return _upright(make_supercell(bulk("ZnS", "wurtzite", a=3.823, c=6.261), [[1, 0, 0], [1, 2, 0], [0, 0, 1]]))


def baddeleyite() -> Atoms:
    """Monoclinic ZrO2 (P2_1/c, 14), seen along [101]: no period across the beam."""
    sites = [[0.2754, 0.0395, 0.2083], [0.0700, 0.3317, 0.3447], [0.4496, 0.7569, 0.4792]]
    cell = [5.1505, 5.2116, 5.3173, 90, 99.23, 90]
    atoms = spacegroup_crystal(["Zr", "O", "O"], sites, spacegroup=14, cellpar=cell)
    return block(Crystal.from_arrays(np.array(atoms.cell), atoms.numbers, atoms.get_scaled_positions(), name="ZrO2"))


def triclinic_101() -> Atoms:
    """A triclinic crystal (P1) along [101]."""
    return block(triclinic())


def block(crystal: Crystal, size: tuple[float, float, float] = (14.4, 15.0, 45.0)) -> Atoms:
    """Return the atoms inside a box with z along [101], where the crystal has no orthogonal cell."""
    z = crystal.cell[0] + crystal.cell[2]
    z = z / np.linalg.norm(z)
    x = np.cross(crystal.cell[1], z)
    x /= np.linalg.norm(x)
    numbers, positions = atoms_in_box(crystal, np.stack([x, np.cross(z, x), z]), np.array(size))
    return Atoms(numbers, positions=positions, cell=size, pbc=True)


def _upright(atoms: Atoms) -> Atoms:
    """Turn an orthogonal cell onto the Cartesian axes."""
    lengths = atoms.cell.lengths()
    assert np.allclose(atoms.cell.angles(), 90)
    return Atoms(atoms.numbers, scaled_positions=atoms.get_scaled_positions(), cell=lengths, pbc=True)


#   name: (cell, repeats, slices a repeat along the beam)
CRYSTALS = {
    "Si [110]": (silicon_110, (2, 2, 6), 4),
    "GaAs [110]": (gallium_arsenide_110, (2, 2, 6), 4),
    "SrTiO3 [001]": (strontium_titanate_001, (3, 3, 12), 2),
    "quartz [001]": (quartz_001, (2, 1, 9), 6),
    "Mg [001]": (magnesium_001, (3, 2, 9), 4),
    "NaCl [001]": (rock_salt_001, (2, 2, 8), 4),
    "Cu [001]": (copper_001, (3, 3, 13), 4),
    "TiO2 [001]": (rutile_001, (3, 3, 16), 2),
    "BaTiO3 [001]": (barium_titanate_001, (3, 3, 12), 4),
    "ZnS [001]": (wurtzite_001, (3, 2, 8), 8),
    "monoclinic ZrO2 [101]": (baddeleyite, (1, 1, 1), 36),
    "triclinic [101]": (triclinic_101, (1, 1, 1), 36),
}


def slab_of(cell: Supercell) -> Slab:
    lx, ly, lz = cell.lengths
    return Slab(
        cell.atoms.numbers.astype(np.int64), cell.atoms.positions.copy(), (lx, ly), lz / cell.slices, cell.slices
    )


def grid_of(cell: Supercell, sampling: float) -> tuple[int, int]:
    """Return even (Ny, Nx) at or below the sampling in Å a pixel, a whole number of pixels for each repeated cell.

    Otherwise abTEM's spreading over pixels would differ from cell to cell and put intensity between the disks.
    """
    nx, ny = (
        2 * n * int(np.ceil(length / sampling / 2 / n))
        for length, n in zip(cell.lengths[:2], cell.repeats[:2], strict=True)
    )
    return ny, nx


def our_pattern(cell: Supercell, sampling: float) -> np.ndarray:
    lx, ly, _ = cell.lengths
    beam = Illumination(ENERGY, SEMI_ANGLE, 1e5, np.array([[lx / 2, ly / 2]]))
    return Multislice().pattern(slab_of(cell), beam, grid_of(cell, sampling))


def abtem_pattern(cell: Supercell, sampling: float) -> np.ndarray:
    """Return abTEM's pattern, (Ny, Nx), zero frequency at [Ny/2, Nx/2], as fractions of the beam."""
    ny, nx = grid_of(cell, sampling)
    lx, ly, lz = cell.lengths
    potential = abtem.Potential(
        cell.atoms,
        gpts=(nx, ny),
        slice_thickness=lz / cell.slices,
        parametrization=OurFormFactors(),
        projection="infinite",
    )
    assert len(potential) == cell.slices
    probe = abtem.Probe(energy=1e3 * ENERGY, semiangle_cutoff=1e3 * SEMI_ANGLE, soft=False)
    probe.grid.match(potential)
    incident = probe.build((lx / 2, ly / 2), lazy=False)
    before = np.fft.fft2(np.asarray(incident.array).reshape(nx, ny))
    after = np.fft.fft2(np.asarray(incident.multislice(potential).array).reshape(nx, ny))
    return np.fft.fftshift(np.abs(after) ** 2 / (np.abs(before) ** 2).sum()).T


def common(
    first: np.ndarray, second: np.ndarray, cell: Supercell, q_max: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both patterns and |q| in 1/Å inside ``q_max``, as flat arrays over the same frequencies."""
    lx, ly, _ = cell.lengths
    ny, nx = int(q_max * ly), int(q_max * lx)
    q = np.hypot(np.arange(-ny, ny + 1)[:, None] / ly, np.arange(-nx, nx + 1)[None] / lx)
    inside = q < q_max
    middles = [(pattern.shape[0] // 2, pattern.shape[1] // 2) for pattern in (first, second)]
    cut = [
        pattern[y - ny : y + ny + 1, x - nx : x + nx + 1][inside]
        for pattern, (y, x) in zip((first, second), middles, strict=True)
    ]
    return cut[0], cut[1], q[inside]


def r1(ours: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(ours - reference).sum() / np.abs(reference).sum())


def r1_without_direct_disk(ours: np.ndarray, reference: np.ndarray, q: np.ndarray) -> float:
    outside = q > 1.05 * SEMI_ANGLE / wavelength(ENERGY)
    return r1(ours[outside], reference[outside])


def log_coded(intensity: np.ndarray) -> np.ndarray:
    """Code as STEMDL does: clip(10 (max(-17, ln I) + 17), 0, 255)."""
    return np.clip(10.0 * (np.maximum(-17.0, np.log(np.maximum(intensity, 1e-30))) + 17.0), 0.0, 255.0)
