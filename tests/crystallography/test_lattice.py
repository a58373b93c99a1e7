import gemmi
import numpy as np
import pytest

from sgexp.crystallography.lattice import FAULTS, cell_faults, volume_factor
from sgexp.crystallography.library import records

RIGHT = (90.0, 90.0, 90.0)


def fault(cell, group):
    return FAULTS[cell_faults([cell], [group])[0]]


def test_the_cells_of_all_built_in_crystals_are_those_of_their_groups():
    """Recorded as spglib standardised them; the one exception is the strained quartz whose record says 5, not 152."""
    found = records()
    cells = np.array([record["lat"] for record in found]).reshape(-1, 3, 3)
    cosines = [(cells[:, i] * cells[:, j]).sum(1) for i, j in ((1, 2), (0, 2), (0, 1))]
    length = np.linalg.norm(cells, axis=2)
    pairs = (length[:, [1, 0, 0]] * length[:, [2, 2, 1]]).T
    angle = np.degrees(np.arccos(np.array(cosines) / pairs)).T
    faults = cell_faults(np.hstack([length, angle]), [record["g"] for record in found])
    assert len(faults) > 4000 and np.count_nonzero(faults) <= 1


@pytest.mark.parametrize(
    ("cell", "group", "expected"),
    [
        ((5.0, 6.0, 7.0, 80.0, 95.0, 100.0), 2, ""),
        ((5.0, 6.0, 7.0, 90.0, 110.0, 90.0), 14, ""),
        ((5.0, 6.0, 7.0, 90.0, 90.0, 110.0), 14, ""),  # another axis is the unique one
        ((5.0, 6.0, 7.0, 90.0, 110.0, 92.0), 14, "are at odds with the crystal system"),
        ((5.0, 6.0, 7.0, *RIGHT), 62, ""),
        ((5.0, 6.0, 7.0, 90.0, 91.5, 90.0), 62, "are at odds with the crystal system"),
        ((5.0, 5.05, 7.0, *RIGHT), 136, ""),
        ((5.0, 5.2, 7.0, *RIGHT), 136, "are at odds with the crystal system"),
        ((5.0, 5.0, 7.0, 90.0, 90.0, 120.0), 166, ""),
        ((5.0, 5.0, 5.0, 60.0, 60.0, 60.0), 166, "are at odds with the crystal system"),  # rhombohedral axes
        ((5.0, 5.0, 7.0, 90.0, 90.0, 120.0), 194, ""),
        ((5.0, 5.0, 5.0, *RIGHT), 225, ""),
        ((5.0, 5.0, 5.5, *RIGHT), 225, "are at odds with the crystal system"),
        ((0.0, 5.0, 5.0, *RIGHT), 1, "are of no volume"),
        ((-5.0, 5.0, 5.0, *RIGHT), 1, "are of no volume"),
        ((5.0, 5.0, 5.0, 90.0, 180.0, 90.0), 1, "are of no volume"),
        ((5.0, 5.0, 5.0, 30.0, 40.0, 80.0), 1, "are of no volume"),  # 30 + 40 < 80
        ((np.nan, 5.0, 5.0, *RIGHT), 225, "have none"),
        ((np.inf, 5.0, 5.0, *RIGHT), 225, "have none"),
    ],
)
def test_a_cell_must_be_one_and_be_that_of_its_crystal_system(cell, group, expected):
    assert fault(cell, group) == expected


def test_the_volume_is_gemmis():
    angles = np.array([[80.0, 95.0, 100.0], [90.0, 120.0, 90.0]])
    for row, found in zip(angles, volume_factor(angles), strict=True):
        assert 4 * 5 * 6 * found**0.5 == pytest.approx(gemmi.UnitCell(4, 5, 6, *row).volume)
