"""Small data sets and catalogs made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sgexp.data.catalog import Catalog
from sgexp.data.formats.smc19 import Writer


def attributes(space_group: int = 14, material: str = "mp-1", **other: object) -> dict[str, object]:
    values: dict[str, object] = {
        "space_group": space_group,
        "material": material,
        "energy_keV": 100,
        "z_dirs": np.eye(3),
        "y_dirs": np.roll(np.eye(3), 1, axis=0),
        "semi_angles_rad": [0.004, 0.005, 0.006],
        "d_hkls_angstrom": [2.0, 1.9, 1.8],
        "abc_angstrom": [3.0, 4.0, 5.0],
        "angles_degree": [90.0, 100.0, 90.0],
        "formula": "Fe8 O14 F2",
    }
    return values | other


def patterns(seed: int, pixels: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).random((3, pixels, pixels), dtype=np.float32) + np.float32(1e-3)


def write_samples(path: Path, count: int, start: int = 0, pixels: int = 16, ours: bool = True) -> None:
    """Write ``count`` samples, two energies a material, two materials a family."""
    with Writer(path) as writer:
        for n in range(start, start + count):
            material = n // 2
            extra = {"family": f"family {material // 2}", "parent": f"mp-{material}"} if ours else None
            facts = attributes(14 + material % 3, f"mp-{material}", energy_keV=100 + 10 * (n % 2))
            writer.add(f"sample_{material}_{n % 2}", patterns(n, pixels), facts, extra)


def make_catalog(
    groups: Sequence[int], materials: Sequence[str], families: Sequence[str], released: Sequence[str] | None = None
) -> Catalog:
    """Return a catalog of samples that no file holds."""
    count = len(groups)
    return Catalog(
        root=Path("nowhere"),
        path=np.array(["batch_train_0.h5"] * count),
        key=np.array([f"sample_{row}_0" for row in range(count)]),
        space_group=np.array(groups, dtype=np.int16),
        material=np.array(materials, dtype=np.str_),
        family=np.array(families, dtype=np.str_),
        energy_kev=np.full(count, 100, dtype=np.float32),
        formula=np.array(["Si1"] * count),
        released=np.array(released if released is not None else [""] * count),
        pixels=np.full(count, 64, dtype=np.int16),
        fingerprint=f"made by hand {count}",
    )
