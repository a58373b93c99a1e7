"""The multislice engine: probes through a slab, slice by slice (Cowley & Moodie 1957; Kirkland 2010, chapter 6).

    psi(r) <- IFFT[ P(k) FFT[ psi(r) exp(i phi_s(r)) ] ],   P(k) = exp(-i pi lambda dz k^2)   (Kirkland eqs. 6.19, 6.90)

Waves are complex64 and batched over probes. Intensities are fractions of the incident beam. Thermal motion is one
frozen configuration, or on the average (``thermal``): then smeared potentials, absorption and a diffuse background.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sgexp.crystallography.crystal import Crystal
from sgexp.errors import ConfigError
from sgexp.simulation import namsa, protocol
from sgexp.simulation.physics import phase_of_form_factor, wavelength
from sgexp.simulation.potential import form_factor, slice_sums, transmission
from sgexp.simulation.protocol import Slab
from sgexp.simulation.schema import ProtocolConfig
from sgexp.simulation.thermal import MeanFactors, diffuse_background

_PIXELS_AT_ONCE = {"cpu": 2**16, "cuda": 2**26}  # of all waves of a batch; on a CPU it should stay in the cache
_GRATINGS_AT_ONCE = {"cpu": 2**22, "cuda": 2**26}  # pixels of slices that a batch goes through before the next one


@dataclass(frozen=True)
class Illumination:
    """A convergent beam: ``semi_angle`` in rad; ``edge`` in Å (large: a hard aperture); ``positions`` (P, 2) in Å.

    ``tilt`` (x, y) in rad is the beam's direction off the slab's normal; the picture stays centred on it.
    """

    energy_kev: float
    semi_angle: float
    edge: float
    positions: np.ndarray
    tilt: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Motion:
    """Thermal motion on the average: B = 8 pi^2 u^2 in Å^2 of each atomic number, and whether it absorbs."""

    b: tuple[tuple[int, float], ...]
    absorbs: bool


@dataclass(frozen=True)
class ZonePattern:
    """One zone's pattern (Ny, Nx) float32, what computed it, and the slab it went through, in Å.

    ``box`` (x, y) in Å is the pattern's own, where it is not that of the settings.
    """

    pattern: np.ndarray
    engine: str
    slice_thickness: float
    thickness: float
    box: tuple[float, float] | None = None


class Multislice:
    """Diffraction patterns by multislice.

    Parameters
    ----------
    band_limit
        Radius of the band limit over the Nyquist frequency, 0 to 1. SMC-19 has 1 (the circle that touches the picture's
        edges); 2/3 rules out every alias and costs a third of the picture.
    device
        "cpu", "cuda", or "auto" (CUDA where there is one).
    placement
        "exact", or "pixel": atoms stand on the corner of the pixel that they are in, as in namsa.
    extent
        Whether the box is the extent of the displaced atoms, as in namsa, instead of the one asked for.
    thermal
        "frozen_phonons": one configuration of displaced atoms; "none", "debye_waller", "einstein": as in ``Tilt``, with
        the same form factors and background.
    """

    name = "multislice"

    def __init__(
        self,
        band_limit: float = 1.0,
        device: str = "cpu",
        placement: str = "exact",
        extent: bool = False,
        thermal: str = "frozen_phonons",
    ) -> None:
        available = torch.cuda.is_available()
        if device == "cuda" and not available:
            raise ConfigError("simulation.engine.device=cuda, but torch sees no GPU here: use device=cpu or auto.")
        self.band_limit, self.placement, self.extent, self.thermal = band_limit, placement, extent, thermal
        self.device = ("cuda" if available else "cpu") if device == "auto" else device

    def zone_pattern(
        self,
        crystal: Crystal,
        zone: protocol.Zone,
        config: ProtocolConfig,
        energy_kev: float,
        rng: np.random.Generator,
    ) -> ZonePattern:
        """Return the pattern of one zone; ``rng`` draws the frozen configuration, where there is one."""
        grid = (config.grid, config.grid)
        slab = protocol.cut_slab(crystal, zone, config)
        rms = protocol.rms_displacements(slab.numbers, crystal, config)
        slab = protocol.displaced(slab, rms if self.thermal == "frozen_phonons" else 0.0, rng)
        if self.extent:
            slab = namsa.extent_of_atoms(slab, crystal.name)
        if self.placement == "pixel":
            slab = namsa.on_pixels(slab, grid)
        positions = protocol.probe_positions(config.probes, slab.box)
        beam = Illumination(energy_kev, zone.semi_angle, config.aperture_edge, positions, zone.mistilt)
        box = slab.box if self.extent else None
        motion = None
        if self.thermal in ("debye_waller", "einstein") and rms.any():
            b = tuple(sorted(set(zip(slab.numbers.tolist(), (8.0 * np.pi**2 * rms**2).tolist(), strict=True))))
            motion = Motion(b, self.thermal == "einstein")
        pattern = self.pattern(slab, beam, grid, motion)
        return ZonePattern(pattern, self.name, slab.slice_thickness, slab.thickness, box)

    def pattern(
        self, slab: Slab, beam: Illumination, grid: tuple[int, int], motion: Motion | None = None
    ) -> np.ndarray:
        """Return the pattern averaged over the probes, (Ny, Nx) float32, q = 0 at [Ny/2, Nx/2], q_y down, q_x right.

        The atoms stand where the slab has them, or are on the average about it (``motion``).
        """
        total = torch.zeros(grid, device=self.device)
        absorbed: list[Tensor] = []
        for waves in self.exit_waves(slab, beam, grid, motion=motion, absorbed=absorbed):
            for part in (waves.real, waves.imag):
                total += part.square().sum(dim=0)
        elastic = torch.fft.fftshift(total / len(beam.positions)).cpu()
        if motion is None or not motion.absorbs:
            return elastic.numpy()
        lost = float(torch.stack(absorbed).double().sum()) / (len(beam.positions) * grid[0] * grid[1])
        diffuse = diffuse_background(elastic, slab.numbers, lost, dict(motion.b), slab.box)
        ky, kx = (np.fft.fftshift(k) for k in frequencies(grid, slab.box))
        return (elastic + diffuse).numpy() * (ky**2 + kx**2 < self.q_max(grid, slab.box) ** 2)

    @torch.inference_mode()
    def exit_waves(
        self,
        slab: Slab,
        beam: Illumination,
        grid: tuple[int, int],
        limited: bool = True,
        motion: Motion | None = None,
        absorbed: list[Tensor] | None = None,
    ) -> list[Tensor]:
        """Return the exit waves in reciprocal space in batches (P, Ny, Nx); ``limited=False``: no band limit.

        What gratings absorb is put into ``absorbed``, times the pixels and added up over a batch. Each batch goes
        through several slices before the next one, so that it is in the cache. The transforms' factor 1 / (Ny Nx) is
        part of the propagator.
        """
        points = grid[0] * grid[1]
        propagator = self._propagator(grid, slab, beam, limited) / points
        at_once = max(1, _PIXELS_AT_ONCE[self.device] // points)
        batches = [self._probes(grid, some, slab, beam) for some in batched_rows(beam.positions, at_once)]
        watched = absorbed is not None and motion is not None and motion.absorbs
        for gratings in self._gratings(slab, grid, beam.energy_kev, motion):
            for index, waves in enumerate(batches):
                for grating in gratings:
                    waves = torch.fft.ifft2(waves, norm="forward")  # new memory is quicker than out=
                    before = _power(waves) if watched else None
                    waves.mul_(grating)
                    if absorbed is not None and before is not None:
                        absorbed.append(before - _power(waves))
                    waves = torch.fft.fft2(waves).mul_(propagator)
                batches[index] = waves
        return batches

    def _gratings(
        self, slab: Slab, grid: tuple[int, int], energy_kev: float, motion: Motion | None
    ) -> Iterator[list[Tensor]]:
        """Yield what multiplies the wave in the slices in order, as many at once as a batch should go through."""
        some: list[Tensor] = []
        for several in self._transmissions(slab, grid, phase_of_form_factor(energy_kev), motion):
            some.extend(several)
            if len(some) * grid[0] * grid[1] >= _GRATINGS_AT_ONCE[self.device]:
                yield some
                some = []
        if some:
            yield some

    def _transmissions(
        self, slab: Slab, grid: tuple[int, int], scale: float, motion: Motion | None
    ) -> Iterator[Tensor]:
        """Yield exp(i phase) of some slices at a time; where motion absorbs, exp(i phase - variance / 2)."""
        factors = form_factor if motion is None else MeanFactors(motion.b)
        phases = slice_sums(slab, grid, factors, self.device)
        if motion is None or not motion.absorbs:
            for sums in phases:
                yield transmission(sums.mul_(scale))
            return
        lost = slice_sums(slab, grid, MeanFactors(motion.b, absorptive=True), self.device)
        for sums, halves in zip(phases, lost, strict=True):
            yield torch.polar(halves.mul_(-(scale**2)).exp_(), sums.mul_(scale))

    def _probes(self, grid: tuple[int, int], positions: np.ndarray, slab: Slab, beam: Illumination) -> Tensor:
        """Return the probes in reciprocal space, (P, Ny, Nx), each of total intensity 1.

        The aperture is namsa's: amplitude 1 / (1 + exp(-2 edge (k0 - k))), k0 = semi-angle / lambda.
        """
        ky, kx = frequencies(grid, slab.box)
        radius = np.sqrt(ky**2 + kx**2)
        exponent = 2.0 * beam.edge * (beam.semi_angle / wavelength(beam.energy_kev) - radius)
        aperture = 1.0 / (1.0 + np.exp(np.clip(-exponent, -80.0, 80.0)))
        aperture /= np.sqrt((aperture**2).sum())
        shift_x = np.exp(-2j * np.pi * positions[:, 0, None] * kx[0])
        shift_y = np.exp(-2j * np.pi * positions[:, 1, None] * ky[:, 0])
        along_y = torch.from_numpy((aperture * shift_y[:, :, None]).astype(np.complex64)).to(self.device)
        return along_y.mul_(torch.from_numpy(shift_x[:, None, :].astype(np.complex64)).to(self.device))

    def _propagator(self, grid: tuple[int, int], slab: Slab, beam: Illumination, limited: bool) -> Tensor:
        """Return P(k); a beam off the normal by t, in 1/Å, has |k + t|^2 - |t|^2 in the place of k^2."""
        along_y, along_x = frequencies(grid, slab.box)
        turn = -1j * np.pi * wavelength(beam.energy_kev) * slab.slice_thickness
        tilt_x, tilt_y = (angle / wavelength(beam.energy_kev) for angle in beam.tilt)
        values = np.exp(turn * along_y * (along_y + 2.0 * tilt_y)) * np.exp(turn * along_x * (along_x + 2.0 * tilt_x))
        if limited:
            values *= along_y**2 + along_x**2 < self.q_max(grid, slab.box) ** 2
        return torch.from_numpy(values.astype(np.complex64)).to(self.device)

    def q_max(self, grid: tuple[int, int], box: tuple[float, float]) -> float:
        """Return the radius of the band limit in 1/Å."""
        return self.band_limit * min(grid[1] / box[0], grid[0] / box[1]) / 2.0


def _power(waves: Tensor) -> Tensor:
    """Return the sum of |psi|^2."""
    parts = torch.view_as_real(waves).flatten()
    return parts.dot(parts)


def frequencies(grid: tuple[int, int], box: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return k_y (Ny, 1) and k_x (1, Nx) in 1/Å, in the order of an FFT."""
    (ny, nx), (lx, ly) = grid, box
    return np.fft.fftfreq(ny, ly / ny)[:, None], np.fft.fftfreq(nx, lx / nx)[None]


def batched_rows(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Return ``rows`` in runs of at most ``size``."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
