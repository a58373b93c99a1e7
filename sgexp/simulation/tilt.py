"""The fast engine: plane waves through one cell of the crystal instead of probes through a box.

Averaged over the probe's positions, a convergent-beam pattern is an incoherent sum over incident plane waves k,

    I(q) = sum_G |A(q - G)|^2 |S_G(q - G)|^2,

A the aperture and S_G(k) the amplitude of the beam at k + G. docs/simulation.md derives it. S_G(k) is computed by
multislice on one cell, k being carried as a phase (the propagator takes |k + G|^2), for a few k and interpolated.

Where the slab has no period across the beam, its shift along the beam from cell to cell becomes a third coordinate s
(see ``cells``): the potential at height z is a function F(r, s + z), periodic in the small projected cell and in s, and
its harmonic n in s is the Laue zone n, at the transverse wave vectors G + n h.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sgexp.crystallography.crystal import Crystal
from sgexp.simulation import disks, orbits, protocol
from sgexp.simulation.cells import Integers, ZoneCell, periodic_cell, primitive, zone_cell
from sgexp.simulation.gridding import fast_size
from sgexp.simulation.multislice import Multislice, ZonePattern, batched_rows
from sgexp.simulation.physics import phase_of_form_factor, wavelength
from sgexp.simulation.potential import form_factor
from sgexp.simulation.schema import ProtocolConfig
from sgexp.simulation.thermal import absorptive_form_factor, diffuse_background, smeared_form_factor

Array = NDArray[np.float64]
ByElement = Mapping[int, float]  # atomic number -> B = 8 pi^2 u^2 in Å^2; empty: atoms at rest

_EDGE = 1e-6  # of a slice: atoms this close below a slice's face belong to the next one, as in ``potential``
_POINTS_AT_ONCE = {
    "cpu": 2**16,
    "cuda": 2**26,
}  # of the waves of a batch of tilts; on a CPU they should stay in the cache
_WATCHED = 3  # tilts in which the absorption is added up; it hardly depends on the tilt
_UNSEEN = 1e-8  # beams that stay weaker than this fraction of the incident one are not painted
_MOST_DEGREE = 20  # polynomials of a higher degree are ill-conditioned in single precision


@dataclass(frozen=True)
class Grid:
    """The plane waves of one cell: ``shape`` (layers, n2, n1) of the transforms and, for each, its transverse part."""

    shape: tuple[int, int, int]
    beams: Array  # (layers, n2, n1, 2) in 1/Å
    limit: float  # band limit in 1/Å

    @property
    def points(self) -> int:
        """Points of one wave."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Slices:
    """Slices of a slab.

    ``phases`` (P, n2, n1): distinct gratings at gamma lambda = 1 / Å; ``absorption`` likewise at its square, or None;
    ``order`` (slices, layers): the grating of each sheet in each slice; ``thickness`` (slices,) in Å.
    """

    phases: Tensor
    absorption: Tensor | None
    order: NDArray[np.int64]
    thickness: Array


class Tilt:
    """Position-averaged patterns by plane waves on one cell; zones whose cell is too large are left to multislice.

    Parameters
    ----------
    sampling
        Å a pixel of the cell, at most; sets the angles up to which waves are followed.
    max_slice
        Slices are no thicker than this, in Å, and a whole number of them is a repeat along the beam.
    laue_reach
        Where the slab has no period across the beam: height in 1/Å up to which Laue zones are followed.
    degree
        Of the polynomials in the incident tilt; (degree + 1) (degree + 2) / 2 tilts are computed. None: as the
        thickness asks for. A lower one blurs disks; slabs that ask for more than 20 are left to multislice.
    thermal
        "none": atoms at rest; "debye_waller": smeared potentials; "einstein": these, absorption and the diffuse
        background. Displacements are the protocol's, of each element its own where they say so.
    max_points
        Zones whose cell needs more points than this are left to multislice, with the same thermal motion.
    """

    name = "tilt"

    def __init__(
        self,
        sampling: float = 0.2,
        max_slice: float = 1.0,
        laue_reach: float = 0.25,
        degree: int | None = None,
        thermal: str = "einstein",
        max_points: int = 20_000,
        device: str = "cpu",
    ) -> None:
        self.fallback = Multislice(device=device, thermal=thermal)
        self.device = self.fallback.device
        self.sampling, self.max_slice, self.laue_reach = sampling, max_slice, laue_reach
        self.degree, self.thermal, self.max_points = degree, thermal, max_points
        self._crystal: Crystal | None = None
        self._basis: tuple[Array, Integers] | None = None
        self._cells: dict[tuple[object, ...], tuple[ZoneCell, Grid]] = {}
        self._cut: dict[tuple[object, ...], Slices] = {}
        self._turns: Array | None = None
        self._equivalent: dict[tuple[object, ...], orbits.Orbits | None] = {}

    def q_max(self, grid: tuple[int, int], box: tuple[float, float]) -> float:
        """Return the radius in 1/Å up to which the patterns hold scattering: Nyquist's, as in multislice."""
        return self.fallback.q_max(grid, box)

    def zone_pattern(
        self,
        crystal: Crystal,
        zone: protocol.Zone,
        config: ProtocolConfig,
        energy_kev: float,
        rng: np.random.Generator,
    ) -> ZonePattern:
        """Return the pattern of one zone; no atom is displaced, so that ``rng`` is not drawn from."""
        if self.leaves(crystal, zone, config, energy_kev):
            return self.fallback.zone_pattern(crystal, zone, config, energy_kev, rng)
        rms = protocol.rms_displacements(crystal.numbers, crystal, config)
        still = self.thermal == "none" or not rms.any()
        b = {} if still else dict(zip(crystal.numbers.tolist(), (8.0 * np.pi**2 * rms**2).tolist(), strict=True))
        cell, grid = self._cell(crystal, zone, config)
        slices = self._slices(zone, cell, grid, config, b)
        size, box = (config.grid, config.grid), (config.box, config.box)
        aperture, edge = zone.semi_angle / wavelength(energy_kev), config.aperture_edge
        radius, q_max = disks.disk_radius(aperture, edge), self.q_max(size, box)
        degree = self._degree(zone, config, energy_kev)
        equivalent = self._orbits(crystal, zone, cell, grid, degree)
        nodes = (disks.tilts(degree) if equivalent is None else equivalent.nodes) * radius
        nodes = nodes + np.array(zone.mistilt) / wavelength(energy_kev)
        waves, absorbed = amplitudes(grid, slices, energy_kev, nodes, self.device)
        beams, fitted = grid.beams.reshape(-1, 2), None
        if equivalent is not None:
            near = np.flatnonzero(np.hypot(*beams.T) < q_max + radius)
            waves, beams, fitted = equivalent.waves(waves, near, grid.shape), beams[near], equivalent.fitted
        strongest = waves.abs().square().amax(dim=0).numpy()
        seen = np.flatnonzero((strongest > _UNSEEN) & (np.hypot(*beams.T) < q_max + radius))
        picture = disks.paint(waves[:, torch.from_numpy(seen)], beams[seen], aperture, edge, size, box, fitted)
        if self.thermal == "einstein" and not still:
            picture += diffuse_background(picture, cell.numbers, absorbed, b, box)
        ky, kx = (np.arange(-(n // 2), n - n // 2) / length for n, length in zip(size, box[::-1], strict=True))
        pattern = picture.numpy() * (ky[:, None] ** 2 + kx[None] ** 2 < q_max**2)
        return ZonePattern(pattern, self.name, float(slices.thickness[0]), float(slices.thickness.sum()))

    def _orbits(
        self, crystal: Crystal, zone: protocol.Zone, cell: ZoneCell, grid: Grid, degree: int
    ) -> orbits.Orbits | None:
        """Return the orbits of a zone's tilts, None where there are none: few tilts, or a beam that misses the zone."""
        if self.degree is not None or any(zone.mistilt):
            return None
        if self._turns is None:
            self._turns = orbits.rotations(crystal)
        key = (zone.uvw, zone.axes.tobytes(), grid.shape, degree)
        if key not in self._equivalent:
            kept = orbits.operations(self._turns, cell, zone.axes, grid.shape)
            self._equivalent[key] = orbits.orbits(kept, degree) if len(kept) > 1 else None
        return self._equivalent[key]

    def leaves(self, crystal: Crystal, zone: protocol.Zone, config: ProtocolConfig, energy_kev: float) -> bool:
        """Say whether a zone is left to multislice: its cell is too large, or the slab too thick for interpolation."""
        _, grid = self._cell(crystal, zone, config)
        degree = max(self._needed(zone, config, energy_kev), self.degree or 0)
        return grid.points > self.max_points or degree > _MOST_DEGREE

    def _degree(self, zone: protocol.Zone, config: ProtocolConfig, energy_kev: float) -> int:
        return self._needed(zone, config, energy_kev) if self.degree is None else self.degree

    def _needed(self, zone: protocol.Zone, config: ProtocolConfig, energy_kev: float) -> int:
        radius = disks.disk_radius(zone.semi_angle / wavelength(energy_kev), config.aperture_edge)
        q_max = self.q_max((config.grid, config.grid), (config.box, config.box))
        return needed_degree(energy_kev, protocol.depth(zone, config), q_max, radius)

    def _cell(self, crystal: Crystal, zone: protocol.Zone, config: ProtocolConfig) -> tuple[ZoneCell, Grid]:
        """Return ``plane_waves`` of a zone, which all energies of a crystal share."""
        if crystal is not self._crystal:
            self._crystal, self._basis, self._cells, self._cut = crystal, primitive(crystal), {}, {}
            self._turns, self._equivalent = None, {}
        settings = (config.grid, config.box, config.aperture_edge, *config.energies_kev)
        key = (zone.uvw, zone.axes.tobytes(), zone.semi_angle, zone.mistilt, *settings)
        if key not in self._cells:
            self._cells[key] = self.plane_waves(crystal, zone, config)
        return self._cells[key]

    def _slices(self, zone: protocol.Zone, cell: ZoneCell, grid: Grid, config: ProtocolConfig, b: ByElement) -> Slices:
        """Return the slices of a zone, which all energies of a crystal share."""
        depth = protocol.depth(zone, config)
        key = (zone.uvw, zone.axes.tobytes(), grid.shape, grid.limit, depth, *sorted(b.items()))
        if key not in self._cut:
            absorb = self.thermal == "einstein" and bool(b)
            self._cut[key] = cut(cell, grid, depth, self.max_slice, b, absorb)
        return self._cut[key]

    def plane_waves(self, crystal: Crystal, zone: protocol.Zone, config: ProtocolConfig) -> tuple[ZoneCell, Grid]:
        """Return the cell for a zone, with a period of the slab where that is the smaller one, and its plane waves."""
        cell = zone_cell(crystal, zone.uvw, zone.axes, self._basis if crystal is self._crystal else None)
        layers = 2 * math.ceil(self.laue_reach * cell.repeat) + 1
        periodic = periodic_cell(cell, layers)
        if periodic is not None:
            cell, layers = periodic, 1
        # Disks are largest at the highest energy; one band limit serves all.
        aperture = zone.semi_angle / wavelength(max(config.energies_kev))
        radius = disks.disk_radius(aperture, config.aperture_edge)
        q_max = self.q_max((config.grid, config.grid), (config.box, config.box))
        off = math.hypot(*zone.mistilt) / wavelength(max(config.energies_kev))
        return cell, make_grid(cell, layers, max(q_max + radius, 0.5 / self.sampling) + off)


def needed_degree(energy_kev: float, depth: float, q_max: float, radius: float) -> int:
    """Return the degree of polynomials in the tilt that follows S_G(k) for |G| up to ``q_max``.

    Seen from mid-slab, scattering at either face turns the phase of beam G by pi lambda t G.k: an exponential exp(i x)
    with x up to pi lambda t q_max radius, which polynomials of a degree a little above x follow.
    """
    return math.ceil(math.pi * wavelength(energy_kev) * depth * min(q_max, 2.0) * radius) + 3


def make_grid(cell: ZoneCell, layers: int, limit: float) -> Grid:
    """Return the plane waves up to ``limit`` in 1/Å, on a grid of the cell whose Nyquist frequency it is."""
    n1, n2 = (fast_size(2.0 * limit * length) for length in np.linalg.norm(cell.across, axis=1))
    reciprocal = np.linalg.inv(cell.across).T  # rows b1, b2
    orders = [np.fft.fftfreq(n, 1.0 / n) for n in (layers, n2, n1)]
    n, k, h = np.meshgrid(*orders, indexing="ij")
    beams = (h - n * cell.shifts[0])[..., None] * reciprocal[0] + (k - n * cell.shifts[1])[..., None] * reciprocal[1]
    return Grid((layers, n2, n1), beams, limit)


def cut(
    cell: ZoneCell, grid: Grid, depth: float, most: float, b: ByElement | None = None, absorb: bool = False
) -> Slices:
    """Cut a slab of ``depth`` Å into slices of at most ``most`` Å that fit the repeat; the last one may be thinner."""
    layers = grid.shape[0]
    parts = layers * max(1, math.ceil(cell.repeat / most / layers - 1e-9))
    step = cell.repeat / parts
    whole = int(depth / step + 1e-6)
    order = (np.arange(whole)[:, None] + np.arange(layers) * (parts // layers)) % parts
    thickness: Array = np.full(whole, step)
    starts: Array = step * np.arange(parts, dtype=np.float64)
    spans: Array = np.full(parts, step)
    rest = depth - whole * step
    if rest > 1e-6 * step:
        thickness = np.r_[thickness, rest]
        order = np.r_[order, [parts + np.arange(layers)]]
        starts = np.r_[starts, whole * step + np.arange(layers) * cell.repeat / layers]
        spans = np.r_[spans, np.full(layers, rest)]
    used, order = np.unique(order, return_inverse=True)
    phases = gratings(cell, grid, starts[used], spans[used], b)
    absorption = gratings(cell, grid, starts[used], spans[used], b, absorptive=True) if absorb else None
    return Slices(phases, absorption, order.reshape(-1, layers), thickness)


def gratings(
    cell: ZoneCell, grid: Grid, starts: Array, spans: Array, b: ByElement | None = None, absorptive: bool = False
) -> Tensor:
    """Return sum_G sum_j f_j(|G|) exp(2 pi i G.(r - r_j)) / area over the atoms in each [start, start + span).

    (slices, n2, n1) float32, on the sheet s = 0. Where the slab has no period, heights are known as well as the Laue
    zones tell them: a slice takes part of an atom that is near.
    """
    layers, n2, n1 = grid.shape
    squared = (grid.beams**2).sum(axis=-1)
    total = np.zeros((len(starts), n2, n1), dtype=np.complex64)
    h, k = np.fft.fftfreq(n1, 1.0 / n1), np.fft.fftfreq(n2, 1.0 / n2)
    for number in np.unique(cell.numbers).tolist():
        places = cell.positions[cell.numbers == number]
        if absorptive:
            factors = absorptive_form_factor(number, squared, (b or {})[number])
        else:
            factors = smeared_form_factor(number, squared, b[number]) if b else form_factor(number, squared)
        factors = (factors * (squared < grid.limit**2) / cell.area).astype(np.float32)
        along_1 = np.exp(-2j * np.pi * places[:, :1] * h).astype(np.complex64)
        along_2 = np.exp(-2j * np.pi * places[:, 1:2] * k).astype(np.complex64)
        if cell.periodic:
            for window, count in enumerate(_inside(places[:, 2] * cell.repeat, starts, spans, cell.repeat)):
                some = np.flatnonzero(count)
                total[window] += factors[0] * ((along_2[some] * count[some, None]).T @ along_1[some])
            continue
        for layer, n in enumerate(np.fft.fftfreq(layers, 1.0 / layers)):
            turned = along_2 * np.exp(-2j * np.pi * n * places[:, 2:]).astype(np.complex64)
            harmonic = factors[layer] * (turned.T @ along_1)
            share = spans / cell.repeat * np.sinc(n * spans / cell.repeat)
            share = share * np.exp(2j * np.pi * n * (starts + spans / 2.0) / cell.repeat)
            total += share.astype(np.complex64)[:, None, None] * harmonic
    return torch.fft.ifft2(torch.from_numpy(total), norm="forward").real.contiguous()


def _inside(heights: Array, starts: Array, spans: Array, repeat: float) -> NDArray[np.float32]:
    """Return how many images, ``repeat`` Å apart, of each atom lie in each slice, (slices, atoms)."""
    heights = heights + _EDGE * spans.max()
    ends = (starts + spans)[:, None]
    counts = np.ceil((ends - heights) / repeat) - np.ceil((starts[:, None] - heights) / repeat)
    return counts.astype(np.float32)


@torch.inference_mode()
def amplitudes(
    grid: Grid, slices: Slices, energy_kev: float, incident: Array, device: str = "cpu"
) -> tuple[Tensor, float]:
    """Return S_G(k) for incident k (tilts, 2) in 1/Å, (tilts, points) complex64, and the fraction that was absorbed.

    S is as seen from mid-slab, without the phase of half a free flight, so that it varies as little as can be with k.
    Waves end at |k + G| = ``grid.limit``, as those of the multislice engine do.
    """
    scale, lam = phase_of_form_factor(energy_kev), wavelength(energy_kev)
    lost = torch.zeros(()) if slices.absorption is None else slices.absorption * -(scale**2)
    transmission = torch.polar(lost.exp().expand_as(slices.phases).contiguous(), slices.phases * scale).to(device)
    order = torch.from_numpy(slices.order).to(device)
    axes = (1, 2, 3) if grid.shape[0] > 1 else (2, 3)
    batches: list[Tensor] = []
    powers: list[Tensor] = []
    for batch, some in enumerate(batched_rows(incident, max(1, _POINTS_AT_ONCE[device] // grid.points))):
        detour = (grid.beams**2).sum(axis=-1) + 2.0 * np.tensordot(some, grid.beams, axes=(1, 3))  # |k + G|^2 - |k|^2
        inside = detour + (some**2).sum(axis=1)[:, None, None, None] < grid.limit**2
        kept = torch.from_numpy(inside.astype(np.float32)).to(device)
        turns = torch.from_numpy((-np.pi * lam * detour).astype(np.float32)).to(device)
        # The transforms' factor 1 / points is part of the propagators.
        propagators = {
            step: torch.polar(kept / grid.points, turns * float(step)) for step in np.unique(slices.thickness)
        }
        watched = batch == 0 and slices.absorption is not None
        waves = torch.zeros(detour.shape, dtype=torch.complex64, device=device)
        waves[:, 0, 0, 0] = 1.0
        for row, step in zip(order, slices.thickness, strict=True):
            waves = torch.fft.ifftn(waves, dim=axes, norm="forward")
            if watched:
                powers.append(_power(waves[:_WATCHED]))
            waves.mul_(transmission[row])
            if watched:
                powers.append(_power(waves[:_WATCHED]))
            waves = torch.fft.fftn(waves, dim=axes).mul_(propagators[step])
        batches.append(waves.mul_(torch.polar(kept, turns * float(-slices.thickness.sum() / 2.0))).flatten(1).cpu())
    return torch.cat(batches), _absorbed(powers, min(_WATCHED, len(batches[0])) * grid.points)


def _power(waves: Tensor) -> Tensor:
    parts = torch.view_as_real(waves).flatten()
    return parts.dot(parts)


def _absorbed(powers: list[Tensor], waves: int) -> float:
    """Return what was lost between the powers before and after each slice's grating, as a fraction of one wave."""
    if not powers:
        return 0.0
    before, after = torch.stack(powers).double().view(-1, 2).sum(dim=0).tolist()
    return (before - after) / waves
