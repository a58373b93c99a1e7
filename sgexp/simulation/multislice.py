"""The multislice engine: probes through a slab, slice by slice (Cowley & Moodie 1957; Kirkland 2010, chapter 6).

    psi(r) <- IFFT[ P(k) FFT[ psi(r) exp(i phi_s(r)) ] ],   P(k) = exp(-i pi lambda dz k^2)   (Kirkland eqs. 6.19, 6.90)

Waves are complex64 and batched over probes. Intensities are fractions of the incident beam.
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
from sgexp.simulation.physics import wavelength
from sgexp.simulation.potential import slice_phases, transmission
from sgexp.simulation.protocol import Slab
from sgexp.simulation.schema import ProtocolConfig

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
    """

    name = "multislice"

    def __init__(
        self, band_limit: float = 1.0, device: str = "cpu", placement: str = "exact", extent: bool = False
    ) -> None:
        available = torch.cuda.is_available()
        if device == "cuda" and not available:
            raise ConfigError("simulation.engine.device=cuda, but torch sees no GPU here: use device=cpu or auto.")
        self.band_limit, self.placement, self.extent = band_limit, placement, extent
        self.device = ("cuda" if available else "cpu") if device == "auto" else device

    def zone_pattern(
        self,
        crystal: Crystal,
        zone: protocol.Zone,
        config: ProtocolConfig,
        energy_kev: float,
        rng: np.random.Generator,
        still: bool = False,
    ) -> ZonePattern:
        """Return the pattern of one zone: one frozen thermal configuration drawn with ``rng``, or atoms at rest."""
        grid = (config.grid, config.grid)
        slab = protocol.cut_slab(crystal, zone, config)
        slab = protocol.displaced(slab, 0.0 if still else protocol.rms_displacements(slab.numbers, config), rng)
        if self.extent:
            slab = namsa.extent_of_atoms(slab, crystal.name)
        if self.placement == "pixel":
            slab = namsa.on_pixels(slab, grid)
        positions = protocol.probe_positions(config.probes, slab.box)
        beam = Illumination(energy_kev, zone.semi_angle, config.aperture_edge, positions, zone.mistilt)
        box = slab.box if self.extent else None
        return ZonePattern(self.pattern(slab, beam, grid), self.name, slab.slice_thickness, slab.thickness, box)

    def pattern(self, slab: Slab, beam: Illumination, grid: tuple[int, int]) -> np.ndarray:
        """Return the pattern averaged over the probes, (Ny, Nx) float32, q = 0 at [Ny/2, Nx/2], q_y down, q_x right."""
        total = torch.zeros(grid, device=self.device)
        for waves in self.exit_waves(slab, beam, grid):
            for part in (waves.real, waves.imag):
                total += part.square().sum(dim=0)
        return torch.fft.fftshift(total / len(beam.positions)).cpu().numpy()

    @torch.inference_mode()
    def exit_waves(self, slab: Slab, beam: Illumination, grid: tuple[int, int], limited: bool = True) -> list[Tensor]:
        """Return the exit waves in reciprocal space in batches (P, Ny, Nx); ``limited=False``: no band limit.

        Each batch goes through several slices before the next one, so that it is in the cache. The transforms' factor
        1 / (Ny Nx) is part of the propagator.
        """
        points = grid[0] * grid[1]
        propagator = self._propagator(grid, slab, beam, limited) / points
        at_once = max(1, _PIXELS_AT_ONCE[self.device] // points)
        batches = [self._probes(grid, some, slab, beam) for some in batched_rows(beam.positions, at_once)]
        for gratings in self._gratings(slab, grid, beam.energy_kev):
            for index, waves in enumerate(batches):
                for grating in gratings:
                    waves = torch.fft.ifft2(waves, norm="forward").mul_(grating)  # new memory is quicker than out=
                    waves = torch.fft.fft2(waves).mul_(propagator)
                batches[index] = waves
        return batches

    def _gratings(self, slab: Slab, grid: tuple[int, int], energy_kev: float) -> Iterator[list[Tensor]]:
        """Yield exp(i phase) of the slices in order, as many at once as a batch should go through."""
        some: list[Tensor] = []
        for phases in slice_phases(slab, grid, energy_kev, self.device):
            some.extend(transmission(phases))
            if len(some) * grid[0] * grid[1] >= _GRATINGS_AT_ONCE[self.device]:
                yield some
                some = []
        if some:
            yield some

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


def frequencies(grid: tuple[int, int], box: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return k_y (Ny, 1) and k_x (1, Nx) in 1/Å, in the order of an FFT."""
    (ny, nx), (lx, ly) = grid, box
    return np.fft.fftfreq(ny, ly / ny)[:, None], np.fft.fftfreq(nx, lx / nx)[None]


def batched_rows(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Return ``rows`` in runs of at most ``size``."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
