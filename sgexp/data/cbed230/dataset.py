"""``dataset=cbed230``: patterns of the materials that CBED-230 lists, simulated on first use."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from sgexp.console import progress
from sgexp.crystallography.crystal import Crystal
from sgexp.data import cbed230
from sgexp.data.dataset import DATASET_VERSION, Crystals
from sgexp.errors import DataError


class CBED230(Crystals):
    """The first ``materials`` of CBED-230's list, in a folder of ``root`` named after the recipe that makes them."""

    def __init__(self, root: str, materials: int, max_bad_fraction: float) -> None:
        super().__init__(root, materials, cifs=None, seed=0, max_bad_fraction=max_bad_fraction)

    def recipe(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return all that the files depend on: the list, and the simulation's ``settings``."""
        listed = {"benchmark": cbed230.NAME, "list": cbed230.frozen()["list"], "materials": self.materials}
        return {"version": DATASET_VERSION, "crystals": listed, "simulation": dict(settings)}

    @property
    def _kind(self) -> str:
        return f"cbed230-{self.materials}"

    def title(self, settings: Mapping[str, Any]) -> str:
        """Return ``CBED-230 v1.0 S smc19`` where these settings make just that, else ''."""
        return cbed230.title_of(self.materials, settings)

    def crystals(self, names: Container[str] | None = None) -> list[Crystal]:
        """Return the crystals (those among ``names``) in the order of the files, which tells nothing of groups.

        What a whole size is made of is held against its digest.
        """
        with progress(transient=True) as bar:
            task = bar.add_task("building crystals", total=self.materials)
            made = cbed230.listed_crystals(self.materials, lambda done, _: bar.update(task, completed=done), names)
        size = next((name for name, count in cbed230.SIZES.items() if count == self.materials), None)
        if names is None and size is not None and cbed230.crystals_digest(made) != cbed230.frozen()["crystals"][size]:
            raise DataError(
                f"the crystals made here are not those of {cbed230.NAME} v{cbed230.frozen()['version']} {size}: the "
                "built-in crystals or the elements' radii have changed since; use the version of sgexp that made them"
            )
        order = np.random.default_rng([230, self.materials]).permutation(len(made))
        return [made[index] for index in order]
