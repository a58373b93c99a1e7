"""Crystals kept in a file, so that those of a folder or a large population are read or made once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sgexp.crystallography.crystal import Crystal
from sgexp.errors import DataError
from sgexp.npz import load_npz, save_npz

SCHEMA_VERSION = 1


def save_crystals(path: Path, crystals: Sequence[Crystal]) -> None:
    """Write crystals with their labels, names and families, whole or not at all (an npz without pickle)."""
    save_npz(
        path,
        SCHEMA_VERSION,
        cell=np.stack([crystal.cell for crystal in crystals]),
        atoms=np.array([len(crystal) for crystal in crystals], np.int64),
        numbers=np.concatenate([crystal.numbers for crystal in crystals]),
        positions=np.concatenate([crystal.positions for crystal in crystals]),
        space_groups=np.array([crystal.space_groups for crystal in crystals], np.int64),
        name=np.array([crystal.name for crystal in crystals]),
        parent=np.array([crystal.parent for crystal in crystals]),
        family=np.array([crystal.family for crystal in crystals]),
        **_moving(crystals),
    )


def _moving(crystals: Sequence[Crystal]) -> dict[str, np.ndarray]:
    """Return displacements where a crystal has any: crystal, atomic number and Å in a row of each."""
    rows = [(index, z, rms) for index, crystal in enumerate(crystals) for z, rms in crystal.displacements]
    return {"displacements": np.array(rows, np.float64)} if rows else {}


def load_crystals(path: Path) -> list[Crystal]:
    """Read what ``save_crystals`` wrote, to the last bit; anything else is a `DataError`."""
    found = load_npz(path, SCHEMA_VERSION)
    try:
        ends = np.cumsum(found["atoms"])[:-1]
        numbers, positions = np.split(found["numbers"], ends), np.split(found["positions"], ends)
        groups = [(int(a), int(b), int(c)) for a, b, c in found["space_groups"]]
        words = zip(*(found[name].tolist() for name in ("name", "parent", "family")), strict=True)
        moving: list[list[tuple[int, float]]] = [[] for _ in groups]
        for index, element, rms in found.get("displacements", np.zeros((0, 3))).tolist():
            moving[int(index)].append((int(element), rms))
        return [
            Crystal(cell, z, x, three, name, parent, family, tuple(own))
            for cell, z, x, three, (name, parent, family), own in zip(
                found["cell"], numbers, positions, groups, words, moving, strict=True
            )
        ]
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path} holds no crystals as sgexp writes them ({error}): delete it") from error
