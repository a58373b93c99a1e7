"""What ``augment=`` and ``mixing=`` may say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Optional

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
    shift: float = bounded(0.0, low=0.0, high=0.5)
    shuffle: bool = False
    erase_least: float = bounded(0.0, low=0.0, high=0.9)
    erase_ratio: float = bounded(0.0, low=0.0, high=100.0)
    show: str = one_of("all", "all", "one", "each")
    dose: Optional[list[float]] = bounded(None, low=1.0, high=1e15)  # noqa: UP045 - OmegaConf reads it
    blur: float = bounded(0.0, low=0.0, high=100.0)
    background: float = bounded(0.0, low=0.0, high=1.0)

    def contradiction(self, key: str) -> str | None:
        """Refuse an area that is more than the largest, a ratio of sides below 1, and a dose that is no range."""
        if self.erase_least > self.erase_area:
            return f"{key}.erase_least={self.erase_least} is more than {key}.erase_area={self.erase_area}: set it lower"
        if 0 < self.erase_ratio < 1:
            return f"{key}.erase_ratio={self.erase_ratio} must be 1 or more (the longer side over the shorter), or 0"
        if self.dose is not None and (len(self.dose) != 2 or self.dose[0] > self.dose[1]):
            return f"{key}.dose={self.dose} must be the smallest and the largest dose, such as [1.0e+4, 1.0e+6]"
        return None


@dataclass(kw_only=True)
class NoMixingConfig(Component):
    """Every pattern by itself."""

    target: ClassVar[str] = "sgexp.loading.mixing.none"


@dataclass(kw_only=True)
class MixupConfig(Component):
    """Stacks blended with others of their batch (Zhang et al. 2018)."""

    target: ClassVar[str] = "sgexp.loading.mixing.mixup"

    alpha: float = bounded(0.2, low=0.001, high=1000.0)


@dataclass(kw_only=True)
class CutMixConfig(Component):
    """Rectangles of other stacks pasted (Yun et al. 2019)."""

    target: ClassVar[str] = "sgexp.loading.mixing.cutmix"

    alpha: float = bounded(1.0, low=0.001, high=1000.0)
    probability: float = bounded(0.5, low=0.0, high=1.0)


@dataclass(kw_only=True)
class RemixConfig(Component):
    """Mixup whose label goes to the rarer class (Chou et al. 2020)."""

    target: ClassVar[str] = "sgexp.loading.mixing.remix"
    treats_imbalance: ClassVar[bool] = True

    alpha: float = bounded(1.0, low=0.001, high=1000.0)
    kappa: float = bounded(3.0, low=1.0, high=1e6)
    tau: float = bounded(0.5, low=0.0, high=1.0)


@dataclass(kw_only=True)
class CMOConfig(Component):
    """Rectangles of rare classes pasted into common stacks (Park et al. 2022)."""

    target: ClassVar[str] = "sgexp.loading.mixing.cmo"
    treats_imbalance: ClassVar[bool] = True

    alpha: float = bounded(1.0, low=0.001, high=1000.0)
    probability: float = bounded(0.5, low=0.0, high=1.0)
    power: float = bounded(1.0, low=0.0, high=10.0)


GROUPS: dict[str, tuple[type, ...]] = {
    "augment": (AugmentConfig,),
    "mixing": (NoMixingConfig, MixupConfig, CutMixConfig, RemixConfig, CMOConfig),
}
