"""The knobs of the plugin. Like every schema module it imports nothing heavy: sgexp reads it before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sgexp.schema import MISSING, Component, bounded


@dataclass(kw_only=True)
class OneEachSampler(Component):
    """A few samples of each material."""

    target: ClassVar[str] = "sgexp_example.sampler.OneEach"

    per_material: int = bounded(1, low=1, high=100)


@dataclass(kw_only=True)
class LinearModel(Component):
    """A linear classifier of the shrunken pattern."""

    target: ClassVar[str] = "sgexp_example.model.Linear"

    pixels: int = bounded(8, low=1, high=64)


@dataclass(kw_only=True)
class SomeGroupsDataset(Component):
    """Files in SMC-19's layout, without the space groups that are not asked for."""

    target: ClassVar[str] = "sgexp_example.dataset.SomeGroups"

    root: str = MISSING
    space_groups: list[int] = field(default_factory=lambda: [14, 225], metadata={"low": 1, "high": 230})
    max_bad_fraction: float = bounded(0.05, low=0.0, high=1.0)


GROUPS: dict[str, tuple[type, ...]] = {
    "sampler": (OneEachSampler,),
    "model": (LinearModel,),
    "dataset": (SomeGroupsDataset,),
}
