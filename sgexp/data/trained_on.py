"""What a network was trained on, from its run's ``split.csv``, and which samples of other data can still judge it.

A sample may judge a network if neither training nor validation had its material, and if the network knows its group.
What is left goes into the same two columns as in training: ``test_material`` (new crystals of known families) and
``test_family`` (families never seen).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgexp.data.catalog import Catalog
from sgexp.data.proxy_families import is_proxy
from sgexp.data.split import MADE, PARTS, TEST_FAMILY, TEST_MATERIAL, TRAIN, UNUSED, VALIDATION, Split, group_list
from sgexp.errors import DataError

_SEEN = (PARTS[TRAIN], PARTS[VALIDATION], MADE)


@dataclass(frozen=True)
class TrainedOn:
    """Names of the materials and families of training and validation, and group -> number of training families.

    ``proxies``: whether the families are a proxy, which cannot be compared with matched ones.
    """

    materials: frozenset[str]
    families: frozenset[str]
    families_per_group: dict[int, int]
    proxies: bool

    @classmethod
    def read(cls, path: Path) -> TrainedOn:
        """Read a run's ``split.csv``; a missing or foreign file is a `DataError`."""
        materials: set[str] = set()
        families: set[str] = set()
        trained: set[tuple[int, str]] = set()
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                for row in csv.DictReader(stream):
                    if row["split"] in _SEEN:
                        materials.add(row["material"])
                        families.add(row["family"])
                    if row["split"] == PARTS[TRAIN]:
                        trained.add((int(row["space_group"]), row["family"]))
            if not trained:
                raise ValueError("no training sample")
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}): it says what the run was trained on") from error
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            raise DataError(f"{path} is damaged: it does not say what the run was trained on") from error
        groups, counts = np.unique([group for group, _ in trained], return_counts=True)
        per_group = dict(zip(groups.astype(int).tolist(), counts.tolist(), strict=True))
        return cls(frozenset(materials), frozenset(families), per_group, any(map(is_proxy, families)))


@dataclass(frozen=True)
class Unseen:
    """Which rows of a catalog may judge a network, what was left out, and what a reader must be told.

    ``seen``: samples left out because training or validation had their material; ``unknown``: group -> samples left
    out because the network cannot answer with their group.
    """

    split: Split
    seen: int
    unknown: dict[int, int]
    stamps: tuple[str, ...]


def unseen(catalog: Catalog, trained: TrainedOn, classes: np.ndarray, among: Split | None = None) -> Unseen:
    """Return which rows of ``catalog`` may judge a network of these ``classes``.

    ``among``: use the test rows of this split only.
    """
    asked = np.ones(len(catalog), bool) if among is None else among.part >= TEST_MATERIAL
    seen = asked & np.isin(catalog.material, list(trained.materials))
    unknown = asked & ~seen & ~np.isin(catalog.space_group, classes)
    comparable = catalog.family_is_proxy == trained.proxies
    known_family = np.isin(catalog.family, list(trained.families)) if comparable else np.ones(len(catalog), bool)
    part = np.where(known_family, TEST_MATERIAL, TEST_FAMILY).astype(np.int8)
    part[~asked | seen | unknown] = UNUSED
    groups, counts = np.unique(catalog.space_group[unknown], return_counts=True)
    stamps = (
        ()
        if comparable
        else (
            "whether these structures were trained on cannot be told: their families and those of training are named "
            "in different ways, so all are counted as new crystals of known families",
        )
    )
    found = Unseen(
        Split(part, "unseen" if among is None else f"unseen of {among.name}"),
        int(seen.sum()),
        dict(zip(groups.astype(int).tolist(), counts.tolist(), strict=True)),
        stamps,
    )
    if (part == UNUSED).all():
        raise DataError(
            f"nothing in {catalog.root} can judge this network: of {int(asked.sum()):,} samples it was trained or "
            f"selected on the materials of {found.seen:,}, and does not know the groups of {int(unknown.sum()):,}"
        )
    return found


def notes(found: Unseen) -> list[str]:
    """Say in words what was left out."""
    said = []
    if found.seen:
        said.append(f"{found.seen:,} samples are left out: the network was trained or selected on their materials.")
    if found.unknown:
        said.append(
            f"{sum(found.unknown.values()):,} samples of {len(found.unknown)} groups are left out, as the network does "
            f"not know them: {group_list(sorted(found.unknown))}."
        )
    return said
