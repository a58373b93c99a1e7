"""What scale patterns have, and in what two sets of patterns differ: a network knows the scale it was trained on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import h5py
import numpy as np

from sgexp.data.catalog import Catalog
from sgexp.data.formats import smc19
from sgexp.errors import DataError

TOLERANCE = 0.03  # a difference below this is nothing: training varies the zoom by more
EXPOSURE = 2.0  # so many times more or less intensity a pixel changes what a logarithm of it looks like
_LOOKED_AT = 48  # samples, spread over the catalog


@dataclass(frozen=True)
class Calibration:
    """The scale of patterns, medians over the samples looked at; NaN where the files do not say.

    ``q_width``: width of a picture in 1/Å; ``q_max``: radius of the band limit in 1/Å; ``thickness`` of the crystal in
    Å; ``energy_low``, ``energy_high``: beam energies in keV; ``mean_intensity``: of a stored pixel, as a share of the
    beam where the files are in such units; ``thickness_low``, ``thickness_high``: thinnest and thickest sample, in Å.
    """

    q_width: float = math.nan
    q_max: float = math.nan
    thickness: float = math.nan
    energy_low: float = math.nan
    energy_high: float = math.nan
    mean_intensity: float = math.nan
    thickness_low: float = math.nan
    thickness_high: float = math.nan

    @classmethod
    def read(cls, record: object) -> Calibration:
        """Return the calibration that a result.json recorded; what is missing or no number is unknown."""
        found = record if isinstance(record, Mapping) else {}
        return cls(**{field.name: _number(found.get(field.name)) for field in fields(cls)})

    @property
    def energies(self) -> str:
        """The beam energies in words."""
        low, high = self.energy_low, self.energy_high
        return f"{low:g} keV" if low == high else f"{low:g} to {high:g} keV"

    def as_dict(self) -> dict[str, float]:
        """Return what result.json records."""
        return asdict(self)


def _number(value: Any) -> float:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30
    return float(value) if usable else math.nan


def calibration_of(catalog: Catalog) -> Calibration:
    """Measure the calibration of a catalog's files on a few samples; all energies of the catalog count."""
    rows = np.unique(np.linspace(0, len(catalog) - 1, min(_LOOKED_AT, len(catalog))).astype(int))
    found = gathered(list(_scales(catalog, rows)))
    energies = catalog.energy_kev[np.isfinite(catalog.energy_kev)]
    if len(energies):
        found = replace(found, energy_low=float(energies.min()), energy_high=float(energies.max()))
    return found


def gathered(scales: Sequence[Mapping[str, float]]) -> Calibration:
    """Return the calibration that the scales of several samples (``scale_of``) amount to."""
    medians = {name: _median([scale.get(name, math.nan) for scale in scales]) for name in _MEDIANS}
    energies = [scale["energy_kev"] for scale in scales if math.isfinite(scale.get("energy_kev", math.nan))]
    low, high = (min(energies), max(energies)) if energies else (math.nan, math.nan)
    thick = [scale["thickness"] for scale in scales if math.isfinite(scale.get("thickness", math.nan))]
    thinnest, thickest = (min(thick), max(thick)) if thick else (math.nan, math.nan)
    return Calibration(**medians, energy_low=low, energy_high=high, thickness_low=thinnest, thickness_high=thickest)


_MEDIANS = ("q_width", "q_max", "thickness", "mean_intensity")


def _scales(catalog: Catalog, rows: np.ndarray) -> Iterator[dict[str, float]]:
    for path in dict.fromkeys(catalog.path[rows].tolist()):
        with contextlib.suppress(DataError), smc19.open_file(catalog.root / path) as file:
            for row in rows[catalog.path[rows] == path].tolist():
                with contextlib.suppress(DataError):
                    yield scale_of(file, str(catalog.key[row]), smc19.read_patterns(file, str(catalog.key[row])))


def scale_of(file: h5py.File, key: str, patterns_PHW: np.ndarray) -> dict[str, float]:
    """Return what one sample in SMC-19's layout says of its scale, and the mean intensity of its pixels."""
    extra = smc19.read_numbers(file, key, ("q_pixel", "q_max", "thickness"))
    scale: dict[str, float] = {name: float(np.median(extra[name])) for name in ("q_max", "thickness") if name in extra}
    if "q_pixel" in extra:
        scale["q_width"] = float(np.median(extra["q_pixel"])) * patterns_PHW.shape[-1]
    energy = smc19.read_numbers(file, key, ("energy_keV",), ours=False)
    if "energy_keV" in energy:
        scale["energy_kev"] = float(energy["energy_keV"].reshape(-1)[0])
    scale["mean_intensity"] = float(patterns_PHW.mean(dtype=np.float64))
    return scale


def _median(values: list[float]) -> float:
    numbers = np.array([value for value in values if math.isfinite(value)])
    return float(np.median(numbers)) if len(numbers) else math.nan


def differences(trained: Calibration, given: Calibration, pixels: int, exposure_matters: bool) -> list[str]:
    """Return a sentence for everything in which patterns differ from those a network of ``pixels`` was trained on."""
    said = []
    if _apart(trained.q_width, given.q_width):
        said.append(
            f"camera length: the network learned pictures {trained.q_width:.3g} 1/Å wide "
            f"({trained.q_width / pixels:.3g} 1/Å for each of its {pixels} pixels), "
            f"these are {given.q_width:.3g} 1/Å wide"
        )
    for name, what, unit in (("q_max", "band limit (q_max)", "1/Å"), ("thickness", "thickness", "Å")):
        one, other = getattr(trained, name), getattr(given, name)
        if name == "thickness" and trained.thickness_low <= other <= trained.thickness_high:
            continue  # it has learned many, this one among them
        if _apart(one, other):
            said.append(f"{what}: the network learned {one:.3g} {unit}, these have {other:.3g} {unit}")
    below = given.energy_low < trained.energy_low * (1 - TOLERANCE)
    if below or given.energy_high > trained.energy_high * (1 + TOLERANCE):
        said.append(
            f"beam energy: the network learned {trained.energies}, these have {given.energies}; disks and their "
            "distances scale with the wavelength"
        )
    if exposure_matters and _apart(trained.mean_intensity, given.mean_intensity, EXPOSURE - 1):
        said.append(
            f"intensity: a pixel has {given.mean_intensity:.2g} on average, in training it had "
            f"{trained.mean_intensity:.2g}; the logarithmic code is not blind to that"
        )
    return said


def _apart(one: float, other: float, tolerance: float = TOLERANCE) -> bool:
    """Say whether two positive numbers, both known, differ by more than a share of the smaller one."""
    return max(one, other) > min(one, other) * (1 + tolerance) if math.isfinite(one) and math.isfinite(other) else False
