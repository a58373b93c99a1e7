"""Generate ``labels.json``: rebuild every built-in crystal, label it with spglib and assign the structure families.

Run ``python -m sgexp.crystallography.library.build``; a test repeats all of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.families import assign_families
from sgexp.crystallography.library import rebuild, records


def label_library() -> list[Crystal]:
    """Return the 1,328 crystals with labels and families found afresh (in about 15 s)."""
    return assign_families([Crystal.from_arrays(**rebuild(record)) for record in records()])


def text(crystals: list[Crystal]) -> str:
    """Return what ``labels.json`` should hold: one crystal a line."""
    lines = [
        f"{json.dumps(c.name)}: {json.dumps({'space_groups': list(c.space_groups), 'family': c.family})}"
        for c in crystals
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    Path(__file__).with_name("labels.json").write_text(text(label_library()), encoding="utf-8")
    sys.stdout.write("wrote labels.json\n")
