"""The knobs of the data: how much (size), from where (dataset), who tests (split), how patterns are coded."""

from __future__ import annotations

from dataclasses import dataclass

from sgexp.schema import bounded


@dataclass(kw_only=True)
class SizeConfig:
    """How many materials, and how finely they are simulated, stored and trained; other groups point here."""

    materials: int = bounded(2900, low=1, high=1_000_000)
    energies_per_material: int = bounded(1, low=1, high=100)
    grid: int = bounded(128, low=16, high=4096)
    box: float = bounded(50.0, low=5.0, high=1000.0)
    probes: int = bounded(1, low=1, high=4096)
    pixels: int = bounded(64, low=8, high=2048)
    train_pixels: int = bounded(64, low=8, high=2048)


GROUPS: dict[str, tuple[type, ...]] = {
    "size": (SizeConfig,),
}
