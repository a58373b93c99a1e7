"""``dataset=stream``: which crystals training patterns may be simulated from, and what is told of it."""

from __future__ import annotations

import hashlib
import json
import socket
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from sgexp.console import console, duration
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.stored import load_crystals, save_crystals
from sgexp.data.schema import CBED230Dataset, StreamDataset
from sgexp.data.split import Split
from sgexp.errors import DataError
from sgexp.learning.gather import sum_over_ranks
from sgexp.loading.slots import Slots
from sgexp.loading.stream import Stream
from sgexp.runs import RunFolder
from sgexp.schema import build
from sgexp.simulation.variants import Variants
from sgexp.tasks.prepare import Data, cache_folder, the_crystals

if TYPE_CHECKING:
    from sgexp.config import Config
    from sgexp.sampling.plan import ResamplingPlan


def make_stream(config: Config, data: Data, split: Split, plans: list[ResamplingPlan], run: RunFolder) -> Stream | None:
    """Return what simulates training patterns, from training materials alone; None where all are read from the store.

    Every other crystal of the data set is held out: none of its group and formula is made, whichever part it is in.
    """
    dataset = config.dataset
    if not isinstance(dataset, StreamDataset):
        return None
    crystals = {crystal.name: crystal for crystal in of_the_data_set(config)}
    rows = split.rows("train")
    materials = data.catalog.material[rows].tolist()
    if missing := [name for name in materials if name not in crystals]:
        raise DataError(f"{missing[0]} has patterns in {data.catalog.root}, but no crystal: delete the folder")
    trained = set(materials)
    held_out = [crystal for name, crystal in crystals.items() if name not in trained]
    slots = None
    if dataset.keep > 1 and dataset.cache_mb:
        path = run.path(f"stream-{socket.gethostname()}.cache")  # a machine's own: its processes share it
        shape = (3, data.store.pixels, data.store.pixels)
        slots = Slots(path, sum(map(len, plans)), shape, dataset.cache_mb * 2**20)
    return Stream(
        {int(row): crystals[name] for row, name in zip(rows, materials, strict=True)},
        data.catalog.energy_kev,
        Variants(config.simulation, held_out, dataset.substitute, dataset.energy == "any"),
        data.transform.encode,
        seed=config.seed,
        keep=dataset.keep,
        slots=slots,
    )


def of_the_data_set(config: Config) -> list[Crystal]:
    """Return the data set's crystals, from a file where they have been made before."""
    if isinstance(config.dataset, CBED230Dataset):
        return build(config.dataset).crystals()
    recipe = json.dumps(build(config.dataset).recipe({})["crystals"], sort_keys=True)
    if config.simulation.file_displacement:  # files of before do not hold any
        recipe += " with displacements"
    path = cache_folder(config) / "crystals" / f"{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.npz"

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.is_file():
            dataset: Any = config.dataset
            save_crystals(path, the_crystals(dataset)[0])
    return load_crystals(path)


def tell(stream: Stream, run: RunFolder, begun: bool) -> None:
    """Say and record how many patterns were simulated, over all ranks (each of them has to ask), and tidy up."""
    made, seconds = sum_over_ranks(stream.done).tolist()
    if run.writes:
        before = run.record.get("stream", {}) if begun else {}
        made, seconds = made + before.get("simulated", 0), seconds + before.get("seconds", 0.0)
        run.update(stream={"simulated": round(made), "seconds": round(seconds, 1)})
        console.print(
            f"[bold]stream[/bold] {made:,.0f} patterns simulated for training, in {duration(seconds)} of work"
        )
    stream.close()
