"""A dataset: it says where files are and which samples of them count."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sgexp.data.catalog import Catalog
from sgexp.data.dataset import SMC19


class SomeGroups(SMC19):
    """The samples of the chosen space groups, of files in SMC-19's layout."""

    def __init__(self, root: str, space_groups: list[int], max_bad_fraction: float) -> None:
        super().__init__(root, max_bad_fraction)
        self.space_groups = space_groups

    def catalog(self, cache_dir: Path, progress: bool = True) -> Catalog:
        """Return the catalog of those samples."""
        whole = super().catalog(cache_dir, progress)
        return whole.take(np.flatnonzero(np.isin(whole.space_group, self.space_groups)))
