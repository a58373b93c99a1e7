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
class BalancedSampler(Component):
    """A sampler that changes how often each class is drawn."""

    treats_imbalance: ClassVar[bool] = True

    cap: int = bounded(100, low=1)
    table: dict[int, int] = field(default_factory=dict)

    def contradiction(self, key: str) -> str | None:
        """Refuse a table that is asked for but not given, and one that would empty a class or names none."""
        if getattr(self, "balance", None) == "table" and not self.table:
            return f"{key}.balance=table needs {key}.table, for example '+{key}.table={{14:500,225:300}}'"
        for group, draws in self.table.items():
            if not 1 <= group <= 230:
                return f"{key}.table names group {group}: space groups are numbered 1 to 230"
            if draws < 1:
                return f"{key}.table asks for {draws} draws of group {group}; no class may be emptied, give >= 1"
        return None


@dataclass(kw_only=True)
class RandomOverSampler(BalancedSampler):
    """Samples of small classes drawn again."""

    target: ClassVar[str] = "sgexp.sampling.random_selection.RandomOver"

    balance: str = one_of("majority", "majority", "sqrt", "median", "cap", "table")


@dataclass(kw_only=True)
class RandomUnderSampler(BalancedSampler):
    """Samples of large classes left out."""

    target: ClassVar[str] = "sgexp.sampling.random_selection.RandomUnder"

    balance: str = one_of("median", "minority", "sqrt", "median", "cap", "table")


@dataclass(kw_only=True)
class SmoteSampler(BalancedSampler):
    """Points between samples of small classes and their neighbours."""

    target: ClassVar[str] = "sgexp.sampling.smote.Smote"

    balance: str = one_of("majority", "majority", "sqrt", "median", "cap", "table")
    k_neighbors: int = bounded(5, low=1, high=50)
    partners: str = one_of("any", "any", "other_material")


GROUPS: dict[str, tuple[type, ...]] = {"sampler": (PlainSampler, RandomOverSampler, RandomUnderSampler, SmoteSampler)}
