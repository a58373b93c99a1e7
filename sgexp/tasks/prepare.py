"""From a config to data that can be trained on: crystals, their patterns, the catalog, the packed store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sgexp.console import console, progress
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.files import read_structures
from sgexp.crystallography.groups import merged_219
from sgexp.crystallography.population import make_population
from sgexp.data.catalog import BadSample, Catalog
from sgexp.data.cbed230.dataset import CBED230
from sgexp.data.packed import PackedStore
from sgexp.data.schema import CBED230Dataset, CrystalsDataset
from sgexp.data.split import UNUSED, Split
from sgexp.data.transforms import Transform
from sgexp.errors import DataError
from sgexp.report.terminal import shortened
from sgexp.runs import as_before
from sgexp.schema import build, plain
from sgexp.simulation.generation import FAILED, generate, read_failures
from sgexp.simulation.schema import SAME_RESULT, engine_version
from sgexp.simulation.unreadable import UNREADABLE, read_unreadable, write_unreadable

if TYPE_CHECKING:
    from sgexp.config import Config


@dataclass(frozen=True)
class Data:
    """What a run trains and tests on: rows of ``catalog`` are rows of ``store``.

    ``title``: the benchmark that these data are, such as ``CBED-230 v1.0 S smc19``; '' if none.
    """

    catalog: Catalog
    store: PackedStore
    transform: Transform
    title: str = ""

    def features(self, rows: np.ndarray) -> PooledFeatures:
        """Return what samplers look for neighbours in, read only when asked for: it fits any data set."""
        return PooledFeatures(self.store, rows)

    def labelled(self, labels: int) -> Data:
        """Return the data with the 230 space groups as labels, or with mirror images of each other as one (219).

        To be asked for after the split, which then is the same for both.
        """
        if labels == 230:
            return self
        merged = merged_219[self.catalog.space_group].astype(self.catalog.space_group.dtype)
        return replace(self, catalog=replace(self.catalog, space_group=merged))

    def used_by(self, split: Split) -> tuple[Data, Split]:
        """Leave out the rows that no part of the split uses, so that rows count from 0 without gaps."""
        kept = np.flatnonzero(split.part != UNUSED)
        if len(kept) == len(split.part):
            return self, split
        store = self.store.take(kept)
        return replace(self, catalog=store.catalog, store=store), replace(split, part=split.part[kept])


class PooledFeatures:
    """Pooled patterns of some rows, (len, F) float32, that stay in the store until a part of them is asked for."""

    def __init__(self, store: PackedStore, rows: np.ndarray) -> None:
        self.store, self.rows = store, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: np.ndarray) -> np.ndarray:
        return self.store.pooled(self.rows[chosen])


def cache_folder(config: Config) -> Path:
    """Return the folder of what is derived from data sets: headers, packed patterns, splits."""
    return Path(config.data_dir) / "cache"


def prepare_data(config: Config, look: Callable[[Catalog], None] | None = None) -> Data:
    """Make the data set where it is not made yet (once, others wait), list it, and pack its coded patterns.

    ``look`` sees the catalog before any pixel is packed, and may refuse it.
    """
    dataset, transform = build(config.dataset), build(config.transform)
    recipe = simulation_recipe(config)
    folder = dataset.prepare(lambda folder: simulate_into(folder, config), recipe)
    cache = cache_folder(config)
    catalog = dataset.catalog(cache)
    if look is not None:
        look(catalog)
    store = PackedStore.build(catalog, transform, cache, max_bad_fraction=dataset.max_bad_fraction)
    failed = [
        BadSample(FAILED, failure.material, failure.reason.removeprefix(f"{failure.material}: "))
        for failure in read_failures(folder)
    ]
    failed += [BadSample(UNREADABLE, *refused) for refused in read_unreadable(folder)]
    store.catalog = catalog = store.catalog.with_bad(failed)
    title = dataset.title(recipe) if isinstance(dataset, CBED230) else ""
    materials, groups = len(np.unique(catalog.material)), len(np.unique(catalog.space_group))
    console.print(
        f"[bold]data[/bold] {f'{title}: ' if title else ''}{len(catalog):,} samples of {materials:,} materials in "
        f"{groups} space groups, {len(np.unique(catalog.family)):,} families, fingerprint {catalog.fingerprint[:12]}"
    )
    if catalog.bad:
        console.print(f"[yellow]{len(catalog.bad):,} samples were set aside (set_aside.csv lists them):[/yellow]")
        console.print("\n".join(shortened((str(sample) for sample in catalog.bad), most=3)))
    return Data(catalog, store, transform, title)


def simulation_recipe(config: Config) -> dict[str, Any]:
    """Return every setting of the simulation that a pattern depends on."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(item) for key, item in value.items() if key not in SAME_RESULT}
        return value

    version = engine_version(config.simulation, config.simulation.engine)
    return {"engine_version": version} | without(as_before(plain(config.simulation), "simulation"))


def simulate_into(folder: Path, config: Config) -> None:
    """Simulate the data set's crystals into a folder."""
    crystals, refused = the_data_sets_crystals(config)
    write_unreadable(folder, refused)
    generate(crystals, folder, config.simulation)


def crystals_named(config: Config, names: set[str]) -> list[Crystal]:
    """Return those crystals of a simulated data set that have these names, in its order."""
    if isinstance(config.dataset, CBED230Dataset):
        return build(config.dataset).crystals(names)
    made, _ = the_data_sets_crystals(config)
    found = [crystal for crystal in made if crystal.name in names]
    if missing := sorted(names - {crystal.name for crystal in found}):
        raise DataError(
            f"{len(missing)} crystals can no longer be made here, such as {missing[0]}: is the data set gone?"
        )
    return found


def the_data_sets_crystals(config: Config) -> tuple[list[Crystal], list[tuple[str, str]]]:
    """Return the crystals that a simulated data set consists of, and (file, reason) of the files that give none."""
    if isinstance(config.dataset, CBED230Dataset):
        return build(config.dataset).crystals(), []
    assert isinstance(config.dataset, CrystalsDataset)
    return the_crystals(config.dataset)


def the_crystals(asked: CrystalsDataset) -> tuple[list[Crystal], list[tuple[str, str]]]:
    """Return the crystals of a folder of structure files, or so many from the built-in library and its families.

    And (file, reason) of the files that cannot be used.
    """
    cifs = asked.cifs
    if cifs is None:
        with progress(transient=True) as bar:
            task = bar.add_task("building crystals", total=asked.materials)
            made = make_population(
                asked.materials,
                asked.seed,
                library=asked.library,
                jitter=asked.jitter,
                progress=lambda done, _: bar.update(task, completed=done),
            )
        return made, []
    with progress(transient=True) as bar:
        task = bar.add_task("reading structure files", total=None)
        crystals, refused = read_structures(
            Path(cifs), progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    if refused:
        console.print(f"[yellow]{len(refused)} of the structure files in {cifs} cannot be used:[/yellow]")
        console.print("\n".join(shortened((f"{path}: {reason}" for path, reason in refused), most=5)))
    if not crystals:
        raise DataError(f"{cifs} has no file that can be used: give a folder of .cif, .vasp or .xyz files.")
    return crystals, refused
