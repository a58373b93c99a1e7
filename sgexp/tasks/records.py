"""What a training run writes into its folder, and how a run is opened, new or interrupted."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.markup import escape

from sgexp.console import console
from sgexp.data.audit import Audit
from sgexp.data.calibration import calibration_of
from sgexp.data.catalog import Catalog
from sgexp.data.split import MADE, PARTS, Split
from sgexp.data.transforms import resize_area
from sgexp.errors import DataError
from sgexp.evaluation.predictions import Predictions
from sgexp.learning.checkpoint import newest_whole
from sgexp.learning.loggers.base import About
from sgexp.learning.processes import of_the_first
from sgexp.ranks import RUN_FOLDER, place
from sgexp.report import gallery, pictures
from sgexp.runs import AUTO, RunFolder, config_hash, experiment, write_text
from sgexp.schema import plain
from sgexp.tasks.resuming import OtherData, newest_interrupted

if TYPE_CHECKING:
    from sgexp.config import Config
    from sgexp.sampling.plan import ResamplingPlan
    from sgexp.tasks.prepare import Data

_EXAMPLES = 12


def open_run(config: Config, task: str = "train") -> RunFolder:
    """Make a run folder or reopen the one to resume; a further process of a distributed run joins the first one's.

    Processes that were started together have met by now (`processes.join`), so the first tells the others its folder:
    nothing that an earlier start has left behind can be mistaken for it.
    """
    if place().world == 1:
        if _started_by_the_first():
            return RunFolder(Path(os.environ[RUN_FOLDER]), writes=False)
        run = _make_or_reopen(config, task)
        os.environ[RUN_FOLDER] = str(run.folder)
        return run
    made: list[RunFolder] = []

    def make() -> str:
        made.append(_make_or_reopen(config, task))
        return str(made[0].folder)

    folder = of_the_first(make)
    return made[0] if made else RunFolder(Path(folder), writes=False)


def _make_or_reopen(config: Config, task: str) -> RunFolder:
    asked = plain(config) | {"resume": None}
    if config.resume == AUTO:
        run = newest_interrupted(Path(config.output_dir) / task, asked)
        if run is not None:
            run.write_config(asked)  # what the hash leaves out, such as paths and devices, may have been said anew
            return run
    elif config.resume:
        return RunFolder.reopen(Path(config.resume))
    run = RunFolder.create(Path(config.output_dir), task, config.name, asked)
    run.describe(asked, overrides(), seeds=seeds(config), gpus=_gpus())
    return run


def _started_by_the_first() -> bool:
    """Say whether the first process of the run, on the same machine, started this one (as Lightning does)."""
    return RUN_FOLDER in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def overrides() -> list[str]:
    """Return what was asked on the command line (of one job, in a sweep)."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def choices() -> dict[str, str]:
    """Return which choice was made of each config group."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return {}
    made = HydraConfig.get().runtime.choices
    return {
        group: str(choice) for group, choice in made.items() if choice is not None and not group.startswith("hydra/")
    }


def seeds(config: Config) -> dict[str, int]:
    """Return every seed of the experiment, by the group it belongs to."""
    found = {"seed": config.seed}
    for group in ("dataset", "split", "simulation", "evaluation"):
        seed = getattr(getattr(config, group), "seed", None)
        if seed is not None:
            found[f"{group}.seed"] = seed
    return found


def _gpus() -> list[str]:
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def identity(config: Config) -> dict[str, Any]:
    """Return what names the experiment in result.json, and what the experiment is."""
    asked = plain(config)
    return {
        "task": type(config.task).target.rpartition(".")[2],
        "name": config.name,
        "seed": config.seed,
        "config_hash": config_hash(asked),
        "config": experiment(asked),
        **({"choices": choices()} if config.resume in (None, AUTO) else {}),
    }


def about(config: Config, run: RunFolder) -> About:
    """Return what a logger is told of the run."""
    asked = plain(config)
    seedless = config_hash({key: value for key, value in asked.items() if key != "seed"})
    return About(run.folder, config.name, seedless, asked, run.record.get("choices", {}))


def checkpoint_to_resume(run: RunFolder) -> str | None:
    """Return the newest whole checkpoint of an interrupted run, or None to begin at the beginning.

    A damaged one is named, and set aside, so that it cannot push out the whole one before it.
    """
    path, skipped = newest_whole(run.path("checkpoints"))
    for damaged, said in skipped.items():
        assert path is not None  # else it would have been refused
        aside = damaged.with_name(damaged.name + ".damaged")
        console.print(f"[yellow]{escape(said)} It is set aside as {aside.name}; going on from {path.name}[/yellow]")
        if run.writes:
            os.replace(damaged, aside)
    return str(path) if path else None


def checkpoint_to_judge(run: RunFolder) -> Path | None:
    """Return the weights that were best on validation; without validation the last ones; None: those at hand."""
    paths = (run.path("checkpoints", f"{name}.ckpt") for name in ("best", "last"))
    return next((path for path in paths if path.exists()), None)


def write_inputs(
    run: RunFolder, data: Data, split: Split, plan: ResamplingPlan, overlap: Audit, drawn: Catalog | None = None
) -> None:
    """Record who trains and tests, what is drawn, what was set aside, and how the classes are distributed.

    ``drawn``: the catalog of the plan's rows, where it has rows behind the data's that were made for training.
    """
    catalog, every = data.catalog, drawn or data.catalog
    refuse_other_data(run, catalog.fingerprint, split)
    parts = np.append(np.array(PARTS)[split.part], [MADE] * (len(every) - len(catalog)))
    columns = (every.path, every.key, every.material, every.family, every.space_group, every.energy_kev)
    header = ("row", "path", "key", "material", "family", "space_group", "energy_kev", "split")
    rows = zip(*(column.tolist() for column in (np.arange(len(every)), *columns, parts)), strict=True)
    write_csv(run.path("split.csv"), header, rows)
    plan.save(run.path("plan.npz"))
    counts = class_counts(data, split, plan, every)
    _write_classes(run.path("classes.csv"), counts)
    bad = [(sample.path, sample.key, sample.reason) for sample in catalog.bad]
    write_csv(run.path("set_aside.csv"), ("path", "key", "reason"), bad)
    pictures.class_distribution(counts, run.path("class_distribution.png"))
    run.update(
        data_fingerprint=catalog.fingerprint,
        benchmark=data.title or None,
        calibration=calibration_of(catalog).as_dict(),
        split={"name": split.name, "leaky": split.leaky, "digest": split.digest(), **split.counts()},
        stamps=stamps(data, split),
        notes=[*split.notes, *plan.notes],
        overlap={"materials": overlap.materials, "families": overlap.families},
        set_aside=len(bad),
        draws=plan.draws,
    )


def parts_of_materials(folder: Path) -> dict[str, str]:
    """Return material -> part from a run's ``split.csv``."""
    try:
        with (folder / "split.csv").open(newline="", encoding="utf-8") as stream:
            return {row["material"]: row["split"] for row in csv.DictReader(stream)}
    except (OSError, KeyError, csv.Error) as error:
        raise DataError(f"{folder / 'split.csv'} cannot be read: it says who trains and who tests") from error


def refuse_other_data(run: RunFolder, fingerprint: str, split: Split) -> None:
    """Refuse to go on in a run that began with other data or another split: its result would be of neither."""
    before = run.record
    if (
        before.get("data_fingerprint", fingerprint) != fingerprint
        or before.get("split", {}).get("digest", split.digest()) != split.digest()
    ):
        raise OtherData(
            f"resume={run.folder}: the data are no longer those that the run began with; start a new run on them"
        )


def stamps(data: Data, split: Split) -> list[str]:
    """Return what every reader of the figures must be told."""
    found = []
    if split.leaky:
        found.append(f"LEAKY SPLIT ({split.name}): the same materials train and test, do not believe these scores")
    if data.catalog.family_is_proxy:
        found.append("families are a proxy (group, anonymised formula, rounded cell), not matched structures")
    return found


def class_counts(data: Data, split: Split, plan: ResamplingPlan, drawn: Catalog | None = None) -> dict[str, np.ndarray]:
    """Return per group (length 231): families and materials in all, samples of each part, draws of an epoch."""
    catalog = data.catalog
    groups = catalog.space_group.astype(np.int64)
    counts = {part: np.bincount(groups[split.rows(part)], minlength=231) for part in PARTS}
    counts["drawn"] = plan.counts((drawn or catalog).space_group.astype(np.int64), 231)
    for column in ("families", "materials"):
        names = catalog.family if column == "families" else catalog.material
        pairs = np.unique(np.stack([groups.astype(str), names.astype(str)]), axis=1)
        counts[column] = np.bincount(pairs[0].astype(np.int64), minlength=231)
    return counts


def _write_classes(path: Path, counts: Mapping[str, np.ndarray]) -> None:
    names = ("families", "materials", "train", "drawn", "validation", "test_material", "test_family")
    present = np.flatnonzero(counts["materials"])
    rows = ((group, *(int(counts[name][group]) for name in names)) for group in present.tolist())
    write_csv(path, ("space_group", *names), rows)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_predictions(run: RunFolder, predictions: Mapping[str, Predictions]) -> None:
    """Keep every logit of validation and test, so that any figure can be computed from them later."""
    if "validation" in predictions:
        predictions["validation"].save(run.path("predictions_validation.npz"))
    tests = [item for part, item in predictions.items() if part != "validation"]
    if tests:
        Predictions.concatenate(tests).save(run.path("predictions_test.npz"))


def draw_examples(run: RunFolder, data: Data, predictions: Mapping[str, Predictions], seed: int) -> None:
    """Draw test stacks with their true and predicted groups, a mixture of right and wrong ones."""
    part = next((name for name in ("test_material", "test_family", "validation") if name in predictions), None)
    if part is None:
        return
    shown = predictions[part]
    probability = shown.probabilities
    best = probability.argmax(1)
    top = shown.classes[best]
    order = np.random.default_rng(seed).permutation(len(shown.label))
    right, wrong = order[top[order] == shown.label[order]], order[top[order] != shown.label[order]]
    half = min(len(right), max(_EXAMPLES // 2, _EXAMPLES - len(wrong)))
    chosen = np.concatenate([right[:half], wrong[: _EXAMPLES - half]])
    names = data.catalog.formula[shown.row[chosen]].tolist()
    patterns = data.store.read(shown.row[chosen])
    true, picked = shown.label[chosen], probability[chosen, best[chosen]]
    pictures.examples(patterns, true, top[chosen], picked, names, run.path("examples.png"))


def keep_gallery(
    run: RunFolder, data: Data, predictions: Mapping[str, Predictions], plan: ResamplingPlan, seed: int
) -> None:
    """Keep a few judged stacks and the parents of a few mixed ones, so that reports need no data set."""
    tests = [item for part, item in predictions.items() if part != "validation"]
    # one blind draw for every run of a test set: the same stacks come up wherever they were right or wrong
    chosen = [item.row[gallery.choose_judged(item, seed=0)] for item in tests]
    rows = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    if plan.recipe is not None and plan.recipe.steps:
        plan = plan.epoch(seed, 0)
    draws = gallery.choose_mixed(plan, data.catalog.space_group, seed=0)
    base, partner = plan.base[draws], plan.partner[draws]
    formula = data.catalog.formula
    gallery.Gallery(
        row=rows,
        patterns=_thumbnails(data, rows),
        formula=formula[rows],
        base=_thumbnails(data, base),
        partner=_thumbnails(data, partner),
        weight=plan.weight[draws],
        space_group=data.catalog.space_group[base],
        base_row=base,
        partner_row=partner,
        base_formula=formula[base],
        partner_formula=formula[partner],
    ).save(run.path("gallery.npz"))


def _thumbnails(data: Data, rows: np.ndarray) -> np.ndarray:
    """Return the coded patterns of a few rows as bytes, averaged down where they are wide."""
    patterns = torch.from_numpy(data.store.read(rows))
    return gallery.as_bytes(resize_area(patterns, min(gallery.SIDE, patterns.shape[-1])).numpy())
