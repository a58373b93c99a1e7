"""The knobs of the samplers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sgexp.schema import Component, bounded, one_of


@dataclass(kw_only=True)
class PlainSampler(Component):
    """Every training sample once."""

    target: ClassVar[str] = "sgexp.sampling.plain.Plain"


@dataclass(kw_only=True)
class Compares(Component):
    """A sampler that measures distances: between which features is for the task to say, which computes them."""

    features: str = one_of("pooled", "pooled", "radial", "pca", "embedding")
    run: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the fields but those that say what the sampler is given and what becomes of its plan."""
        return {name: value for name, value in super().arguments().items() if name not in OF_THE_TASK}

    def contradiction(self, key: str) -> str | None:
        """Refuse a network's features without a network, and a network that is not looked at."""
        if self.features == "embedding" and not self.run:
            return f"{key}.features=embedding needs a trained network: give {key}.run=outputs/train/<folder>"
        if self.features != "embedding" and self.run:
            return f"{key}.run is read with {key}.features=embedding alone: add that, or leave {key}.run out"
        return None


OF_THE_TASK = ("features", "run", "mix_in")
"""Knobs beside a sampler's own: what its features are, of which network, and how the draws of its plan are mixed."""


@dataclass(kw_only=True)
class BalancedSampler(Component):
    """A sampler that changes how often each class is drawn."""

    treats_imbalance: ClassVar[bool] = True

    cap: int = bounded(100, low=1)
    table: dict[int, int] = field(default_factory=dict)

    def contradiction(self, key: str) -> str | None:
        """Refuse a table that is asked for but not given, and one that would empty a class or names none."""
        if isinstance(self, Compares) and (said := Compares.contradiction(self, key)) is not None:
            return said
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
    fresh: bool = False


@dataclass(kw_only=True)
class RandomUnderSampler(BalancedSampler):
    """Samples of large classes left out."""

    target: ClassVar[str] = "sgexp.sampling.random_selection.RandomUnder"

    balance: str = one_of("median", "minority", "sqrt", "median", "cap", "table")
    fresh: bool = False


@dataclass(kw_only=True)
class MixingSampler(BalancedSampler, Compares):
    """Points between samples of small classes and their neighbours."""

    balance: str = one_of("majority", "majority", "sqrt", "median", "cap", "table")
    k_neighbors: int = bounded(5, low=1, high=50)
    mix_in: str = one_of("coded", "coded", "intensity", "log")


@dataclass(kw_only=True)
class FreshSampler(MixingSampler):
    """The same, every epoch other points where asked for."""

    fresh: bool = False


@dataclass(kw_only=True)
class SmoteSampler(FreshSampler):
    """Neighbours of any material, or of some."""

    target: ClassVar[str] = "sgexp.sampling.smote.Smote"

    partners: str = one_of("any", "any", "other_material", "same_material")
    neighbours: str = one_of("exact", "exact", "approximate")


@dataclass(kw_only=True)
class EnergyInterpolationSampler(FreshSampler):
    """Neighbours of the same material: other beam energies."""

    target: ClassVar[str] = "sgexp.sampling.smote.energy_interpolation"


@dataclass(kw_only=True)
class CrossMaterialSampler(FreshSampler):
    """Neighbours of other materials."""

    target: ClassVar[str] = "sgexp.sampling.smote.cross_material"

    neighbours: str = one_of("exact", "exact", "approximate")


@dataclass(kw_only=True)
class EmbeddingSmoteSampler(SmoteSampler):
    """Neighbours in the features of a trained network."""

    target: ClassVar[str] = "sgexp.sampling.smote.embedding_smote"

    features: str = one_of("embedding", "embedding")


@dataclass(kw_only=True)
class StagedSampler(BalancedSampler, Compares):
    """Large classes lowered, small ones raised, all to one count."""

    target: ClassVar[str] = "sgexp.sampling.staged.Staged"

    balance: str = one_of("mean", "mean", "median", "cap", "table")
    lower: str = one_of("clusters", "clusters", "random", "families")
    k_neighbors: int = bounded(5, low=1, high=50)
    mix_in: str = one_of("coded", "coded", "intensity", "log")
    fresh: bool = False


@dataclass(kw_only=True)
class AddingSampler(FreshSampler):
    """Points between samples of small classes, chosen with an eye on the other classes."""


@dataclass(kw_only=True)
class BorderlineSmoteSampler(AddingSampler):
    """SMOTE from samples that lie among other classes."""

    target: ClassVar[str] = "sgexp.sampling.over.borderline_smote"

    m_neighbors: int = bounded(10, low=1, high=100)
    neighbours: str = one_of("exact", "exact", "approximate")


@dataclass(kw_only=True)
class SvmSmoteSampler(AddingSampler):
    """SMOTE from the support vectors."""

    target: ClassVar[str] = "sgexp.sampling.over.svm_smote"

    m_neighbors: int = bounded(10, low=1, high=100)
    out_step: float = bounded(0.5, low=0.0, high=1.0)
    neighbours: str = one_of("exact", "exact", "approximate")


@dataclass(kw_only=True)
class KMeansSmoteSampler(AddingSampler):
    """SMOTE inside clusters."""

    target: ClassVar[str] = "sgexp.sampling.over.kmeans_smote"

    k_neighbors: int = bounded(2, low=1, high=50)
    clusters: int = bounded(8, low=1, high=1000)


@dataclass(kw_only=True)
class AdasynSampler(AddingSampler):
    """SMOTE with more points where other classes are near."""

    target: ClassVar[str] = "sgexp.sampling.over.adasyn"

    neighbours: str = one_of("exact", "exact", "approximate")


@dataclass(kw_only=True)
class ReducingSampler(BalancedSampler, Compares):
    """Chosen samples stand for the large classes."""

    balance: str = one_of("median", "minority", "sqrt", "median", "cap", "table")


@dataclass(kw_only=True)
class NearMissSampler(ReducingSampler):
    """The samples nearest to the smallest class."""

    target: ClassVar[str] = "sgexp.sampling.reducing.near_miss"

    version: int = bounded(1, low=1, high=3)
    n_neighbors: int = bounded(3, low=1, high=50)


@dataclass(kw_only=True)
class ClusterCentroidsSampler(ReducingSampler):
    """The samples nearest to the centres of clusters."""

    target: ClassVar[str] = "sgexp.sampling.reducing.cluster_centroids"


@dataclass(kw_only=True)
class InstanceHardnessSampler(ReducingSampler):
    """The samples that a classifier finds easiest."""

    target: ClassVar[str] = "sgexp.sampling.reducing.instance_hardness"

    estimator: str = one_of("forest", "forest", "discriminant")
    trees: int = bounded(100, low=1, high=1000)
    leaf: int = bounded(1, low=1)
    folds: int = bounded(5, low=2, high=20)


@dataclass(kw_only=True)
class CleaningSampler(Compares):
    """Samples that their neighbours contradict are left out."""

    treats_imbalance: ClassVar[bool] = True

    rare: str = one_of("refuse", "refuse", "keep")


@dataclass(kw_only=True)
class TomekLinksSampler(CleaningSampler):
    """Pairs of different classes that are each other's nearest are left out."""

    target: ClassVar[str] = "sgexp.sampling.cleaning.tomek_links"

    neighbours: str = one_of("exact", "exact", "approximate")


@dataclass(kw_only=True)
class EnnSampler(CleaningSampler):
    """Samples among other classes are left out."""

    target: ClassVar[str] = "sgexp.sampling.cleaning.enn"

    n_neighbors: int = bounded(3, low=1, high=50)
    agree: str = one_of("all", "all", "mode")
    neighbours: str = one_of("exact", "exact", "approximate")


@dataclass(kw_only=True)
class RennSampler(EnnSampler):
    """The same, repeatedly."""

    target: ClassVar[str] = "sgexp.sampling.cleaning.renn"

    passes: int = bounded(100, low=1)


@dataclass(kw_only=True)
class AllKnnSampler(EnnSampler):
    """The same, with more neighbours each time."""

    target: ClassVar[str] = "sgexp.sampling.cleaning.all_knn"


@dataclass(kw_only=True)
class NeighbourhoodCleaningSampler(CleaningSampler):
    """Samples among other classes, and those that mislead the smallest class, are left out."""

    target: ClassVar[str] = "sgexp.sampling.cleaning.neighbourhood_cleaning"

    n_neighbors: int = bounded(3, low=1, high=50)
    threshold: float = bounded(0.5, low=0.001)
    neighbours: str = one_of("exact", "exact", "approximate")


@dataclass(kw_only=True)
class OneSidedSelectionSampler(CleaningSampler):
    """Samples far from the smallest class are left out."""

    target: ClassVar[str] = "sgexp.sampling.cleaning.one_sided_selection"

    neighbours: str = one_of("exact", "exact", "approximate")


@dataclass(kw_only=True)
class CondensedNnSampler(CleaningSampler):
    """Samples that those kept already tell are left out."""

    target: ClassVar[str] = "sgexp.sampling.cleaning.condensed_nn"


@dataclass(kw_only=True)
class SmoteTomekSampler(MixingSampler):
    """SMOTE, then pairs of different classes left out."""

    target: ClassVar[str] = "sgexp.sampling.combined.smote_tomek"

    rare: str = one_of("refuse", "refuse", "keep")
    neighbours: str = one_of("exact", "exact", "approximate")


@dataclass(kw_only=True)
class SmoteEnnSampler(SmoteTomekSampler):
    """SMOTE, then samples among other classes left out."""

    target: ClassVar[str] = "sgexp.sampling.combined.smote_enn"

    n_neighbors: int = bounded(3, low=1, high=50)
    agree: str = one_of("all", "all", "mode")


@dataclass(kw_only=True)
class InstanceSampler(Component):
    """Every sample equally often, drawn anew each epoch."""

    target: ClassVar[str] = "sgexp.sampling.online.instance"


@dataclass(kw_only=True)
class BalancingOnline(Component):
    """Classes drawn more evenly than they are, anew each epoch."""

    treats_imbalance: ClassVar[bool] = True


@dataclass(kw_only=True)
class SqrtSampler(BalancingOnline):
    """Classes in proportion to the square root of their counts."""

    target: ClassVar[str] = "sgexp.sampling.online.sqrt"


@dataclass(kw_only=True)
class ClassBalancedSampler(BalancingOnline):
    """Every class equally often."""

    target: ClassVar[str] = "sgexp.sampling.online.class_balanced"


@dataclass(kw_only=True)
class ProgressiveSampler(BalancingOnline):
    """From every sample to every class equally often."""

    target: ClassVar[str] = "sgexp.sampling.online.progressive"

    epochs: int = bounded(1, low=1)


@dataclass(kw_only=True)
class DeferredSampler(BalancingOnline):
    """Every sample, then every class equally often."""

    target: ClassVar[str] = "sgexp.sampling.online.deferred"

    start: float = bounded(0.8, low=0.0, high=1.0)
    epochs: int = bounded(1, low=1)


@dataclass(kw_only=True)
class RepeatFactorSampler(BalancingOnline):
    """Samples of rare classes repeated."""

    target: ClassVar[str] = "sgexp.sampling.online.repeat_factor"

    threshold: float = bounded(0.001, low=0.0, high=1.0)


@dataclass(kw_only=True)
class MPerClassSampler(BalancingOnline):
    """Batches with several samples of each of their classes."""

    target: ClassVar[str] = "sgexp.sampling.online.m_per_class"

    m: int = bounded(4, low=1, high=64)


@dataclass(kw_only=True)
class FamilyBalancedSampler(BalancingOnline):
    """Every family of a group equally often."""

    target: ClassVar[str] = "sgexp.sampling.online.family_balanced"

    groups: str = one_of("even", "even", "families")


@dataclass(kw_only=True)
class PhysicalSampler(BalancedSampler):
    """New crystals of small classes, simulated: how many, and in what they differ from the training crystals."""

    target: ClassVar[str] = "sgexp.sampling.physical.Physical"
    simulates_crystals: ClassVar[bool] = True

    balance: str = one_of("majority", "majority", "sqrt", "median", "cap", "table")
    budget: float = bounded(120.0, low=0.0)  # seconds of simulation, as recorded when each sample was made
    substitute: float = bounded(0.75, low=0.0, high=1.0)  # share with other elements
    jitter: float = bounded(0.05, low=0.0, high=0.5)  # angstrom, rms
    energy: str = one_of("any", "any", "same")
    zones: int = bounded(3, low=3, high=20)  # strongest reflections that three zones are drawn from
    thickness: list[float] = bounded([1.0, 1.0], low=0.1, high=10.0)  # times the protocol's
    rotate: bool = False  # in the plane of the pattern
    enantiomorph: bool = True

    def arguments(self) -> dict[str, Any]:
        """Return what says how many; in what they differ is for the simulation."""
        return {name: getattr(self, name) for name in ("balance", "cap", "table", "budget")}

    def contradiction(self, key: str) -> str | None:
        """Refuse a range of thicknesses that is none, beside what all samplers of this kind refuse."""
        limits = self.thickness
        if len(limits) != 2 or limits[0] > limits[1]:
            listed = ", ".join(f"{value:g}" for value in limits)
            return f"{key}.thickness=[{listed}] is no range: give {key}.thickness=[lowest,highest]"
        return BalancedSampler.contradiction(self, key)


GROUPS: dict[str, tuple[type, ...]] = {
    "sampler": (
        *(PlainSampler, RandomOverSampler, RandomUnderSampler, SmoteSampler),
        *(EnergyInterpolationSampler, CrossMaterialSampler, EmbeddingSmoteSampler, StagedSampler),
        PhysicalSampler,
        *(BorderlineSmoteSampler, SvmSmoteSampler, KMeansSmoteSampler, AdasynSampler),
        *(NearMissSampler, ClusterCentroidsSampler, InstanceHardnessSampler),
        *(TomekLinksSampler, EnnSampler, RennSampler, AllKnnSampler, NeighbourhoodCleaningSampler),
        *(OneSidedSelectionSampler, CondensedNnSampler),
        *(SmoteEnnSampler, SmoteTomekSampler),
        *(InstanceSampler, SqrtSampler, ClassBalancedSampler, ProgressiveSampler, DeferredSampler),
        *(RepeatFactorSampler, MPerClassSampler, FamilyBalancedSampler),
    )
}
