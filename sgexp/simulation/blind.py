"""The blind protocol: what a microscope gives of a crystal whose structure is not known.

A foil of unknown thickness lies in the holder with a random direction along its normal. Within the reach of the holder
the operator goes to the zones with the shortest repeats along the beam, the conspicuous ones; equivalents under the
symmetry of the *lattice* once. The condenser aperture is one of a few. The crystal lies at any angle in the plane, and
misses the zone by a little. Nothing of this depends on the atoms in the cell or on the space group: two crystals with
one lattice (and one name) are looked at in the same way. What was chosen is recorded in the file, for those who ask how
the answer depends on it; the network never sees it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography import symmetry
from sgexp.crystallography.crystal import Crystal
from sgexp.errors import DataError
from sgexp.simulation.cells import primitive
from sgexp.simulation.protocol import ZONES, Zone, check_cell_edge, in_plane_direction, name_key, slab_axes
from sgexp.simulation.schema import BlindConfig

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_OF_THE_PROTOCOL = 11  # keeps its random numbers apart from those of the displacements and the detector
_FIRST, _MOST = 2.0, 12.0  # repeats along the beam that are tried first, and at the most, over the longest cell edge
_SAME_METRIC = 0.01  # angstrom: tolerance of the lattice's own symmetry


def zones(crystal: Crystal, config: BlindConfig, energy_kev: float, seed: int) -> list[Zone]:
    """Return the three zones of one sample, drawn by (seed, name, energy); ``DataError`` when there are none.

    ``d`` of a zone is the period of the lattice along the beam, of which a whole number of slices is made.
    """
    check_cell_edge(crystal, config)
    rng = np.random.default_rng([seed, name_key(crystal.name), round(1e3 * energy_kev), _OF_THE_PROTOCOL])
    normal = rng.standard_normal(3)
    normal /= np.linalg.norm(normal)
    aperture = config.apertures_mrad[int(rng.integers(len(config.apertures_mrad)))]
    low, high = config.thickness
    thickness = low * (high / low) ** rng.random()
    rotations = 2.0 * math.pi * rng.random(ZONES)
    least, most = config.mistilt_mrad
    off = np.sqrt(least**2 + (most**2 - least**2) * rng.random(ZONES)) * 1e-3  # even over the ring between them
    towards = 2.0 * math.pi * rng.random(ZONES)
    rows, _ = primitive(crystal)
    if config.uvw is None:
        chosen = low_index(rows @ crystal.cell, normal, config.max_tilt)
        if chosen is None:
            raise DataError(
                f"{crystal.name}: fewer than {ZONES} zones with a repeat up to {_MOST:g} cell edges within "
                f"{config.max_tilt:g}° of the foil normal."
            )
        directions = chosen @ rows
    else:
        directions = np.array([_shortest(np.array(row), rows) for row in config.uvw])
    result = []
    for direction, rotation, angle, turn in zip(directions, rotations, off, towards, strict=True):
        along = direction @ crystal.cell
        repeat = float(np.linalg.norm(along))
        # Directions that are given are the foil's normal each; those that are found are reached by tilting the foil.
        cosine = 1.0 if config.uvw is not None else float(along @ normal) / repeat
        uvw = np.rint(6.0 * direction).astype(np.int64)  # centring vectors are sixths of the cell at the finest
        uvw //= np.gcd.reduce(uvw)
        axes = _turned(slab_axes(crystal.cell, uvw, in_plane_direction(uvw)), rotation)
        step = repeat / math.ceil(repeat / config.max_slice - 1e-9)
        mistilt = (angle * math.cos(turn), angle * math.sin(turn))
        result.append(
            Zone(
                uvw=(int(uvw[0]), int(uvw[1]), int(uvw[2])),
                y_dir=axes[1] @ np.linalg.inv(crystal.cell),
                d=repeat,
                semi_angle=1e-3 * aperture,
                axes=axes,
                slicing=(step, max(1, round(thickness / cosine / step))),
                mistilt=mistilt,
                recorded={
                    "rotation_rad": rotation,
                    "mistilt_rad": mistilt,
                    "foil_tilt_degree": math.degrees(math.acos(min(1.0, cosine))),
                },
            )
        )
    return result


def low_index(lattice: Array, normal: Array, max_tilt: float, count: int = ZONES) -> Integers | None:
    """Return the ``count`` lattice vectors with the shortest repeats within ``max_tilt`` degrees of ``normal``.

    ``lattice`` (3, 3): rows of a primitive basis in Å; the result (count, 3) is in units of it, shortest first. Of
    vectors that a symmetry of the lattice makes equal, the one next to the normal is taken. None where the longest
    repeats that are looked at, 12 times the longest edge, do not bring as many.
    """
    operations = _holohedry(lattice)
    longest = float(np.linalg.norm(lattice, axis=1).max())
    reach = _FIRST * longest
    while True:
        vectors = _within(lattice, normal, max_tilt, reach)
        found: dict[tuple[int, ...], Integers] = {}
        for vector in vectors:  # shortest first, and next to the normal first
            images = operations @ vector
            found.setdefault(max(map(tuple, images.tolist())), vector)
            if len(found) == count:
                return np.stack(list(found.values()))
        if reach >= _MOST * longest:
            return None
        reach = min(1.6 * reach, _MOST * longest)


def _within(lattice: Array, normal: Array, max_tilt: float, reach: float) -> Integers:
    """Return the lattice vectors up to ``reach`` Å in the cone, none a multiple of another, shortest first."""
    most = np.floor(reach * np.linalg.norm(np.linalg.inv(lattice), axis=0) + 1e-9).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = grid @ lattice
    lengths = np.linalg.norm(vectors, axis=1)
    along = vectors @ normal
    keep = (lengths <= reach) & (lengths > 0) & (along >= lengths * math.cos(math.radians(max_tilt)))
    keep &= np.gcd.reduce(grid, axis=1) == 1
    order = np.lexsort((-along[keep] / lengths[keep], np.round(lengths[keep], 4)))
    return grid[keep][order].astype(np.int64)


def _holohedry(lattice: Array) -> Integers:
    """Return the symmetry operations of a bare lattice on its integer coordinates, (n, 3, 3)."""
    found = symmetry.dataset(lattice, np.zeros((1, 3)), np.ones(1, np.int64), _SAME_METRIC)
    return np.stack([np.eye(3), -np.eye(3)]).astype(np.int64) if found is None else found.rotations.astype(np.int64)


def _shortest(uvw: Integers, rows: Array) -> Array:
    """Return the shortest lattice vector along [uvw], in units of the cell; ``rows``: a primitive basis in them."""
    steps = np.rint(uvw @ np.linalg.inv(rows)).astype(np.int64)
    return steps // np.gcd.reduce(steps) @ rows


def _turned(axes: Array, angle: float) -> Array:
    """Return right-handed axes x, y, z (rows) turned about z by ``angle`` in rad."""
    x, y, z = axes
    cos, sin = math.cos(angle), math.sin(angle)
    return np.stack([cos * x + sin * y, cos * y - sin * x, z])
