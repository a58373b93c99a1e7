"""The knobs of the data: how much (size), from where (dataset), who tests (split), how patterns are coded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sgexp.schema import MISSING, Component, bounded, one_of


@dataclass(kw_only=True)
class SizeConfig:
    """How many materials, and how finely they are simulated, stored and trained; other groups point here."""

    materials: int = bounded(8700, low=1, high=1_000_000)
    energies_per_material: int = bounded(1, low=1, high=100)
    grid: int = bounded(128, low=16, high=4096)
    box: float = bounded(50.0, low=5.0, high=1000.0)  # angstrom
    probes: int = bounded(1, low=1, high=4096)
    pixels: int = bounded(64, low=8, high=2048)
    train_pixels: int = bounded(32, low=8, high=2048)


@dataclass(kw_only=True)
class CrystalsDataset(Component):
    """Patterns simulated from real crystals, made on first use."""

    target: ClassVar[str] = "sgexp.data.dataset.Crystals"
    simulates: ClassVar[bool] = True

    root: str = "data/crystals"
    materials: int = bounded(2900, low=1, high=1_000_000)
    cifs: str | None = None
    seed: int = bounded(1, low=0, high=2**31 - 1)
    library: int = bounded(2, low=1, high=2)
    jitter: float = bounded(0.0, low=0.0, high=0.3)
    max_bad_fraction: float = bounded(0.05, low=0.0, high=1.0)


@dataclass(kw_only=True)
class StreamDataset(CrystalsDataset):
    """The same patterns for validation and test; training goes on to patterns that are simulated meanwhile."""

    target: ClassVar[str] = "sgexp.data.dataset.Stream"

    keep: int = bounded(4, low=1, high=1_000_000)  # epochs
    substitute: float = bounded(0.5, low=0.0, high=1.0)  # share of the new patterns
    energy: str = one_of("any", "any", "same")  # beam energy of new patterns
    cache_mb: int = bounded(2048, low=0, high=10_000_000)


@dataclass(kw_only=True)
class CBED230Dataset(Component):
    """Patterns of the materials that the benchmark CBED-230 lists, made on first use."""

    target: ClassVar[str] = "sgexp.data.cbed230.dataset.CBED230"
    simulates: ClassVar[bool] = True

    root: str = "data/crystals"
    materials: int = bounded(2900, low=1, high=18_800)
    max_bad_fraction: float = bounded(0.05, low=0.0, high=1.0)


@dataclass(kw_only=True)
class SMC19Dataset(Component):
    """SMC-19's files as they were released, or any folder in the same layout."""

    target: ClassVar[str] = "sgexp.data.dataset.SMC19"

    root: str = MISSING
    max_bad_fraction: float = bounded(0.05, low=0.0, high=1.0)


def _kept_from_training(split: Component, key: str) -> str | None:
    """Say, of a split by shares, that nothing would be left to train on."""
    parts = ("validation", "test_material", "test_family", "sealed_material", "sealed_family")
    shares = {name: getattr(split, name) for name in parts if hasattr(split, name)}
    if sum(shares.values()) < 1:
        return None
    listed = " + ".join(f"{key}.{name}={share:g}" for name, share in shares.items())
    return f"{listed} leave nothing to train on: together they must be less than 1"


@dataclass(kw_only=True)
class NestedSplit(Component):
    """Whole families, then single materials, are kept from training."""

    target: ClassVar[str] = "sgexp.data.splits.Nested"

    validation: float = bounded(0.1, low=0.0, high=0.5)
    test_material: float = bounded(0.1, low=0.0, high=0.5)
    test_family: float = bounded(0.1, low=0.0, high=0.5)
    seed: int = bounded(1, low=0, high=2**31 - 1)
    contradiction = _kept_from_training


@dataclass(kw_only=True)
class SealedSplit(Component):
    """Like nested, with a second test that only task=score opens."""

    target: ClassVar[str] = "sgexp.data.sealed.Sealed"

    validation: float = bounded(0.1, low=0.0, high=0.5)
    test_material: float = bounded(0.1, low=0.0, high=0.5)
    test_family: float = bounded(0.1, low=0.0, high=0.5)
    sealed_material: float = bounded(0.05, low=0.0, high=0.5)
    sealed_family: float = bounded(0.1, low=0.0, high=0.5)
    train_share: float = bounded(1.0, low=0.0, high=1.0)  # of the training materials; learning curves use less
    seed: int = bounded(1, low=0, high=2**31 - 1)
    contradiction = _kept_from_training


@dataclass(kw_only=True)
class CBED230Split(Component):
    """The parts of the benchmark CBED-230, as its list says."""

    target: ClassVar[str] = "sgexp.data.cbed230.split.CBED230"

    train_share: float = bounded(1.0, low=0.0, high=1.0)  # of the training materials; learning curves use less


@dataclass(kw_only=True)
class MaterialSplit(Component):
    """Single materials are kept from training, whatever their family."""

    target: ClassVar[str] = "sgexp.data.splits.Material"

    validation: float = bounded(0.1, low=0.0, high=0.5)
    test_material: float = bounded(0.1, low=0.0, high=0.5)
    seed: int = bounded(1, low=0, high=2**31 - 1)
    contradiction = _kept_from_training


@dataclass(kw_only=True)
class ReleasedSplit(Component):
    """SMC-19's own split, by file name."""

    target: ClassVar[str] = "sgexp.data.splits.Released"


@dataclass(kw_only=True)
class SampleSplit(Component):
    """Samples at random: leaky, to show the leak."""

    target: ClassVar[str] = "sgexp.data.splits.Sample"

    validation: float = bounded(0.1, low=0.0, high=0.5)
    test_material: float = bounded(0.1, low=0.0, high=0.5)
    seed: int = bounded(1, low=0, high=2**31 - 1)
    contradiction = _kept_from_training


@dataclass(kw_only=True)
class TransformConfig(Component):
    """How intensities are coded, resized and standardised."""

    target: ClassVar[str] = "sgexp.data.transforms.Transform"

    code: str = one_of("log", "log", "power", "none")
    exponent: float = bounded(0.25, low=0.01, high=1.0)
    pixels: int = bounded(64, low=8, high=2048)
    standardise: bool = True


GROUPS: dict[str, tuple[type, ...]] = {
    "size": (SizeConfig,),
    "dataset": (CrystalsDataset, StreamDataset, CBED230Dataset, SMC19Dataset),
    "split": (NestedSplit, SealedSplit, CBED230Split, MaterialSplit, ReleasedSplit, SampleSplit),
    "transform": (TransformConfig,),
}
