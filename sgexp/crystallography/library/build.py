"""Generate ``labels.json``: rebuild every built-in crystal, label it, find its family, its margin and missing hands.

Run ``python -m sgexp.crystallography.library.build`` (about 15 minutes); tests repeat all labels, and families and
margins of a part.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sgexp.crystallography.crystal import AROUND, Crystal, group_number
from sgexp.crystallography.families import assign_families
from sgexp.crystallography.groups import space_group
from sgexp.crystallography.library import MIRROR, mirror_image, rebuild, records
from sgexp.crystallography.margin import symmetry_margin

HANDS = 5
"""A group of an enantiomorphic pair that has fewer families than this gets the mirror images of its partner's."""


def label_library() -> list[Crystal]:
    """Return all crystals with labels and families found afresh, mirror images last."""
    crystals = assign_families([Crystal.from_arrays(**rebuild(record)) for record in records()])
    return crystals + missing_hands(crystals)


def missing_hands(crystals: Sequence[Crystal]) -> list[Crystal]:
    """Return mirror images of crystals whose other hand's group has few families: whoever makes one hand makes both.

    Of a family that stands in both groups already there is none.
    """
    families: dict[int, set[str]] = defaultdict(set)
    for crystal in crystals:
        families[crystal.space_group].add(crystal.family)
    images = []
    for crystal in crystals:
        other = space_group(crystal.space_group).enantiomorph
        if other is not None and len(families[other]) < HANDS and crystal.family not in families[other]:
            images.append(mirror_image(crystal).relabelled())
    return images


def text(crystals: Sequence[Crystal], margins: Sequence[float]) -> str:
    """Return what ``labels.json`` should hold: one crystal a line."""
    lines = []
    for c, margin in zip(crystals, margins, strict=True):
        label = {
            "space_groups": list(c.space_groups),
            "groups_around": [group_number(c, symprec) for symprec in AROUND],
            "family": c.family,
            "symmetry_margin": round(margin, 3),
        }
        lines.append(f"{json.dumps(c.name)}: {json.dumps(label)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Write ``labels.json``."""
    crystals = label_library()
    with ProcessPoolExecutor(2) as pool:
        margins = []
        for margin in pool.map(symmetry_margin, crystals, chunksize=20):
            margins.append(margin)
            if len(margins) % 100 == 0:
                sys.stderr.write(f"margins: {len(margins)} of {len(crystals)}\n")
    Path(__file__).with_name("labels.json").write_text(text(crystals, margins), encoding="utf-8")
    images = sum(c.name.endswith(MIRROR) for c in crystals)
    sys.stdout.write(f"wrote labels.json: {len(crystals)} crystals, {images} of them mirror images\n")


if __name__ == "__main__":
    main()
