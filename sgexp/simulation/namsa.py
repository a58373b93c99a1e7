"""What namsa does to a slab and we do not, for patterns that are to be set beside SMC-19's own (engine=namsa).

Read in its source (github.com/nlaanait/namsa, ``msa.py``): the box is the extent of the atoms after displacement, in x,
y and z; slices are as many as fit into it, and what lies outside them is left out; the potential of an atom is added at
the pixel that its position is in.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sgexp.errors import DataError
from sgexp.simulation.protocol import Slab


def extent_of_atoms(slab: Slab, name: str) -> Slab:
    """Return the slab in the box that its atoms span, of whole slices from height 0, without the atoms outside them.

    Atoms stay where they are: like namsa's, the box begins at 0 although displaced atoms lie a little below.
    """
    span = np.ptp(slab.positions, axis=0) if len(slab.positions) else np.zeros(3)
    if min(span[:2]) <= 0.0:
        raise DataError(f"{name}: its atoms span no box across the beam; use a larger size.box.")
    slices = max(1, int(span[2] / slab.slice_thickness))
    heights = slab.positions[:, 2]
    inside = (heights >= 0.0) & (heights < slices * slab.slice_thickness)
    box = (float(span[0]), float(span[1]))
    return Slab(slab.numbers[inside], slab.positions[inside], box, slab.slice_thickness, slices)


def on_pixels(slab: Slab, grid: tuple[int, int]) -> Slab:
    """Return the slab with every atom on the corner, towards the origin, of the pixel that it is in."""
    pixel = np.array([slab.box[0] / grid[1], slab.box[1] / grid[0]])
    snapped = slab.positions.copy()
    snapped[:, :2] = np.floor(snapped[:, :2] / pixel + 1e-9) * pixel  # an atom on a corner stays there
    return replace(slab, positions=snapped)
