"""``task=ladder``: how far a network's answers carry when one thing of the experiment changes and all else is equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape

from sgexp.console import console, interrupts_later
from sgexp.crystallography.crystal import Crystal
from sgexp.data.dataset import SMC19
from sgexp.data.packed import PackedStore
from sgexp.data.split import PARTS, UNUSED, Split
from sgexp.errors import ConfigError, DataError
from sgexp.evaluation.metrics import evaluate
from sgexp.evaluation.predictions import Predictions
from sgexp.learning.restoring import Inference
from sgexp.report import ladder as shown
from sgexp.runs import RunFolder
from sgexp.schema import build
from sgexp.simulation.generation import generate, settings_fingerprint
from sgexp.simulation.ladders import LOGARITHMIC, UNITS, rung, rungs_of
from sgexp.tasks import records
from sgexp.tasks.evaluate import Judged, answer
from sgexp.tasks.prepare import Data, cache_folder, crystals_named
from sgexp.tasks.schema import LadderTask
from sgexp.tasks.trained_run import TrainedRun

if TYPE_CHECKING:
    from sgexp.config import Config

_TESTS = PARTS[2:]


@dataclass(frozen=True)
class Climbed:
    """What one rung gave: its data's fingerprint, and the answers for each part."""

    fingerprint: str
    answers: dict[str, Predictions]


def ladder(config: Config) -> None:
    """Simulate the test crystals of a run for every rung, answer, score, and leave a run folder of its own."""
    task = config.task
    assert isinstance(task, LadderTask)
    if not config.dataset.simulates:
        raise ConfigError(
            f"run={config.run} was trained on files, and a ladder simulates its test crystals anew: give a run "
            "that was trained with dataset=crystals or dataset=cbed230"
        )
    trained = TrainedRun.open(config)
    before = chosen_tests(trained.folder, task.materials)
    rungs = rungs_of(task.over, task.rungs)
    with interrupts_later():
        run = records.open_run(config, "ladder")
    try:
        with run.recording(**records.identity(config), source=trained.facts()):
            results = climb(config, trained, before, rungs, run)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted: the same command goes on with what is simulated already") from None
    console.print(shown.ladder_table(task.over, UNITS[task.over], rungs, results["rungs"], results["as_tested"]))
    console.print(f"[bold]run folder[/bold] {run.folder}")


def chosen_tests(folder: Path, most: int) -> dict[str, Predictions]:
    """Return the run's own answers for at most so many materials of each test column, always the same ones."""
    path = folder / "predictions_test.npz"
    if not path.is_file():
        raise DataError(f"{folder} has no predictions_test.npz, which says who tests: give a finished training")
    everything, parts = Predictions.load(path), records.parts_of_materials(folder)
    chosen = {}
    for part in _TESTS:
        names = sorted({name for name in everything.material.tolist() if parts.get(name) == part})
        drawn = np.random.default_rng(0).permutation(len(names))[:most]
        if len(drawn):
            chosen[part] = everything.take(np.isin(everything.material, [names[index] for index in drawn]))
    if not chosen:
        raise DataError(f"{folder} has no test material: a ladder has nothing to climb with")
    return chosen


def climb(
    config: Config, trained: TrainedRun, before: dict[str, Predictions], rungs: Sequence[float], run: RunFolder
) -> dict[str, Any]:
    """Answer every rung, score it over the materials that all rungs have, and record everything."""
    task = config.task
    assert isinstance(task, LadderTask)
    names = {name for item in before.values() for name in item.material.tolist()}
    crystals = crystals_named(config, names)
    console.print(
        f"[bold]run[/bold] {escape(str(trained.folder))}: {len(crystals)} test crystals on {len(rungs)} rungs of "
        f"{task.over} ({', '.join(f'{value:g}' for value in rungs)} {UNITS[task.over]})"
    )
    climbed = [stand(config, trained, before, crystals, value) for value in rungs]
    common = set.intersection(
        *({name for item in one.answers.values() for name in item.material.tolist()} for one in climbed)
    )
    families = trained.trained_on().families_per_group

    def figures(answers: dict[str, Predictions]) -> dict[str, dict[str, dict[str, float]]]:
        kept = {part: item.take(np.isin(item.material, list(common))) for part, item in answers.items()}
        return {part: evaluate(item, families, config.evaluation).as_dict() for part, item in kept.items() if len(item)}

    found, tested = [figures(one.answers) for one in climbed], figures(before)
    if not tested:
        raise DataError("no test crystal could be simulated on every rung: give fewer or nearer task.rungs")
    run.update(
        over=task.over,
        unit=UNITS[task.over],
        values=list(rungs),
        rungs=found,
        as_tested=tested,
        metrics=tested,
        materials=len(common),
        left_out=sorted(names - common),
        data_fingerprints=[one.fingerprint for one in climbed],
        stamps=[],
        notes=[],
    )
    header = (task.over, "part", "figure", "value", "low", "high")
    records.write_csv(run.path("ladder.csv"), header, shown.rows(task.over, rungs, found))
    logarithmic = task.over in LOGARITHMIC
    picture = run.path("ladder.png")
    shown.draw_ladder(task.over, UNITS[task.over], logarithmic, rungs, found, tested, picture)
    return run.record


def stand(
    config: Config, trained: TrainedRun, before: dict[str, Predictions], crystals: list[Crystal], value: float
) -> Climbed:
    """Simulate one rung (once, it is kept) and return the network's answers for each part."""
    assert isinstance(config.task, LadderTask)
    settings: Any = rung(config.simulation, config.task.over, value)  # of the protocol that the run has
    digest = settings_fingerprint(crystals, settings, settings.engine)
    folder = Path(config.data_dir) / "ladders" / f"{config.task.over}-{value:g}-{digest[:10]}"
    console.print(f"[bold]rung[/bold] {config.task.over} {value:g} {UNITS[config.task.over]}")
    generate(crystals, folder, settings)
    cache, transform = cache_folder(config), build(config.transform)
    catalog = SMC19(str(folder), max_bad_fraction=1.0).catalog(cache)
    store = PackedStore.build(catalog, transform, cache, max_bad_fraction=1.0)
    catalog = store.catalog
    part = np.full(len(catalog), UNUSED, dtype=np.int8)
    for name, item in before.items():
        part[np.isin(catalog.material, item.material)] = PARTS.index(name)
    judged = Judged(Data(catalog, store, transform), Split(part, "ladder"), own=False)
    inference = Inference(trained.network.network, transform.standardise, config.trainer)
    found = answer(judged, list(before), inference, trained.classes, config.trainer.eval_batch_size)
    return Climbed(catalog.fingerprint, found)
