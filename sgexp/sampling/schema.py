"""The knobs of the samplers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sgexp.schema import Component, bounded, one_of


@dataclass(kw_only=True)
class PlainSampler(Component):
    """Every training sample once."""

    target: ClassVar[str] = "sgexp.sampling.plain.Plain"


@dataclass(kw_only=True)
class RandomOverSampler(Component):
    """Samples of small classes drawn again."""

    target: ClassVar[str] = "sgexp.sampling.random_selection.RandomOver"
    treats_imbalance: ClassVar[bool] = True
    balance: str = one_of("majority", "majority", "sqrt", "median", "cap", "table")
    cap: int = bounded(100, low=1)
    table: dict[int, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class RandomUnderSampler(Component):
    """Samples of large classes left out."""

    target: ClassVar[str] = "sgexp.sampling.random_selection.RandomUnder"
    treats_imbalance: ClassVar[bool] = True
    balance: str = one_of("median", "minority", "sqrt", "median", "cap", "table")
    cap: int = bounded(100, low=1)
    table: dict[int, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class SmoteSampler(Component):
    """Points between samples of small classes and their neighbours."""

    target: ClassVar[str] = "sgexp.sampling.smote.Smote"
    treats_imbalance: ClassVar[bool] = True
    balance: str = one_of("majority", "majority", "sqrt", "median", "cap", "table")
    cap: int = bounded(100, low=1)
    table: dict[int, int] = field(default_factory=dict)
    k_neighbors: int = bounded(5, low=1, high=50)
    partners: str = one_of("any", "any", "other_material")


GROUPS: dict[str, tuple[type, ...]] = {"sampler": (PlainSampler, RandomOverSampler, RandomUnderSampler, SmoteSampler)}
