"""Is a cell what its space group asks of a conventional cell? NumPy only, many cells at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sgexp.crystallography.groups import CRYSTAL_SYSTEMS, crystal_system_of

FAULTS = ("", "have none", "are of no volume", "are at odds with the crystal system")
"""What is wrong with a cell, by the numbers that ``cell_faults`` returns; 0: nothing."""
LENGTH_TOLERANCE = 0.02  # of lengths that should be equal: their difference as a share of the longer one
ANGLE_TOLERANCE = 1.0  # degrees between an angle and what it should be; labels of loose tolerance come with loose cells


def cell_faults(cell_N6: ArrayLike, space_group_N: ArrayLike) -> NDArray[np.int8]:
    """Return what is wrong with each cell, (N,): places in ``FAULTS``.

    Parameters
    ----------
    cell_N6
        a, b, c in Å and alpha, beta, gamma in degrees; NaN where unknown.
    space_group_N
        1 ... 230.

    A cell must be finite, its lengths positive, its angles between 0 and 180 degrees and such that they enclose a
    volume. Then, by crystal system (International Tables A, table 2.1.1.1): two right angles (monoclinic, whichever
    axis is the unique one), three (orthorhombic), and a = b (tetragonal) = c (cubic); trigonal and hexagonal ones have
    a = b, two right angles and gamma = 120. A rhombohedral group's cell on rhombohedral axes is not the conventional
    one, and at odds.
    """
    cell_N6 = np.asarray(cell_N6, np.float64).reshape(-1, 6)
    length_N3, angle_N3 = cell_N6[:, :3], cell_N6[:, 3:]
    with np.errstate(invalid="ignore", over="ignore"):
        given = np.isfinite(cell_N6).all(1)
        inside = (length_N3 > 0).all(1) & (angle_N3 > 0).all(1) & (angle_N3 < 180).all(1)
        inside &= volume_factor(angle_N3) > 0
        agrees = np.zeros(len(cell_N6), bool)
        system_N = crystal_system_of[np.asarray(space_group_N, np.int64).reshape(-1)]
        for name, told in _agreements(length_N3, angle_N3).items():
            of_system = system_N == CRYSTAL_SYSTEMS.index(name)
            agrees[of_system] = told[of_system]
    return np.select([~given, ~inside, ~agrees], [1, 2, 3], 0).astype(np.int8)


def volume_factor(angle_N3: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (volume / abc)^2 of cells with these angles in degrees, (N,); not positive: there is no such cell."""
    cos_N3 = np.cos(np.radians(angle_N3))
    return 1 - (cos_N3**2).sum(1) + 2 * cos_N3.prod(1)


def _agreements(length_N3: NDArray[np.float64], angle_N3: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Return crystal system -> whether each cell has its shape, (N,)."""
    right_N3 = np.abs(angle_N3 - 90) <= ANGLE_TOLERANCE
    a_N, b_N, c_N = length_N3.T
    ab = np.abs(a_N - b_N) <= LENGTH_TOLERANCE * np.maximum(a_N, b_N)
    bc = np.abs(b_N - c_N) <= LENGTH_TOLERANCE * np.maximum(b_N, c_N)
    hexagonal = ab & right_N3[:, :2].all(1) & (np.abs(angle_N3[:, 2] - 120) <= ANGLE_TOLERANCE)
    rectangular = right_N3.all(1)
    return {
        "triclinic": np.ones(len(length_N3), bool),
        "monoclinic": right_N3.sum(1) >= 2,
        "orthorhombic": rectangular,
        "tetragonal": rectangular & ab,
        "trigonal": hexagonal,
        "hexagonal": hexagonal,
        "cubic": rectangular & ab & bc,
    }
