"""What ``augment=`` may say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sgexp.schema import Component, bounded, one_of


@dataclass(kw_only=True)
class AugmentConfig(Component):
    """Random changes to training patterns that leave the space group known."""

    target: ClassVar[str] = "sgexp.loading.augment.Augment"

    rotate: str = one_of("none", "none", "quarter", "free")
    mirror: bool = False
    zoom: float = bounded(0.05, low=0.0, high=0.5)
    noise: float = bounded(0.2, low=0.0, high=10.0)
    erase: float = bounded(0.0, low=0.0, high=1.0)
    erase_area: float = bounded(0.2, low=0.0, high=0.9)


GROUPS: dict[str, tuple[type, ...]] = {"augment": (AugmentConfig,)}
