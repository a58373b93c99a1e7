"""Ladders: one setting of the simulation varied, all else equal, to see how far an answer carries.

What is drawn at random (displacements, foil, camera) is keyed by seed, material and energy, so it is the same on every
rung; only another energy is another sample, with displacements (and in the blind protocol a foil) of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sgexp.schema import Component
from sgexp.simulation.schema import (
    THIN,
    BlindConfig,
    CameraDetector,
    IdealDetector,
    ProtocolConfig,
    SimulationConfig,
    TiltEngine,
)

RUNGS: dict[str, tuple[float, ...]] = {
    "thickness": (50.0, 100.0, 200.0, 400.0),
    "energy": (60.0, 100.0, 150.0, 200.0, 300.0),
    "dose": (1e3, 1e4, 1e5, 1e6, 1e7),
    "tilt": (0.0, 1.0, 2.0, 5.0, 10.0),
}
UNITS = {"thickness": "Å", "energy": "keV", "dose": "electrons a pattern", "tilt": "mrad"}
LOGARITHMIC = ("thickness", "dose")


def rungs_of(over: str, asked: Sequence[float] | None) -> tuple[float, ...]:
    """Return the values of a ladder, rising: those asked for, or its own."""
    return tuple(sorted(asked)) if asked else RUNGS[over]


def rung(config: ProtocolConfig, over: str, value: float) -> ProtocolConfig:
    """Return the settings with thickness (Å), energy (keV), dose (electrons) or tilt (mrad) set to ``value``.

    A dose needs a camera; where the settings have none, it counts the electrons and does nothing else. Slabs thicker
    than 100 Å are computed with as many tilts as they ask for, whatever the settings say.
    """
    if over == "energy":
        return replace(config, energies_kev=[value], energies_per_material=1)
    if over == "dose":
        return replace(config, detector=_counting(config, value))
    both = [value, value]
    if over == "thickness":
        engine = _for_slabs_of(value, config.engine)
        if isinstance(config, BlindConfig):
            return replace(config, thickness=both, engine=engine)
        assert isinstance(config, SimulationConfig)
        return replace(config, thickness=value, engine=engine)
    if isinstance(config, BlindConfig):
        return replace(config, mistilt_mrad=both)
    assert isinstance(config, SimulationConfig)
    return replace(config, mistilt_mrad=value)


def _for_slabs_of(thickness: float, engine: Component) -> Component:
    """Return the engine, without the fixed degree that suits thin slabs alone."""
    return replace(engine, degree=None) if isinstance(engine, TiltEngine) and thickness > THIN else engine


def _counting(config: ProtocolConfig, dose: float) -> CameraDetector:
    if isinstance(config.detector, CameraDetector):
        return replace(config.detector, dose=[dose, dose])
    assert isinstance(config.detector, IdealDetector)
    return CameraDetector(
        dose=[dose, dose],
        background=[0.0, 0.0],
        blur=[0.0, 0.0],
        saturation=None,
        beam_stop=0.0,
        miscentring=0.0,
        ellipticity=0.0,
    )
