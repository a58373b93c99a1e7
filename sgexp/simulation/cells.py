"""The crystal seen along a zone: a lattice basis with one vector along the beam, and its periods across the beam.

[uvw] is a lattice direction, so that the shortest lattice vector T along it is the crystal's period along the beam. Two
more vectors A1 and A2 complete a primitive basis. Their parts across the beam, a1 and a2, span the *projected* lattice,
the smallest cell there is (area = volume / |T|); their parts along the beam, z1 and z2, say by how much the crystal is
shifted along the beam from one such cell to the next. Where the shifts are fractions p/m of |T|, a cell m times as
large is a period of the slab itself. Where they are not, no period exists, and the shift is kept as a third coordinate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.crystal import Crystal

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_TRANSLATION = 1e-3  # angstrom: a centring vector must lay every atom on a like one this well
FLAT = 5e-3  # angstrom: a lattice vector this flat counts as perpendicular to the beam; half of the label's tolerance
_CENTRINGS = [
    *(shift for shift in product((0.0, 0.5), repeat=3) if any(shift)),
    *(tuple(part / 3.0 for part in shift) for shift in product((1, 2), repeat=3)),
]


@dataclass(frozen=True)
class ZoneCell:
    """A basis (A1, A2, T) of a crystal's lattice, or of a sublattice, and the atoms in one cell of it.

    Attributes
    ----------
    across
        (2, 2): a1 and a2, the parts of A1 and A2 across the beam, as rows (x, y) in Å.
    shifts
        (2,): z1 and z2 over |T|, in [-0.5, 0.5]; zeros where the slab itself is periodic in a1 and a2.
    repeat
        |T|, the period along the beam in Å.
    numbers, positions
        (N,) atomic numbers and (N, 3) coordinates along A1, A2 and T, in [0, 1).
    index
        Cells of the projected lattice in this cell.
    """

    across: Array
    shifts: Array
    repeat: float
    numbers: Integers
    positions: Array
    index: int

    @property
    def area(self) -> float:
        """Area of the cell in Å^2."""
        return float(abs(np.linalg.det(self.across)))

    @property
    def periodic(self) -> bool:
        """Whether the slab itself repeats with a1 and a2."""
        return not self.shifts.any()


def zone_cell(
    crystal: Crystal, uvw: tuple[int, int, int], axes: Array, basis: tuple[Array, Integers] | None = None
) -> ZoneCell:
    """Return the primitive cell for a beam along [uvw]; ``axes`` (3, 3) are x, y, z of the slab as rows.

    ``basis`` is what ``primitive`` returns for the crystal, where it is known.
    """
    lattice, atoms = basis or primitive(crystal)  # rows in units of the crystal's cell
    along = np.rint(np.array(uvw) @ np.linalg.inv(lattice)).astype(np.int64)
    along //= np.gcd.reduce(along)
    first, second = _completed(along)
    vectors = np.stack([first, second, along]) @ lattice @ crystal.cell @ axes.T
    if np.linalg.det(vectors) < 0:
        vectors[:2] = vectors[1::-1]
    vectors = _reduced(vectors)
    repeat = float(np.linalg.norm(vectors[2]))
    shifts = vectors[:2, 2] / repeat
    positions = crystal.positions[atoms] @ crystal.cell @ axes.T @ np.linalg.inv(vectors)
    shifts[np.abs(shifts) * repeat < FLAT] = 0.0
    return ZoneCell(vectors[:2, :2], shifts, repeat, crystal.numbers[atoms], positions % 1.0, 1)


def periodic_cell(cell: ZoneCell, most: int) -> ZoneCell | None:
    """Return the smallest cell that is a period of the slab itself, of index ``most`` at the most, or None.

    Its vectors are perpendicular to the beam within ``FLAT``.
    """
    if cell.periodic:
        return cell
    steps = np.arange(-most, most + 1)
    pairs = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    turns = pairs @ cell.shifts
    flat = np.abs(turns - np.round(turns)) * cell.repeat < FLAT
    pairs = pairs[flat & pairs.any(axis=1)]
    if not len(pairs):
        return None
    pairs = pairs[np.argsort(np.linalg.norm(pairs @ cell.across, axis=1), kind="stable")]
    indices = np.abs(pairs[0, 0] * pairs[:, 1] - pairs[0, 1] * pairs[:, 0])
    other = np.flatnonzero((indices > 0) & (indices <= most))
    if not len(other):
        return None
    rows = pairs[[0, other[np.argmin(indices[other])]]]
    return _enlarged(cell, rows)


def _enlarged(cell: ZoneCell, rows: Integers) -> ZoneCell:
    """Return the cell with in-plane vectors ``rows`` (2, 2 integers) of a cell's own, its shifts forced to zero."""
    vectors = np.c_[rows @ cell.across, np.zeros(2)]
    vectors = _reduced(np.r_[vectors, [[0.0, 0.0, cell.repeat]]])
    index = abs(round(float(np.linalg.det(rows))))
    counts = np.arange(index)
    corners = np.stack(np.meshgrid(counts, counts, indexing="ij"), axis=-1).reshape(-1, 2)
    lattice = np.c_[cell.across, cell.shifts * cell.repeat]  # A1 and A2
    inside = (corners @ cell.across @ np.linalg.inv(vectors[:2, :2]) + 1e-6) % 1.0
    _, firsts = np.unique(np.round(inside, 5), axis=0, return_index=True)
    offsets = corners[firsts] @ lattice
    own = np.r_[lattice, [[0.0, 0.0, cell.repeat]]]
    places = (offsets[:, None] + (cell.positions @ own)[None]).reshape(-1, 3) @ np.linalg.inv(vectors)
    return ZoneCell(
        vectors[:2, :2], np.zeros(2), cell.repeat, np.tile(cell.numbers, len(offsets)), _wrapped(places), index
    )


def _wrapped(positions: Array) -> Array:
    """Return positions modulo 1; those a rounding error below a lattice point go to it (they open the slab)."""
    return (positions + 1e-9) % 1.0 - 1e-9


def primitive(crystal: Crystal) -> tuple[Array, Integers]:
    """Return the rows of a primitive lattice in units of the crystal's cell, (3, 3), and the atoms of one such cell.

    Centring vectors of halves and thirds are found by trying, so that any cell is welcome.
    """
    owner = np.arange(len(crystal.numbers))
    centrings = []
    for shift in _CENTRINGS:
        images = _images(crystal, np.array(shift))
        if images is not None:
            centrings.append(shift)
            owner = np.minimum(owner, images)
    rows = np.rint(6.0 * np.r_[np.eye(3), np.array(centrings).reshape(-1, 3)]).astype(np.int64)
    atoms = np.flatnonzero(owner == np.arange(len(owner)))
    return _basis(rows) / 6.0, atoms


def _images(crystal: Crystal, shift: Array) -> Integers | None:
    """Return the atom on which each atom lies when moved by ``shift``, or None where one lies on no like atom."""
    images = np.empty(len(crystal.numbers), dtype=np.int64)
    for number in np.unique(crystal.numbers):
        of_kind = np.flatnonzero(crystal.numbers == number)
        places = crystal.positions[of_kind]
        for some in (slice(0, 1), slice(1, None)):  # one atom is quickly tried, and mostly it is enough
            apart = places[some, None] + shift - places[None]
            apart -= np.round(apart)
            distances = np.linalg.norm(apart @ crystal.cell, axis=2)
            if len(distances) and distances.min(axis=1).max() > _TRANSLATION:
                return None
            images[of_kind[some]] = of_kind[distances.argmin(axis=1)] if len(distances) else []
    return images


def _basis(rows: Integers) -> Integers:
    """Return a basis (3, 3) of the lattice that integer ``rows`` generate: row reduction by Euclid's algorithm."""
    rows = rows.copy()
    for column in range(3):
        while True:
            lead = np.flatnonzero(rows[column:, column]) + column
            smallest = lead[np.argmin(np.abs(rows[lead, column]))]
            rows[[column, smallest]] = rows[[smallest, column]]
            below = rows[column + 1 :, column] // rows[column, column]
            rows[column + 1 :] -= below[:, None] * rows[column]
            if not rows[column + 1 :, column].any():
                break
    return rows[:3]


def _completed(along: Integers) -> tuple[Integers, Integers]:
    """Return two integer vectors that complete a basis of all integer vectors with ``along``, whose gcd is 1."""
    a, b, c = along.tolist()
    g, x, y = _euclid(a, b)
    if g == 0:
        return np.array([1, 0, 0]), np.array([0, 1, 0])
    _, s, r = _euclid(g, c)  # g s + c r = 1
    return np.array([-y, x, 0]), np.array([-r * a // g, -r * b // g, s])


def _euclid(a: int, b: int) -> tuple[int, int, int]:
    """Return g = gcd(a, b) >= 0 and x, y with a x + b y = g."""
    if b == 0:
        return abs(a), int(math.copysign(1, a)) if a else 0, 0
    g, x, y = _euclid(b, a % b)
    return g, y, x - (a // b) * y


def _reduced(vectors: Array) -> Array:
    """Return (A1, A2, T) with the shortest a1 and a2 (Gauss), and parts along T of at most half of it."""
    first, second, along = vectors
    while True:
        if first[:2] @ first[:2] > second[:2] @ second[:2] + 1e-9:
            first, second = second, first
        # Exact halves, which centred cells have, must not be turned back and forth by rounding errors.
        steps = round(0.999999 * float(first[:2] @ second[:2] / (first[:2] @ first[:2])))
        if steps == 0:
            break
        second = second - steps * first
    repeat = along[2]
    first, second = (row - round(float(row[2] / repeat)) * along for row in (first, second))
    if first[0] * second[1] - first[1] * second[0] < 0:
        second = -second
    return np.stack([first, second, along])
