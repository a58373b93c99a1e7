"""One sample: the three patterns of a crystal at one beam energy, with everything needed to read their scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch

import sgexp
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.elements import ELEMENTS
from sgexp.errors import DataError
from sgexp.schema import build
from sgexp.simulation import blind, protocol
from sgexp.simulation.detector import Instrument
from sgexp.simulation.multislice import ZonePattern
from sgexp.simulation.protocol import name_key
from sgexp.simulation.schema import BlindConfig, ProtocolConfig, SimulationConfig

_OF_THE_DETECTOR = 7  # keeps its random numbers apart from those of the thermal displacements


class Engine(Protocol):
    """What computes a pattern; ``name`` is recorded with every sample."""

    name: str

    def zone_pattern(
        self,
        crystal: Crystal,
        zone: protocol.Zone,
        config: ProtocolConfig,
        energy_kev: float,
        rng: np.random.Generator,
    ) -> ZonePattern:
        """Return one zone's pattern (Ny, Nx), zero frequency at [Ny/2, Nx/2], as fractions of the beam."""

    def q_max(self, grid: tuple[int, int], box: tuple[float, float]) -> float:
        """Return the radius in 1/Å up to which the patterns hold scattering."""


@dataclass(frozen=True)
class CBEDStack:
    """Three convergent-beam patterns of one crystal at one energy, each averaged over its probe positions (often one).

    Attributes
    ----------
    patterns
        (3, H, H) float32 >= 0: fraction of the incident intensity in each pixel; rows run along q_y, columns along q_x.
    uvw, y_dirs
        (3, 3), a zone a row: beam direction and in-plane direction (along +q_y) in the direct lattice.
    d, semi_angles
        (3,) spacing in Å of the plane that names the zone, and semi-angle of the probe in rad.
    slice_thickness, thickness
        (3,) in Å.
    holz_radius
        (3,) radius in 1/Å of the first higher-order Laue zone; ``holz_inside`` says whether it is below ``q_max``.
    scattered_out
        (3,) fraction of the beam that the band limit took.
    q_pixel, q_max
        1/Å a pixel, and the radius of the band limit in 1/Å; (3, 2), along q_x and q_y, and (3,) where every pattern
        has a box of its own.
    displacement, element_displacement
        Rms displacement of atoms along each axis in Å, and of elements that have their own (stored as B, B_O ...).
    fallback
        (3,) bool: zones that the engine left to multislice, because their cells are too large for it.
    instrument
        What a detector did to the patterns, by name, (3, ...) each; empty for ideal patterns.
    recorded
        What the protocol chose for each zone and nobody is told, by name, (3, ...) each; empty for SMC-19's.
    """

    patterns: np.ndarray
    energy_kev: float
    uvw: np.ndarray
    y_dirs: np.ndarray
    d: np.ndarray
    semi_angles: np.ndarray
    slice_thickness: np.ndarray
    thickness: np.ndarray
    holz_radius: np.ndarray
    scattered_out: np.ndarray
    q_pixel: float | np.ndarray
    q_max: float | np.ndarray
    displacement: float
    seed: int
    engine: str
    fallback: np.ndarray
    element_displacement: dict[str, float] = field(default_factory=dict)
    instrument: dict[str, Any] = field(default_factory=dict)
    recorded: dict[str, Any] = field(default_factory=dict)

    @property
    def holz_inside(self) -> np.ndarray:
        """(3,) bool: whether the first HOLZ ring lies inside the band limit."""
        return self.holz_radius < self.q_max

    def attributes(self, crystal: Crystal) -> dict[str, Any]:
        """Return the ten attributes of SMC-19; directions stand in columns there (namsa used ``dstack``)."""
        return {
            "space_group": crystal.space_group,
            "material": crystal.name,
            "energy_keV": self.energy_kev,
            "z_dirs": np.dstack(tuple(self.uvw)),
            "y_dirs": np.dstack(tuple(self.y_dirs)),
            "semi_angles_rad": self.semi_angles,
            "d_hkls_angstrom": self.d,
            "abc_angstrom": crystal.abc,
            "angles_degree": crystal.angles,
            "formula": crystal.formula,
        }

    def extra(self, crystal: Crystal) -> dict[str, Any]:
        """Return the attributes of our own sub-group: calibration and origin."""
        return {
            "engine": self.engine,
            "fallback": self.fallback,
            "version": sgexp.__version__,
            "q_pixel": self.q_pixel,
            "q_max": self.q_max,
            "thickness": self.thickness,
            "slice": self.slice_thickness,
            "B": 8.0 * np.pi**2 * self.displacement**2,
            **{f"B_{symbol}": 8.0 * np.pi**2 * rms**2 for symbol, rms in self.element_displacement.items()},
            "seed": self.seed,
            "uvw": self.uvw,
            "parent": crystal.parent,
            "family": crystal.family,
            "holz_radius": self.holz_radius,
            "holz_inside": self.holz_inside,
            "scattered_out": self.scattered_out,
            **self.instrument,
            **self.recorded,
        }


def simulate(
    crystal: Crystal,
    config: ProtocolConfig,
    engine: Engine,
    energy_kev: float,
    seed: int | None = None,
    turn: float = 0.0,
) -> CBEDStack:
    """Return the stack of one crystal at one energy; ``DataError`` when the crystal cannot be simulated.

    ``seed`` (default: the config's) fixes the thermal displacements together with the material's name, the zone and the
    energy, and all of the detector's randomness together with name and energy, so a sample's values do not depend on
    what else is simulated, in which order, or by how many processes. ``turn``: the angle in rad by which the crystal is
    turned about the beam in all of its patterns.
    """
    protocol.check_sampling(config)
    seed = config.seed if seed is None else seed
    all_zones = zones_of(crystal, config, energy_kev, seed)
    if turn:
        all_zones = [protocol.turned(zone, crystal, turn) for zone in all_zones]
    grid, box = (config.grid, config.grid), (config.box, config.box)
    made = []
    for index, zone in enumerate(all_zones):
        rng = np.random.default_rng([seed, name_key(crystal.name), index, round(1e3 * energy_kev)])
        made.append(engine.zone_pattern(crystal, zone, config, energy_kev, rng))
        if not np.isfinite(made[-1].pattern).all():
            raise DataError(f"{crystal.name}: the pattern of zone {zone.uvw} at {energy_kev:g} keV is not finite.")
    own = None if any(one.box is None for one in made) else np.array([one.box for one in made])
    patterns, instrument = detected(np.stack([one.pattern for one in made]), crystal.name, config, energy_kev, seed)
    return CBEDStack(
        patterns=patterns,
        energy_kev=energy_kev,
        uvw=np.array([zone.uvw for zone in all_zones]),
        y_dirs=np.array([zone.y_dir for zone in all_zones]),
        d=np.array([zone.d for zone in all_zones]),
        semi_angles=np.array([zone.semi_angle for zone in all_zones]),
        slice_thickness=np.array([one.slice_thickness for one in made]),
        thickness=np.array([one.thickness for one in made]),
        holz_radius=np.array(
            [protocol.holz_radius(protocol.beam_repeat(crystal, zone.uvw), energy_kev) for zone in all_zones]
        ),
        scattered_out=np.array([max(0.0, 1.0 - float(one.pattern.sum(dtype=np.float64))) for one in made]),
        q_pixel=config.grid / config.pixels / (config.box if own is None else own),
        q_max=engine.q_max(grid, box) if own is None else np.array([engine.q_max(grid, one) for one in own.tolist()]),
        displacement=config.displacement,
        element_displacement=_of_elements(crystal, config),
        seed=seed,
        engine=engine.name,
        fallback=np.array([one.engine != engine.name for one in made]),
        instrument=instrument,
        recorded=_recorded(all_zones, config),
    )


def _of_elements(crystal: Crystal, config: ProtocolConfig) -> dict[str, float]:
    """Return the displacements of elements that have their own, by symbol."""
    own = protocol.own_displacements(crystal, config)
    return config.element_displacement | {ELEMENTS[number].symbol: rms for number, rms in own.items()}


def _recorded(zones: list[protocol.Zone], config: ProtocolConfig) -> dict[str, Any]:
    """Return what the protocol chose for each zone, by name; nothing for SMC-19's, where nothing is chosen."""
    if isinstance(config, SimulationConfig):
        return {}
    return {"protocol": "blind"} | {
        name: np.array([zone.recorded[name] for zone in zones]) for name in zones[0].recorded
    }


def zones_of(crystal: Crystal, config: ProtocolConfig, energy_kev: float, seed: int) -> list[protocol.Zone]:
    """Return the three zones of a sample, by the protocol that the settings are for."""
    if isinstance(config, BlindConfig):
        return blind.zones(crystal, config, energy_kev, seed)
    assert isinstance(config, SimulationConfig)
    return protocol.mistilted(protocol.zones(crystal, config), config.mistilt_mrad, crystal.name, seed)


def detected(
    ideal: np.ndarray, name: str, config: ProtocolConfig, energy_kev: float, seed: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return computed patterns (3, N, N) as the detector stores them, (3, pixels, pixels), and what it records."""
    detector: Instrument = build(config.detector)
    stored = np.stack([bin_pattern(pattern, config.pixels, centred=not detector.ideal) for pattern in ideal])
    if detector.ideal:
        return stored, {}
    key = np.random.SeedSequence([seed, name_key(name), round(1e3 * energy_kev), _OF_THE_DETECTOR])
    stored, settings = detector.record(stored, int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))
    named = {f"detector_{setting}": value for setting, value in settings.items()}
    return stored, {"detector": detector.name} | named


def bin_pattern(pattern: np.ndarray, pixels: int, centred: bool = False) -> np.ndarray:
    """Bin a square pattern (N, N) by area to (pixels, pixels); intensities add up.

    The zero frequency comes to lie on the middle of the picture, between its two middle pixels, so that rotations and
    mirrors of the picture are those of the crystal. With ``pixels`` = N nothing is changed (zero at [N/2, N/2], as in
    SMC-19), unless ``centred`` asks for the middle there too.
    """
    if pixels == len(pattern) and not centred:
        return pattern
    weights = _binning(len(pattern), pixels)  # torch's product, because NumPy's would wake threads of its own
    return (weights @ torch.from_numpy(pattern) @ weights.T).clamp_(min=0.0).numpy()


@lru_cache(maxsize=8)
def _binning(grid: int, pixels: int) -> torch.Tensor:
    """Return (pixels, grid) float32: the share of each grid pixel that falls into each bin along one axis."""
    edges = np.linspace(-grid / 2, grid / 2, pixels + 1)
    centres = np.arange(grid) - grid // 2
    # Nyquist's own pixel, centred on -N/2, belongs half to the other side, but nothing lies there (band limit).
    low = np.maximum(edges[:-1, None], centres - 0.5)
    high = np.minimum(edges[1:, None], centres + 0.5)
    return torch.from_numpy(np.maximum(high - low, 0.0).astype(np.float32))
