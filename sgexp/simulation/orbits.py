"""Symmetry-equivalent tilts: which operations of a crystal keep a slab, and one incident tilt of each of their orbits.

An operation r -> R r + t of the slab that leaves heights along the beam alone takes the beam G at the incident tilt k
to R G at R k, where its amplitude is S_RG(Rk) = S_G(k) exp(-2 pi i RG.t).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.symmetry import dataset
from sgexp.simulation import disks
from sgexp.simulation.cells import ZoneCell

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_SAME = 1e-3  # Å: an operation lays every atom on a like one this well
_WORTH = 0.75  # of the tilts, at most, are to be computed; else all are
_AXIS = 1e-9  # of the disk's radius: a tilt this near to the beam is its own image


@dataclass(frozen=True)
class Operation:
    """``turn`` (2, 2) across the beam; ``orders`` (2, 2): beam (h, k) is the image of ``orders @ (h, k)``; ``shift``.

    ``shift`` (2,) is the translation in units of the cell's a1 and a2.
    """

    turn: Array
    orders: Integers
    shift: Array


def rotations(crystal: Crystal) -> Array:
    """Return the distinct rotations and mirrors of a crystal's point group, (n, 3, 3), on Cartesian columns."""
    found = dataset(crystal.cell, crystal.positions, crystal.numbers, _SAME)
    if found is None:
        return np.eye(3)[None]
    columns = crystal.cell.T
    return columns @ np.unique(found.rotations, axis=0) @ np.linalg.inv(columns)


def operations(turns: Array, cell: ZoneCell, axes: Array, shape: tuple[int, int, int]) -> list[Operation]:
    """Return the operations of a periodic slab that keep heights and the grid, the identity first; else only that.

    Each is tried on the cell's atoms themselves, so that screws and glides along the beam are left out.
    """
    still = Operation(np.eye(2), np.eye(2, dtype=np.int64), np.zeros(2))
    if not cell.periodic:
        return [still]
    kept = [still]
    for turn in axes @ turns @ axes.T:
        across = turn[:2, :2]
        exact = cell.across @ across.T @ np.linalg.inv(cell.across)
        orders = np.rint(exact).astype(np.int64)
        if turn[2, 2] < 1.0 - 1e-6 or np.abs(exact - orders).max() > 1e-4 or np.allclose(across, np.eye(2)):
            continue
        if (orders[0, 1] or orders[1, 0]) and shape[1] != shape[2]:
            continue
        shift = _shift(cell, orders)
        if shift is not None:
            kept.append(Operation(across, orders, shift))
    proper = sum(np.linalg.det(one.turn) > 0 for one in kept)
    return kept if len(kept) in (proper, 2 * proper) else [still]


def _shift(cell: ZoneCell, orders: Integers) -> Array | None:
    """Return the translation across the beam with which a turn lays every atom on a like one, or None."""
    turned = np.c_[cell.positions[:, :2] @ orders, cell.positions[:, 2]]
    kinds, counts = np.unique(cell.numbers, return_counts=True)
    rare = np.flatnonzero(cell.numbers == kinds[counts.argmin()])
    for shift in cell.positions[rare] - turned[rare[0]]:
        if abs(shift[2] - round(shift[2])) * cell.repeat < _SAME and _fits(cell, turned + np.r_[shift[:2], 0.0]):
            return np.asarray(shift[:2])
    return None


def _fits(cell: ZoneCell, places: Array) -> bool:
    for kind in np.unique(cell.numbers):
        some = cell.numbers == kind
        apart = places[some, None] - cell.positions[some][None]
        apart -= np.round(apart)
        squared = ((apart[..., :2] @ cell.across) ** 2).sum(axis=-1) + (apart[..., 2] * cell.repeat) ** 2
        if squared.min(axis=1).max() > _SAME**2:
            return False
    return True


@dataclass(frozen=True)
class Orbits:
    """Incident tilts of which one of each orbit is computed.

    ``nodes`` (n, 2) in units of the disk's radius: the computed ones; ``operations``: the identity and those that make
    the others of them; ``fitted``: ``disks.least_squares`` of all.
    """

    nodes: Array
    operations: tuple[Operation, ...]
    fitted: Array

    def waves(self, computed: Tensor, beams: Integers, shape: tuple[int, int, int]) -> Tensor:
        """Return the amplitudes of the beams (flat indices) at all tilts from those of all beams at ``nodes``."""
        _, n2, n1 = shape
        signed = [np.fft.fftfreq(n, 1.0 / n).astype(np.int64) for n in (n1, n2)]
        orders = np.stack([signed[0][beams % n1], signed[1][beams // n1]])
        some = computed[torch.from_numpy(_off_the_axis(self.nodes))]
        copies = [computed[:, torch.from_numpy(beams)]]
        for one in self.operations[1:]:
            h, k = one.orders @ orders
            phases = torch.from_numpy(np.exp(-2j * np.pi * (one.shift @ orders)).astype(np.complex64))
            copies.append(some[:, torch.from_numpy(k % n2 * n1 + h % n1)] * phases)
        return torch.cat(copies)


def orbits(operations: list[Operation], degree: int) -> Orbits | None:
    """Return the orbits of tilts for polynomials of ``degree``, or None where symmetry leaves hardly fewer tilts.

    Rings are those of ``disks.tilts`` with at least as many tilts, evenly spaced, none on a mirror.
    """
    mirrors = [one.turn for one in operations if np.linalg.det(one.turn) < 0]
    start = math.atan2(mirrors[0][1, 0], mirrors[0][0, 0]) / 2.0 if mirrors else 0.0
    rings = []
    for ring, (radius, count) in enumerate(disks.rings(degree), start=1):
        computed = math.ceil(count / len(operations)) if radius > _AXIS else 1
        places = np.arange(computed) + (0.5 if mirrors else 0.5 * (ring % 2))
        angles = start + 2.0 * np.pi / len(operations) * places / computed
        rings.append(radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    nodes = np.concatenate(rings)
    if len(nodes) > _WORTH * len(disks.tilts(degree)):
        return None
    return Orbits(nodes, tuple(operations), disks.least_squares(degree, all_tilts(nodes, operations)))


def all_tilts(nodes: Array, operations: Sequence[Operation]) -> Array:
    """Return the whole orbits of ``nodes``: operation by operation, a tilt along the beam once."""
    off = nodes[_off_the_axis(nodes)]
    return np.concatenate([nodes, *(off @ one.turn.T for one in operations[1:])])


def _off_the_axis(nodes: Array) -> Integers:
    return np.flatnonzero(np.hypot(*nodes.T) > _AXIS)
