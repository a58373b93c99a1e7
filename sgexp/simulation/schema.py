"""The knobs of a simulation: which patterns are made (the protocol) and with what they are computed (the engine)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from sgexp.schema import Component, bounded, one_of

COARSEST_SAMPLING = 0.4
"""Å a pixel; a coarser grid cuts off scattering (docs/simulation.md)."""

ENGINE_VERSION = 1
"""To be raised with every change of code that changes patterns: data of another version are made again."""

THIN = 100.0
"""Å: in slabs of SMC-19's protocol up to here the fast engine with few tilts left no zone to multislice."""

SAME_RESULT = ("processes", "device")
"""Settings, of a simulation or its engine, that change neither files nor values (beyond rounding)."""


THERMAL = ("none", "debye_waller", "einstein", "frozen_phonons")
"""Thermal motion by the protocol's displacements, the same in all engines: atoms at rest; smeared atoms; these with
absorption and a diffuse background; one frozen configuration."""


@dataclass(kw_only=True)
class MultisliceEngine(Component):
    """Frozen-lattice multislice in single precision, batched over probes."""

    target: ClassVar[str] = "sgexp.simulation.multislice.Multislice"

    band_limit: float = bounded(1.0, low=0.1, high=1.0)  # radius of the band limit over the Nyquist frequency
    placement: str = one_of("exact", "exact", "pixel")  # where atoms stand
    extent: bool = False  # whether the box is the extent of the displaced atoms
    thermal: str = one_of("frozen_phonons", *THERMAL)
    device: str = one_of("cpu", "cpu", "cuda", "auto")


@dataclass(kw_only=True)
class TiltEngine(Component):
    """Position-averaged patterns from plane waves on one cell of the crystal; large cells are left to multislice."""

    target: ClassVar[str] = "sgexp.simulation.tilt.Tilt"

    sampling: float = bounded(0.2, low=0.02, high=COARSEST_SAMPLING)  # angstrom a pixel of the cell, at most
    max_slice: float = bounded(1.0, low=0.1, high=20.0)  # angstrom
    laue_reach: float = bounded(0.25, low=0.0, high=2.0)  # 1/angstrom
    degree: int | None = bounded(None, low=2, high=24)  # of the polynomials in the tilt; None: from the thickness
    thermal: str = one_of("einstein", *THERMAL)
    max_points: int = bounded(20_000, low=0, high=10_000_000)
    device: str = one_of("cpu", "cpu", "cuda", "auto")

    def contradiction(self, key: str) -> str | None:
        """Refuse displaced atoms, which repeat in no cell."""
        if self.thermal == "frozen_phonons":
            return (
                f"{key}.thermal=frozen_phonons, but this engine computes on one cell of the crystal, and displaced "
                f"atoms repeat in none: use {key}.thermal=einstein (their mean), or simulation/engine=multislice"
            )
        return None


@dataclass(kw_only=True)
class IdealDetector(Component):
    """No instrument: what arrives at the detector is what is stored."""

    target: ClassVar[str] = "sgexp.simulation.detector.Ideal"


@dataclass(kw_only=True)
class CameraDetector(Component):
    """A camera whose settings are drawn for every pattern, each from its range; counts over the dose are stored."""

    target: ClassVar[str] = "sgexp.simulation.detector.Camera"

    dose: list[float] = bounded([1e5, 1e7], low=1.0, high=1e12)  # incident electrons of a pattern
    background: list[float] = bounded([0.0, 0.2], low=0.0, high=0.95)  # share of the electrons
    background_width: list[float] = bounded([0.05, 0.3], low=1e-3, high=10.0)  # of the picture's width
    blur: list[float] = bounded([0.3, 1.0], low=0.0, high=100.0)  # stored pixels
    saturation: list[float] | None = bounded([1e4, 1e6], low=1.0, high=1e12)  # counts of a pixel; None: no limit
    beam_stop: float = bounded(0.2, low=0.0, high=1.0)  # share of the patterns
    beam_stop_width: list[float] = bounded([0.03, 0.1], low=0.0, high=1.0)  # of the picture's width
    miscentring: float = bounded(0.02, low=0.0, high=0.5)  # of the picture's width
    ellipticity: float = bounded(0.02, low=0.0, high=0.5)  # axial ratio less one

    def contradiction(self, key: str) -> str | None:
        """Refuse ranges that are no pair of rising numbers."""
        for name in ("dose", "background", "background_width", "blur", "saturation", "beam_stop_width"):
            limits = getattr(self, name)
            if limits is not None and (said := not_a_range(limits, f"{key}.{name}")) is not None:
                return said
        return None


def not_a_range(limits: list[float], key: str) -> str | None:
    """Say what is wrong with a list that should be [lowest, highest]."""
    if len(limits) == 2 and limits[0] <= limits[1]:
        return None
    listed = ", ".join(f"{value:g}" for value in limits)
    return f"{key}=[{listed}] is no range: give {key}=[lowest,highest]"


@dataclass(kw_only=True)
class ProtocolConfig:
    """What all protocols have in common: grid, probes, energies, atoms' motion, files, engine and detector."""

    grid: int = bounded(128, low=16, high=4096)
    box: float = bounded(50.0, low=5.0, high=1000.0)  # angstrom
    pixels: int = bounded(64, low=8, high=2048)
    probes: int = bounded(1, low=1, high=4096)
    energies_kev: list[float] = bounded([100.0 + 10.0 * k for k in range(10)], low=20.0, high=1000.0)
    energies_per_material: int = bounded(1, low=1, high=100)
    aperture_edge: float = bounded(80.0, low=1.0, high=1e4)  # angstrom
    displacement: float = bounded(0.07, low=0.0, high=1.0)  # angstrom, rms along each axis
    element_displacement: dict[str, float] = field(default_factory=dict)  # of single elements, symbol -> angstrom
    file_displacement: bool = False  # whether a crystal's file says how its elements move, where it does
    max_cell_edge: float | None = bounded(None, low=1.0, high=1000.0)  # angstrom; None: no limit (SMC-19: 10)
    uvw: list[list[int]] | None = bounded(None, low=-100, high=100)  # three beam directions; None: the protocol's
    seed: int = bounded(1, low=0, high=2**31 - 1)
    processes: int | None = bounded(None, low=1, high=1024)  # None: one for each core
    materials_per_file: int = bounded(40, low=1, high=100_000)
    engine: Component = field(default_factory=MultisliceEngine)
    detector: Component = field(default_factory=IdealDetector)

    def contradiction(self, key: str) -> str | None:
        """Refuse grids coarser than 0.4 Å a pixel, odd ones, and stored patterns with more pixels than the grid."""
        sampling = self.box / self.grid
        if sampling > COARSEST_SAMPLING * (1 + 1e-9):
            fewest = 2 * math.ceil(self.box / COARSEST_SAMPLING / 2.0)
            return (
                f"{key}.grid={self.grid} over {key}.box={self.box:g} Å is {sampling:.3f} Å a pixel, "
                f"coarser than {COARSEST_SAMPLING} Å: set size.grid to {fewest} or more, or size.box to "
                f"{COARSEST_SAMPLING * self.grid:g} or less"
            )
        if self.grid % 2:
            return f"{key}.grid={self.grid} is odd: set size.grid to {self.grid + 1}"
        if self.pixels > self.grid:
            most = f"set size.pixels to {self.grid} or less"
            return f"{key}.pixels={self.pixels} is more than {key}.grid={self.grid}: {most}"
        if self.energies_per_material > len(self.energies_kev):
            return (
                f"{key}.energies_per_material={self.energies_per_material}, but {key}.energies_kev lists "
                f"{len(self.energies_kev)}: set size.energies_per_material to {len(self.energies_kev)} or less"
            )
        for symbol, rms in self.element_displacement.items():
            if not 0.0 <= rms <= 1.0:
                return f"{key}.element_displacement gives {symbol} {rms:g} Å: give 0 to 1 Å (rms along each axis)"
        if self.uvw is not None and (len(self.uvw) != 3 or any(len(row) != 3 or not any(row) for row in self.uvw)):
            return f"{key}.uvw must list three beam directions, such as [[0,0,1],[1,1,0],[1,1,1]]: a sample has three"
        return None


@dataclass(kw_only=True)
class SimulationConfig(ProtocolConfig):
    """The SMC-19 protocol: what a stack of three patterns of one crystal at one beam energy is."""

    thickness: float = bounded(100.0, low=1.0, high=10_000.0)  # angstrom
    max_slice: float | None = bounded(None, low=0.1, high=20.0)  # angstrom; None: each zone's d, as in SMC-19
    reference_energy_kev: float = bounded(100.0, low=20.0, high=1000.0)
    overlap: float = bounded(0.5, low=0.01, high=5.0)  # semi-angle over the Bragg angle lambda / (2 d)
    mistilt_mrad: float = bounded(0.0, low=0.0, high=100.0)  # by which the beam misses every zone


@dataclass(kw_only=True)
class BlindConfig(ProtocolConfig, Component):
    """What a microscope gives of an unknown crystal: nothing but its lattice decides what is recorded."""

    target: ClassVar[str] = "sgexp.simulation.blind.zones"

    energies_kev: list[float] = bounded(
        [60.0, 80.0, 100.0, 120.0, 150.0, 180.0, 200.0, 230.0, 260.0, 300.0], low=20.0, high=1000.0
    )
    thickness: list[float] = bounded([50.0, 1500.0], low=1.0, high=10_000.0)  # angstrom, lowest and highest
    max_slice: float = bounded(1.0, low=0.1, high=20.0)  # angstrom
    apertures_mrad: list[float] = bounded([1.0, 2.0, 3.5, 5.0, 7.0, 10.0], low=0.1, high=100.0)
    max_tilt: float = bounded(30.0, low=1.0, high=90.0)  # degree
    mistilt_mrad: list[float] = bounded([0.0, 5.0], low=0.0, high=100.0)  # lowest and highest
    detector: Component = field(default_factory=CameraDetector)

    def contradiction(self, key: str) -> str | None:
        """Refuse what no protocol can have, no aperture at all, and ranges that are none."""
        if not self.apertures_mrad:
            return f"{key}.apertures_mrad is empty: list at least one semi-angle in mrad"
        for name in ("thickness", "mistilt_mrad"):
            if (said := not_a_range(getattr(self, name), f"{key}.{name}")) is not None:
                return said
        return ProtocolConfig.contradiction(self, key)


def engine_version(config: ProtocolConfig, engine: Component) -> int:
    """Return the version of the code that computes these patterns.

    Since the second, zones that the fast engine leaves to multislice have its thermal motion instead of a frozen
    configuration, and slabs too thick for its polynomials are left whatever degree is asked for. Since the third, tilts
    that symmetry makes equivalent are computed once. Where none of this can be met (a fixed degree, thin slabs: the
    default), data keep their name.
    """
    if not isinstance(engine, TiltEngine):
        return ENGINE_VERSION
    if engine.degree is None:
        return ENGINE_VERSION + 2
    thin = isinstance(config, SimulationConfig) and config.thickness <= THIN
    return ENGINE_VERSION + (0 if thin else 1)


GROUPS: dict[str, tuple[type, ...]] = {
    "simulation": (SimulationConfig, BlindConfig),
    "simulation/engine": (MultisliceEngine, TiltEngine),
    "simulation/detector": (IdealDetector, CameraDetector),
}
