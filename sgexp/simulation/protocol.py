"""The SMC-19 protocol: which three patterns of a crystal are made, and from which piece of it.

It follows the scripts that made SMC-19 (github.com/nlaanait/namsa, ``smc_19_sim.py``, ``smc_19_utils.py``): the three
strongest X-ray reflections name the three zones, each hkl is used as the *direct-lattice* direction [uvw] of the beam
(which is in general not the normal of the planes hkl), and the spacing d of the planes sets both the beam's semi-angle
and the slice thickness. docs/simulation.md lists what is kept and what is not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.elements import ATOMIC_NUMBERS, ELEMENTS
from sgexp.errors import ConfigError, DataError
from sgexp.simulation.physics import wavelength
from sgexp.simulation.schema import ProtocolConfig, SimulationConfig

ZONES = 3  # the layout of the data set has room for exactly three patterns
CU_K_ALPHA = 1.54184  # angstrom, the mean of K-alpha 1 and 2
MOST_DISPLACEMENT = 1.0  # angstrom
_MAX_TWO_THETA = 90.0  # degree
_OF_THE_MISTILT = 12  # keeps its random numbers apart from those of displacements, detector and blind protocol
_EDGE = 1e-6  # angstrom: atoms this close to the far faces of the slab belong to the next one

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Reflections:
    """Lines of a powder pattern, strongest first: ``hkl`` (M, 3) int, ``d`` (M,) in Å, ``intensity`` (M,) arbitrary."""

    hkl: NDArray[np.int64]
    d: Array
    intensity: Array


@dataclass(frozen=True)
class Zone:
    """One pattern of the protocol.

    ``uvw`` is the beam direction in the direct lattice; ``y_dir`` (3,) the direct-lattice direction whose part
    perpendicular to the beam points along +y; ``d`` in Å; ``semi_angle`` in rad; ``axes`` (3, 3) the Cartesian unit
    vectors x, y, z of the slab as rows, z along the beam. ``slicing`` is the thickness of a slice in Å and how many
    there are; None: what d and the settings say. ``mistilt`` (x, y) in rad is by how much the beam misses the zone.
    ``recorded`` goes into the file, one value of each name for a zone.
    """

    uvw: tuple[int, int, int]
    y_dir: Array
    d: float
    semi_angle: float
    axes: Array
    slicing: tuple[float, int] | None = None
    mistilt: tuple[float, float] = (0.0, 0.0)
    recorded: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Slab:
    """Atoms in a box, cut into slices: z runs along the beam, x and y repeat with the box.

    ``numbers`` (N,) atomic numbers; ``positions`` (N, 3) in Å; ``box`` (x, y) in Å; ``slice_thickness`` in Å.
    """

    numbers: NDArray[np.int64]
    positions: Array
    box: tuple[float, float]
    slice_thickness: float
    slices: int

    @property
    def thickness(self) -> float:
        """Thickness of the whole slab, in Å."""
        return self.slices * self.slice_thickness


def check_sampling(config: ProtocolConfig) -> None:
    """Refuse settings that contradict one another, such as a grid coarser than 0.4 Å a pixel."""
    if (said := config.contradiction("simulation")) is not None:
        raise ConfigError(said)


def zones(crystal: Crystal, config: SimulationConfig) -> list[Zone]:
    """Return the three zones of a crystal; ``DataError`` when the protocol has none for it."""
    check_cell_edge(crystal, config)
    reference = wavelength(config.reference_energy_kev)
    if config.uvw is not None:
        spacings = [1.0 / float(np.linalg.norm(np.linalg.inv(crystal.cell) @ row)) for row in config.uvw]
        return [
            _zone(crystal, np.array(row), d, semi_angle=config.overlap * reference / (2.0 * d))
            for row, d in zip(config.uvw, spacings, strict=True)
        ]
    lines = powder_pattern(crystal)
    if len(lines.d) < ZONES:
        raise DataError(
            f"{crystal.name}: only {len(lines.d)} X-ray reflections below 2 theta = {_MAX_TWO_THETA:g}°, "
            f"{ZONES} are needed."
        )
    return [
        _zone(crystal, hkl, d, semi_angle=config.overlap * reference / (2.0 * d))
        for hkl, d in zip(lines.hkl[:ZONES], lines.d[:ZONES].tolist(), strict=True)
    ]


def mistilted(zones: list[Zone], mrad: float, name: str, seed: int) -> list[Zone]:
    """Return the zones missed by so many mrad, each towards a direction drawn by (seed, name), whatever the angle."""
    if mrad == 0:
        return zones
    towards = 2.0 * math.pi * np.random.default_rng([seed, name_key(name), _OF_THE_MISTILT]).random(len(zones))
    return [
        replace(zone, mistilt=(1e-3 * mrad * math.cos(turn), 1e-3 * mrad * math.sin(turn)))
        for zone, turn in zip(zones, towards, strict=True)
    ]


def turned(zone: Zone, crystal: Crystal, angle: float) -> Zone:
    """Return the zone with its axes x and y turned about the beam by ``angle`` in rad."""
    x, y, z = zone.axes
    cos, sin = math.cos(angle), math.sin(angle)
    axes = np.stack([cos * x + sin * y, cos * y - sin * x, z])
    return replace(zone, axes=axes, y_dir=axes[1] @ np.linalg.inv(crystal.cell))


def check_cell_edge(crystal: Crystal, config: ProtocolConfig) -> None:
    """Refuse a crystal with a cell edge at or above the limit that is set."""
    longest = float(crystal.abc.max())
    if config.max_cell_edge is not None and longest >= config.max_cell_edge:
        raise DataError(
            f"{crystal.name}: its cell edge of {longest:.2f} Å is not below the limit {config.max_cell_edge:g} Å."
        )


def _zone(crystal: Crystal, hkl: NDArray[np.int64], d: float, semi_angle: float) -> Zone:
    y_dir = in_plane_direction(hkl)
    u, v, w = hkl.tolist()
    return Zone(uvw=(u, v, w), y_dir=y_dir, d=d, semi_angle=semi_angle, axes=slab_axes(crystal.cell, hkl, y_dir))


def powder_pattern(crystal: Crystal) -> Reflections:
    """Return the Cu K-alpha powder pattern up to 2 theta = 90°, strongest line first.

    I = LP(theta) x sum of |F(hkl)|^2 over all hkl of one spacing d (which is multiplicity times |F|^2), with the
    X-ray form factors of International Tables C (1992), no thermal factor, and the Lorentz-polarisation factor
    LP = (1 + cos^2 2theta) / (sin^2 theta cos theta). ``hkl`` names the line's strongest member, the lexicographically
    largest of equals.
    """
    hkl, inverse_d = _half_sphere(crystal.cell, 2.0 * np.sin(np.radians(_MAX_TWO_THETA / 2.0)) / CU_K_ALPHA)
    if not len(hkl):
        return Reflections(np.zeros((0, 3), np.int64), np.zeros(0), np.zeros(0))
    squared = np.abs(structure_factors(crystal, hkl, inverse_d)) ** 2
    order = np.lexsort((-hkl[:, 2], -hkl[:, 1], -hkl[:, 0], inverse_d))
    hkl, inverse_d, squared = hkl[order], inverse_d[order], squared[order]
    # Equal spacings differ by rounding only; 1e-6 of 1/d is below 1e-4 degree in 2 theta.
    starts = np.flatnonzero(np.diff(inverse_d, prepend=-1.0) > 1e-6 * inverse_d)
    sin_theta = CU_K_ALPHA * inverse_d[starts] / 2.0
    cos_theta = np.sqrt(1.0 - sin_theta**2)
    polarisation = (1.0 + (1.0 - 2.0 * sin_theta**2) ** 2) / (sin_theta**2 * cos_theta)
    intensity = 2.0 * np.add.reduceat(squared, starts) * polarisation  # 2: hkl and -hkl (Friedel)
    # Equal reflections differ by rounding too, so members within 1e-6 of the strongest count as equal.
    line_of = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(hkl)))
    equals = np.flatnonzero(squared >= (1.0 - 1e-6) * np.maximum.reduceat(squared, starts)[line_of])
    leaders = equals[np.flatnonzero(np.diff(line_of[equals], prepend=-1))]
    keep = intensity > 1e-9 * intensity.max()
    # Ties between lines are broken by the larger spacing, so rounding noise cannot reorder them.
    ranked = np.lexsort((np.arange(len(starts)), -np.round(intensity / intensity.max(), 9)))
    ranked = ranked[keep[ranked]]
    return Reflections(hkl[leaders][ranked], 1.0 / inverse_d[starts][ranked], intensity[ranked])


def _half_sphere(cell: Array, longest: float) -> tuple[NDArray[np.int64], Array]:
    """Return hkl with 0 < |g| <= ``longest`` (1/Å), of each pair hkl, -hkl the one that leads with a plus, and |g|."""
    h, k, low = (np.floor(np.linalg.norm(cell, axis=1) * longest + 1e-9)).astype(int)
    axes = (np.arange(0, h + 1), np.arange(-k, k + 1), np.arange(-low, low + 1))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    first, second, third = grid.T
    half = (first > 0) | (second > 0) & (first == 0) | (third > 0) & (first == 0) & (second == 0)
    grid = grid[half]
    length = np.linalg.norm(grid @ np.linalg.inv(cell).T, axis=1)
    inside = length <= longest
    return grid[inside], length[inside]


def structure_factors(crystal: Crystal, hkl: NDArray[np.int64], inverse_d: Array) -> NDArray[np.complex128]:
    """Return F(hkl) = sum_j f_j exp(2 pi i h.x_j) with the IT92 X-ray form factors, in electrons."""
    total = np.zeros(len(hkl), dtype=np.complex128)
    for number in np.unique(crystal.numbers).tolist():
        a, b, c = _x_ray_coefficients(number)
        factor = c + np.exp(-np.outer(inverse_d**2 / 4.0, b)) @ a
        total += factor * _phase_sums(crystal.positions[crystal.numbers == number], hkl)
    return total


def _phase_sums(positions: Array, hkl: NDArray[np.int64]) -> NDArray[np.complex128]:
    """Return sum_j exp(2 pi i h.x_j) for each hkl.

    The exponential is a product over the three axes, so the sums over a box of indices are matrix products of three
    small tables: an order of magnitude faster than an exponential for each reflection and atom.
    """
    low, high = hkl.min(axis=0), hkl.max(axis=0)
    along_h, along_k, along_l = (
        np.exp(2j * np.pi * np.outer(np.arange(low[axis], high[axis] + 1), positions[:, axis])) for axis in range(3)
    )
    sums = np.stack([(row * along_k) @ along_l.T for row in along_h])
    return sums[tuple((hkl - low).T)]


@lru_cache(maxsize=128)
def _x_ray_coefficients(number: int) -> tuple[Array, Array, float]:
    table = gemmi.Element(number).it92
    if table is None:
        raise DataError(f"element {number} has no X-ray form factor (International Tables C give Z = 1 to 98).")
    return np.array(table.a), np.array(table.b), float(table.c)


def in_plane_direction(uvw: NDArray[np.int64]) -> Array:
    """Return namsa's ``y_dir``: (-1, 1, -1) less its part along uvw, in index space; (1, 0, 0) if nothing is left.

    namsa looks for it numerically (scipy's conjugate gradients on |uvw . y| from that start); this is where that search
    arrives when it succeeds. For some zones it stops at its start, and the axis then depends on the version of scipy.
    """
    start = np.array([-1.0, 1.0, -1.0])
    direction = start - uvw * (uvw @ start) / (uvw @ uvw)
    return direction if np.abs(direction).sum() >= 1e-4 else np.array([1.0, 0.0, 0.0])


def slab_axes(cell: Array, uvw: NDArray[np.int64], y_dir: Array) -> Array:
    """Return right-handed unit vectors x, y, z (rows): z along [uvw], y along ``y_dir`` made perpendicular to it."""
    z = uvw @ cell
    z = z / np.linalg.norm(z)
    y = y_dir @ cell
    y = y - (y @ z) * z
    y = y / np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z])


def cut_slab(crystal: Crystal, zone: Zone, config: ProtocolConfig) -> Slab:
    """Cut the atoms of a box x box x thickness slab out of the crystal, a corner on the lattice origin.

    Unless the zone has slices of its own, the thickness is rounded down to whole slices of thickness d, as namsa does;
    with ``max_slice`` each of them is split evenly until it is thin enough.
    """
    numbers, positions = atoms_in_box(crystal, zone.axes, np.array([config.box, config.box, depth(zone, config)]))
    if zone.slicing is not None:
        return Slab(numbers, positions, (config.box, config.box), *zone.slicing)
    assert isinstance(config, SimulationConfig)
    split = 1 if config.max_slice is None else int(np.ceil(zone.d / config.max_slice - 1e-9))
    return Slab(numbers, positions, (config.box, config.box), zone.d / split, whole_slices(zone, config) * split)


def whole_slices(zone: Zone, config: SimulationConfig) -> int:
    """Return how many slices of thickness d a slab has: the thickness asked for, rounded down, at least one."""
    return max(1, int(config.thickness / zone.d + 1e-9))


def depth(zone: Zone, config: ProtocolConfig) -> float:
    """Return the thickness of a slab in Å, a whole number of slices."""
    if zone.slicing is not None:
        return zone.slicing[0] * zone.slicing[1]
    assert isinstance(config, SimulationConfig)
    return whole_slices(zone, config) * zone.d


def atoms_in_box(crystal: Crystal, axes: Array, size: Array) -> tuple[NDArray[np.int64], Array]:
    """Return numbers and positions (Å, along ``axes``) of all atoms with 0 <= x, y, z < ``size``.

    For every line of atoms along the shortest cell vector the first and the last inside the box are computed, so the
    cost is that of the atoms kept, not of a cube of cells around a tilted box.
    """
    cell = crystal.cell @ axes.T
    along = int(np.argmin(np.linalg.norm(cell, axis=1)))
    across = [axis for axis in range(3) if axis != along]
    corners = np.array(np.meshgrid(*[(0.0, edge) for edge in size])).reshape(3, -1).T @ np.linalg.inv(cell)
    low = np.floor(corners.min(axis=0)).astype(int) - 1
    high = np.ceil(corners.max(axis=0)).astype(int)
    first, second = np.meshgrid(*[np.arange(low[axis], high[axis] + 1) for axis in across], indexing="ij")
    lines = first.reshape(-1, 1) * cell[across[0]] + second.reshape(-1, 1) * cell[across[1]]
    starts = (lines[:, None, :] + (crystal.positions @ cell)[None]).reshape(-1, 3)
    owners = np.tile(np.arange(len(crystal.numbers)), len(lines))
    enter, leave = _interval(starts, cell[along], size)
    counts = np.maximum(leave - enter + 1, 0)
    steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(enter, counts)
    positions = np.repeat(starts, counts, axis=0) + steps[:, None] * cell[along]
    return crystal.numbers[np.repeat(owners, counts)], positions


def _interval(starts: Array, step: Array, size: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and last integer n with -edge <= start + n step < size - edge on all axes, for each start."""
    enter = np.full(len(starts), -np.inf)
    leave = np.full(len(starts), np.inf)
    for axis in range(3):
        if abs(step[axis]) < 1e-12:
            outside = (starts[:, axis] < -_EDGE) | (starts[:, axis] >= size[axis] - _EDGE)
            leave[outside] = -np.inf
            continue
        bounds = (np.array([-_EDGE, size[axis] - _EDGE])[:, None] - starts[:, axis]) / step[axis]
        enter = np.maximum(enter, bounds.min(axis=0))
        leave = np.minimum(leave, bounds.max(axis=0))
    empty = ~(enter <= leave)
    first, last = np.ceil(np.where(empty, 1.0, enter)), np.floor(np.where(empty, 0.0, leave))
    return first.astype(np.int64), np.where(empty, first - 1, last).astype(np.int64)


def own_displacements(crystal: Crystal, config: ProtocolConfig) -> dict[int, float]:
    """Return the rms displacements in Å, by atomic number, of elements that have one of their own.

    Those of the crystal's file, where the settings ask for them, and before them those of the settings.
    ``DataError``: a file gives more than `MOST_DISPLACEMENT`.
    """
    own = dict(crystal.displacements) if config.file_displacement else {}
    for number, rms in own.items():
        if rms > MOST_DISPLACEMENT:
            raise DataError(
                f"{crystal.name}: its file has {ELEMENTS[number].symbol} move by {rms:.2f} Å (rms along each axis); "
                f"more than {MOST_DISPLACEMENT:g} Å is no thermal motion: correct its B or U."
            )
    return own | {ATOMIC_NUMBERS[symbol]: rms for symbol, rms in config.element_displacement.items()}


def rms_displacements(numbers: NDArray[np.int64], crystal: Crystal, config: ProtocolConfig) -> Array:
    """Return the rms displacement along each axis of a crystal's atoms with these numbers, (N,) in Å."""
    rms: Array = np.full(len(numbers), config.displacement)
    for number, own in own_displacements(crystal, config).items():
        rms[numbers == number] = own
    return rms


def displaced(slab: Slab, rms: float | Array, rng: np.random.Generator) -> Slab:
    """Return the slab with every atom displaced at random, ``rms`` Å along each axis: one frozen configuration.

    ``rms`` is one number, or (N,), one for each atom.
    """
    if not np.any(rms):
        return slab
    widths = np.asarray(rms, dtype=np.float32).reshape(-1, 1)
    moved = slab.positions + widths * rng.standard_normal(slab.positions.shape, dtype=np.float32)
    return Slab(slab.numbers, moved, slab.box, slab.slice_thickness, slab.slices)


def probe_positions(count: int, box: tuple[float, float]) -> Array:
    """Return ``count`` probe positions (x, y) in Å, (P, 2): a grid over the middle half of the box; one: its centre.

    SMC-19 has 8 x 8. A count that is no square is laid out as the most nearly square grid of exactly that many.
    """
    rows = next(n for n in range(int(count**0.5 + 1e-9), 0, -1) if count % n == 0)
    axes = []
    for n, edge in zip((count // rows, rows), box, strict=True):
        span = np.linspace(-0.25, 0.25, n) if n > 1 else np.zeros(1)
        axes.append(edge * (0.5 + span))
    x, y = np.meshgrid(*axes, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def beam_repeat(crystal: Crystal, uvw: tuple[int, int, int]) -> float:
    """Return the crystal's period along [uvw] in Å, centring translations included."""
    indices = np.array(uvw)
    shortest = indices / np.gcd.reduce(indices)
    for parts in (6, 4, 3, 2):
        if _is_translation(crystal, shortest / parts):
            return float(np.linalg.norm(shortest / parts @ crystal.cell))
    return float(np.linalg.norm(shortest @ crystal.cell))


def _is_translation(crystal: Crystal, shift: Array, tolerance: float = 0.02) -> bool:
    """Say whether moving every atom by the fractional ``shift`` lands on like atoms within ``tolerance`` Å."""
    for number in np.unique(crystal.numbers):
        positions = crystal.positions[crystal.numbers == number]
        for some in (positions[:1], positions[1:]):  # the first atom alone refuses most shifts
            apart = some[:, None] + shift - positions[None]
            apart -= np.round(apart)
            if (np.linalg.norm(apart @ crystal.cell, axis=2).min(axis=1) > tolerance).any():
                return False
    return True


def name_key(name: str) -> int:
    """Return 64 bits of a material's name that are the same in every process (unlike ``hash``)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def holz_radius(repeat: float, energy_kev: float) -> float:
    """Return the radius in 1/Å of the first HOLZ ring: where the Ewald sphere meets the layer at 1/``repeat``."""
    layer, sphere = 1.0 / repeat, 1.0 / wavelength(energy_kev)
    return float(np.sqrt(max(0.0, 2.0 * layer * sphere - layer**2)))
