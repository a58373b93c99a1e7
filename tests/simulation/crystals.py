"""A few crystals that every test of this room knows."""

import numpy as np

from sgexp.crystallography.crystal import Crystal

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def silicon() -> Crystal:
    return Crystal.from_arrays(np.eye(3) * 5.431, ["Si"] * 8, np.r_[FCC, FCC + 0.25], name="Si")


def strontium_titanate() -> Crystal:
    positions = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Crystal.from_arrays(np.eye(3) * 3.905, ["Sr", "Ti", "O", "O", "O"], positions, name="SrTiO3")


def quartz() -> Crystal:
    cell = [[4.9137, 0, 0], [-4.9137 / 2, 4.9137 * 3**0.5 / 2, 0], [0, 0, 5.4047]]
    u, x, y, z = 0.4697, 0.4135, 0.2669, 0.1191
    silicon_sites = [[u, 0, 1 / 3], [0, u, 2 / 3], [-u, -u, 0]]
    oxygen_sites = [
        [x, y, z + 1 / 3], [-y, x - y, z + 2 / 3], [y - x, -x, z],
        [y, x, -z + 2 / 3], [x - y, -y, 1 / 3 - z], [-x, y - x, -z],
    ]  # fmt: skip
    return Crystal.from_arrays(cell, ["Si"] * 3 + ["O"] * 6, silicon_sites + oxygen_sites, name="quartz")


def triclinic() -> Crystal:
    cell = [[4.1, 0, 0], [1.1, 5.2, 0], [-0.7, 1.3, 6.3]]
    positions = [[0.1, 0.2, 0.3], [0.45, 0.7, 0.15], [0.8, 0.35, 0.62], [0.33, 0.91, 0.77]]
    return Crystal.from_arrays(cell, ["Na", "Cl", "O", "Pb"], positions, name="triclinic")


def diamond() -> Crystal:
    """Too small a cell for three reflections below 2 theta = 90 degrees."""
    return Crystal.from_arrays(np.eye(3) * 3.567, ["C"] * 8, np.r_[FCC, FCC + 0.25], name="diamond")
