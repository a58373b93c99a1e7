"""A data set surveyed: counts by part of the split and by released part, figures of imbalance, findings, notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sgexp.data import findings
from sgexp.data.catalog import Catalog
from sgexp.data.contents import Contents
from sgexp.data.findings import Finding
from sgexp.data.imbalance import Imbalance, imbalance
from sgexp.data.split import Split

Counts = dict[str, dict[str, list[int]]]
"""Part -> samples, materials, families -> count a space group (length 231); total -> of those and of groups (4)."""
NOUNS = ("samples", "materials", "families")


@dataclass(frozen=True)
class Survey:
    """What ``task=audit`` tells of a data set.

    ``counts`` has the part "all" first, then the parts of the split; ``released`` train, dev and test where file names
    say so. ``imbalances``: noun -> figures over all usable samples. ``findings`` that count come first.
    """

    root: str
    fingerprint: str
    samples: int
    materials: int
    families: int
    groups: int
    family_is_proxy: bool
    split: str
    counts: Counts
    released: Counts
    imbalances: dict[str, Imbalance]
    findings: tuple[Finding, ...]
    pixels_read: bool
    notes: tuple[str, ...] = field(default=())

    @property
    def clean(self) -> bool:
        """Whether nothing was found that counts."""
        return not any(finding.counts for finding in self.findings)

    @property
    def reasons(self) -> dict[str, int]:
        """Why samples cannot be read: reason -> how often."""
        return findings.reasons(self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"clean": self.clean, **asdict(self), "reasons": self.reasons}


def survey(catalog: Catalog, contents: Contents, split: Split, pixels_read: bool, missing: Mapping[str, str]) -> Survey:
    """Survey a data set; rows of ``contents`` and ``split`` are rows of ``catalog``.

    Samples whose pixels cannot be used are listed and then left out, as training does; ``split`` does not use them.
    ``missing``: material -> why its patterns were never made.
    """
    usable = np.flatnonzero(contents.fault == "")
    parts, released = findings.split_rows(split), findings.released_rows(catalog)
    found = [
        *findings.unreadable(catalog.bad, contents, catalog),
        *findings.copies(catalog, contents, split),
        *findings.same_cells(catalog, contents, split),
        *findings.unusable_cells(catalog),
        *findings.released_overlap(catalog),
        *findings.split_overlap(catalog, split),
    ]
    if missing:
        told = tuple(f"{material}: {reason}" for material, reason in missing.items())
        found.append(Finding("not simulated", len(missing), "crystals could not be simulated", False, told))
    counts = findings.part_counts(catalog, [("all", usable), *parts])
    notes = list(split.notes)
    if not pixels_read:
        notes.append("patterns were not read (task.pixels=false): copies and unusable patterns are not known")
    return Survey(
        root=str(catalog.root),
        fingerprint=catalog.fingerprint,
        samples=len(usable),
        materials=len(np.unique(catalog.material[usable])),
        families=len(np.unique(catalog.family[usable])),
        groups=len(np.unique(catalog.space_group[usable])),
        family_is_proxy=catalog.family_is_proxy,
        split=split.name,
        counts=counts,
        released=findings.part_counts(catalog, released) if len(released) > 1 else {},
        imbalances={noun: imbalance(np.array(counts["all"][noun])) for noun in NOUNS},
        findings=tuple(sorted(found, key=lambda finding: not finding.counts)),
        pixels_read=pixels_read,
        notes=tuple(notes),
    )
