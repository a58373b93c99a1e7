"""The mirror image of a crystal: every atom inverted through the origin of the cell, which keeps all distances."""

from __future__ import annotations

from dataclasses import replace

from sgexp.crystallography.crystal import Crystal


def mirrored(crystal: Crystal) -> Crystal:
    """Return the mirror image, labelled by spglib: of the partner's group in the 22 enantiomorphic ones, else the same.

    It is called as the crystal with ``-mirror``; parent and family are kept.
    """
    return replace(crystal, positions=-crystal.positions % 1.0 % 1.0, name=f"{crystal.name}-mirror").relabelled()
