"""``sampler=physical``: new crystals of rare groups are simulated into a file in the cache, and read like all others.

Only the process that plans simulates; the others are told which samples there are. A recipe is decided by (seed, class,
number), so whoever lacks the file makes the very same; a run that is resumed draws what its own table lists.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from sgexp.console import console, duration, progress
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.groups import merged_219
from sgexp.crystallography.population import POPULATION_VERSION
from sgexp.data.contents import pixel_fault
from sgexp.data.growing import GrowingStore, JoinedStore
from sgexp.data.split import MADE, TEST_FAMILY, VALIDATION, Split
from sgexp.errors import DataError
from sgexp.learning.processes import of_the_first
from sgexp.runs import RunFolder
from sgexp.sampling.physical import Physical, Served
from sgexp.sampling.schema import PhysicalSampler
from sgexp.schema import build
from sgexp.simulation.recipes import Changes, Recipe, Recipes
from sgexp.simulation.variants import one_thread
from sgexp.tasks.prepare import Data, cache_folder, simulation_recipe
from sgexp.tasks.streaming import of_the_data_set

if TYPE_CHECKING:
    from sgexp.config import Config

VERSION = 1
"""To be raised with every change of code that changes what a recipe is drawn or made into."""

TABLE = "new_crystals.csv"
Key = tuple[int, int]


@dataclass(frozen=True)
class NewRows:
    """The new samples, in the order in which they stand behind the rows of the data set.

    ``keys``: (class, number) of each; ``facts``: what the cache says of it; ``notes``: what came of the wish.
    """

    keys: tuple[Key, ...]
    facts: tuple[dict[str, Any], ...]
    store: GrowingStore
    notes: tuple[str, ...]

    def behind(self, data: Data) -> Data:
        """Return the data with the new samples as further rows; fingerprint, title and first rows stay as they are."""
        places = self.store.places([_name(key) for key in self.keys])
        catalog = data.catalog
        more: dict[str, list[Any]] = {
            "path": [MADE] * len(self.keys),
            "key": [_name(key) for key in self.keys],
            "space_group": [group for group, _ in self.keys],
            "pixels": [data.store.pixels] * len(self.keys),
            "released": [""] * len(self.keys),
            **{
                name: [fact[name] for fact in self.facts]
                for name in ("material", "family", "energy_kev", "formula", "cell")
            },
        }
        columns: dict[str, Any] = {}
        for name, values in more.items():
            before = getattr(catalog, name)
            new = np.array(values, None if before.dtype.kind == "U" else before.dtype)
            columns[name] = np.concatenate([before, new.reshape(-1, *before.shape[1:])]) if len(values) else before
        joined = dataclasses.replace(catalog, **columns)
        return dataclasses.replace(data, catalog=joined, store=JoinedStore(data.store, joined, self.store, places))

    def table(self, first: int) -> list[tuple[Any, ...]]:
        """Return the lines of the recipe table; ``first``: the row of the first new sample."""
        return [
            (first + place, *key, fact["material"], fact["family"], *_written(fact["recipe"]), fact["seconds"])
            for place, (key, fact) in enumerate(zip(self.keys, self.facts, strict=True))
        ]


_RECIPE = tuple(field.name for field in dataclasses.fields(Recipe))
HEADER = ("row", "space_group", "number", "material", "family", *_RECIPE, "seconds")


def _written(recipe: dict[str, Any]) -> list[Any]:
    """Return a recipe's fields as cells: lists as JSON, no value as ''."""
    cells = [recipe[name] for name in _RECIPE]
    return [json.dumps(cell) if isinstance(cell, list) else "" if cell is None else cell for cell in cells]


def recipe_of(cells: dict[str, Any]) -> Recipe:
    """Return the recipe of a line of the table, or of what the cache says."""
    read = {name: cells[name] for name in _RECIPE}
    elements, uvw = (json.loads(cell) if isinstance(cell, str) else cell for cell in (read["elements"], read["uvw"]))
    return Recipe(
        parent=str(read["parent"]),
        elements=tuple(elements),
        jitter=float(read["jitter"]),
        jitter_seed=int(read["jitter_seed"]),
        mirrored=str(read["mirrored"]) == "True",
        uvw=tuple(tuple(row) for row in uvw),
        thickness=None if read["thickness"] in ("", None) else float(read["thickness"]),
        rotation=float(read["rotation"]),
        energy_kev=float(read["energy_kev"]),
        seed=int(read["seed"]),
    )


def new_rows(config: Config, data: Data, split: Split, run: RunFolder) -> NewRows | None:
    """Return the new samples that the sampler asks for, simulated or from the cache; None for other samplers."""
    if not isinstance(config.sampler, PhysicalSampler):
        return None
    recipes = make_recipes(config, data, split)
    maker = Maker(config, data, split, recipes)
    labels = data.catalog.space_group[split.rows("train")].astype(np.int64)
    sampler: Physical = build(config.sampler)

    def choose() -> tuple[tuple[Key, ...], tuple[str, ...]]:
        if (keys := _listed(run)) is not None:
            maker.make_all(keys)
            return keys, tuple(run.record.get("new_crystals", {}).get("notes", ()))
        served = maker.serve(sampler, labels)
        return served.made, (*sampler.wanted(labels)[1], *told(served, sampler.budget))

    keys, notes = of_the_first(choose)
    maker.make_all(keys)  # nothing is left to make, but where another node has a cache of its own
    facts = tuple(maker.store.facts[_name(key)] for key in keys)
    made = NewRows(keys, facts, maker.store, notes)
    refuse_leak(made, data, split)
    return made


def make_recipes(config: Config, data: Data, split: Split) -> Recipes:
    """Return what draws the recipes: training materials are parents, all other crystals are held out."""
    asked: Any = config.sampler
    catalog, rows = data.catalog, split.rows("train")
    crystals = {crystal.name: crystal for crystal in of_the_data_set(config)}
    energies: dict[str, list[float]] = {}
    labels: dict[str, int] = {}
    for row in rows.tolist():
        name = str(catalog.material[row])
        energies.setdefault(name, []).append(float(catalog.energy_kev[row]))
        labels[name] = int(catalog.space_group[row])
    if missing := [name for name in labels if name not in crystals]:
        raise DataError(f"{missing[0]} has patterns in {catalog.root}, but no crystal: delete the folder")
    label_of_group = merged_219 if config.labels == 219 else np.arange(231)
    changes = Changes(
        **{
            name: getattr(asked, name) for name in ("substitute", "jitter", "energy", "zones", "rotate", "enantiomorph")
        },
        thickness=(asked.thickness[0], asked.thickness[1]),
    )
    trained = [(crystals[name], label, energies[name]) for name, label in labels.items()]
    held_out = [crystal for name, crystal in crystals.items() if name not in labels]
    return Recipes(trained, label_of_group, held_out, changes, config.simulation, config.seed)


class Maker:
    """Makes samples by (class, number), or finds them in the cache, in a folder named after all they depend on."""

    def __init__(self, config: Config, data: Data, split: Split, recipes: Recipes) -> None:
        self.config, self.recipes, self.encode = config, recipes, data.transform.encode
        facts = {
            "version": [VERSION, POPULATION_VERSION],
            "data": data.catalog.fingerprint,
            "split": split.digest(),
            "labels": config.labels,
            "transform": data.transform.digest(),
            "simulation": simulation_recipe(config),
            "changes": dataclasses.asdict(recipes.changes),
            "seed": config.seed,
        }
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = cache_folder(config) / "new_crystals" / name
        self.shape = (3, data.store.pixels, data.store.pixels)
        self.engine = build(config.simulation.engine)
        self.simulated = 0
        self.store = GrowingStore(self.folder, self.shape)

    def serve(self, sampler: Physical, labels_N: np.ndarray) -> Served:
        """Make what the sampler wants, with a bar; one job at a time, others wait and find it made."""
        wanted = sum(sampler.wanted(labels_N)[0].values())
        with self.alone(), progress(transient=True) as bar:
            task = bar.add_task("simulating new crystals", total=wanted)
            spent = 0.0

            def make(group: int, number: int) -> tuple[bool, float]:
                nonlocal spent
                found, cost = self.make(group, number)
                spent += cost
                done = bar.tasks[0].completed + found
                by_budget = round(done * sampler.budget / spent) if spent else wanted  # what the budget will pay for
                bar.update(task, completed=done, total=min(wanted, max(by_budget, done)))
                return found, cost

            return sampler.serve(labels_N, make)

    def make_all(self, keys: Sequence[Key]) -> None:
        """Make those of the samples that are not there."""
        if all(_name(key) in self.store.facts for key in keys):
            return
        with self.alone(), progress(transient=True) as bar:
            for key in bar.track(keys, description="simulating new crystals"):
                if not self.make(*key)[0]:
                    raise DataError(f"the new crystal {_name(key)} cannot be made here: start a new run")

    def make(self, group: int, number: int) -> tuple[bool, float]:
        """Make one sample where it is not there; return whether there is one, and what it cost when it was made."""
        name = _name((group, number))
        if name not in self.store.facts:
            started = time.process_time()
            said, patterns = self._made(group, number)
            said["seconds"] = round(time.process_time() - started, 4)
            self.store.add(name, said, patterns)
            self.simulated += 1
        facts = self.store.facts[name]
        return facts["place"] is not None, float(facts["seconds"])

    def _made(self, group: int, number: int) -> tuple[dict[str, Any], np.ndarray | None]:
        drawn = self.recipes.draw(group, number)
        if drawn is None:
            return {}, None
        recipe, crystal = drawn
        try:
            patterns = recipe.stack(crystal, self.config.simulation, self.engine).patterns
        except DataError as error:
            return {"reason": str(error)}, None
        if fault := pixel_fault(patterns):
            return {"reason": f"{crystal.name}: {fault}"}, None
        with torch.inference_mode(), one_thread():
            coded = self.encode(torch.from_numpy(patterns)[None])[0].to(torch.float16).numpy()
        return facts_of(recipe, crystal), coded

    def alone(self) -> _Alone:
        """Hold the folder's lock, and know what others have made meanwhile."""
        return _Alone(self)


class _Alone:
    def __init__(self, maker: Maker) -> None:
        self.maker, self.lock = maker, FileLock(maker.folder / "lock")

    def __enter__(self) -> None:
        try:
            self.lock.acquire(timeout=1)
        except Timeout:
            console.print("Another job is simulating the same new crystals: waiting for it.")
            self.lock.acquire()
        self.maker.store = GrowingStore(self.maker.folder, self.maker.shape)

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def facts_of(recipe: Recipe, crystal: Crystal) -> dict[str, Any]:
    """Return what the catalog and the table say of a new sample, as plain values."""
    return {
        "material": crystal.name,
        "family": crystal.family,
        "energy_kev": recipe.energy_kev,
        "formula": crystal.formula,
        "cell": [*crystal.abc.tolist(), *crystal.angles.tolist()],
        "recipe": json.loads(json.dumps(dataclasses.asdict(recipe))),
    }


def refuse_leak(made: NewRows, data: Data, split: Split) -> None:
    """Refuse new samples of a material that is judged, or of a family that is kept for test_family."""
    catalog = data.catalog
    materials = {fact["material"] for fact in made.facts} & set(catalog.material[split.part >= VALIDATION].tolist())
    families = {fact["family"] for fact in made.facts} & set(catalog.family[split.part == TEST_FAMILY].tolist())
    if (materials or families) and not split.leaky:
        raise DataError(
            f"new crystals leak: {len(materials)} of their materials and {len(families)} of their families are judged "
            f"({', '.join(sorted(materials | families)[:3])})"
        )


def told(served: Served, budget: float) -> tuple[str, ...]:
    """Say how many of the wanted samples were made, and why not more."""
    wanted = sum(served.wanted.values())
    if not wanted:
        return ("sampler=physical has nothing to make: no class is below what sampler.balance asks for.",)
    said = (
        f"{len(served.made):,} of {wanted:,} new crystals in {len({group for group, _ in served.made})} of "
        f"{len(served.wanted)} groups were made, which cost {duration(served.seconds)} of simulation when they were"
    )
    if served.spent:
        said += f"; then the budget was spent (sampler.budget={budget:g}), on the rarest groups first"
    if served.given_up:
        groups = ", ".join(map(str, served.given_up))
        said += f"; no more could be made of groups {groups}: no crystal that is not held out keeps the group there"
    return (f"{said}.",)


def record(run: RunFolder, made: NewRows, first: int, write_csv: Any) -> None:
    """Write the recipe table, and what result.json says of it."""
    write_csv(run.path(TABLE), HEADER, made.table(first))
    seconds = round(sum(fact["seconds"] for fact in made.facts), 1)
    run.update(new_crystals={"rows": len(made.keys), "seconds": seconds, "notes": list(made.notes)})


def _listed(run: RunFolder) -> tuple[Key, ...] | None:
    """Return the samples that the table of a run that is resumed lists; None where there is none yet."""
    path = run.path(TABLE)
    if not path.is_file():
        return None
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return tuple((int(row["space_group"]), int(row["number"])) for row in csv.DictReader(stream))
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} is damaged: it says which new crystals the run trains on; start a new run") from error


def _name(key: Key) -> str:
    return f"{key[0]}-{key[1]}"
