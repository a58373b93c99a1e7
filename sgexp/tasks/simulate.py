"""``task=simulate``: crystals to CBED stacks in SMC-19's layout, for trainings or in a folder of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sgexp.console import console, progress
from sgexp.crystallography.library import EDITION, load_library
from sgexp.crystallography.random_crystals import random_crystals
from sgexp.data.schema import CrystalsDataset
from sgexp.report.terminal import shortened
from sgexp.schema import build
from sgexp.simulation.generation import FAILED, generate, settings_fingerprint
from sgexp.simulation.shards import Shard
from sgexp.simulation.unreadable import UNREADABLE, write_unreadable
from sgexp.tasks.prepare import simulation_recipe, the_crystals, the_data_sets_crystals
from sgexp.tasks.schema import SimulateTask

if TYPE_CHECKING:
    from sgexp.config import Config
    from sgexp.crystallography.crystal import Crystal


def simulate(config: Config) -> None:
    """Simulate the chosen crystals; started again after an interruption it goes on where it was."""
    task = config.task
    assert isinstance(task, SimulateTask)
    crystals, refused = choose(task, config)
    crystals, shard = crystals[: task.limit], Shard.parse(task.shard)
    own = None if task.folder else data_sets_folder(task, config)
    folder = Path(task.folder) if task.folder else own or settings_folder(task, config, crystals)
    console.print(f"{len(crystals):,} crystals, to {folder}")
    write_unreadable(folder, refused)
    try:
        made = generate(crystals, folder, config.simulation, shard=shard)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on where it stopped") from None
    of = "" if shard.whole else f"shard {shard}: "
    console.print(f"{of}{made.samples:,} samples of {made.materials:,} crystals in {len(made.files)} files")
    if made.failed:
        listed = f"{folder / FAILED} lists them" if not made.missing else f"{FAILED} will list them"
        console.print(f"[yellow]{len(made.failed)} crystals could not be simulated ({listed}):[/yellow]")
        console.print(
            "\n".join(shortened((f"{failure.material}: {failure.reason}" for failure in made.failed), most=3))
        )
    if refused:
        console.print(f"[yellow]{len(refused)} inputs could not be used ({folder / UNREADABLE} lists them)[/yellow]")
    if made.missing:
        console.print(
            f"{made.missing} files are still to come from other shards; the last one to end finishes the folder"
        )
        return
    if own is not None:
        console.print("a training with the same dataset=, size= and simulation= finds them there")
    else:
        console.print(f"train on them with: python -m sgexp dataset=smc19 dataset.root={folder}")


def settings_folder(task: SimulateTask, config: Config, crystals: list[Crystal]) -> Path:
    """Return a folder below the data folder that other crystals or settings do not share."""
    fingerprint = settings_fingerprint(crystals, config.simulation, config.simulation.engine)
    return Path(config.data_dir) / "simulated" / f"{task.source}-{fingerprint[:10]}"


def data_sets_folder(task: SimulateTask, config: Config) -> Path | None:
    """Return the folder in which a training looks for the data set; None where other crystals are simulated."""
    if task.source != "population" or task.limit is not None or not config.dataset.simulates:
        return None
    folder: Path = build(config.dataset).folder(simulation_recipe(config))
    return folder


def choose(task: SimulateTask, config: Config) -> tuple[list[Crystal], list[tuple[str, str]]]:
    """Return the crystals that ``task.source`` names, and (input, reason) of what gives none."""
    if task.source == "cifs":
        return the_crystals(CrystalsDataset(cifs=task.cifs))
    if task.source == "library":
        edition = config.dataset.library if isinstance(config.dataset, CrystalsDataset) else EDITION
        return load_library(copies=False, edition=edition), []
    if task.source == "random":
        groups = task.groups or list(range(1, 231))
        with progress(transient=True) as bar:
            shown = bar.add_task("making random crystals", total=len(groups) * task.each)
            return random_crystals(
                groups, task.each, task.seed, progress=lambda done, _: bar.update(shown, completed=done)
            )
    if config.dataset.simulates:
        return the_data_sets_crystals(config)
    return the_crystals(CrystalsDataset(materials=config.size.materials))
