"""``task=evaluate``: the network of an old run judged again, on its own test crystals or on other data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from torch import nn

from sgexp.console import console, interrupts_later, progress
from sgexp.data.calibration import calibration_of, differences
from sgexp.data.catalog import Catalog
from sgexp.data.formats.smc19 import PATTERNS
from sgexp.data.split import PARTS, Split
from sgexp.data.splits import stored_split
from sgexp.data.trained_on import notes as left_out_notes
from sgexp.data.trained_on import unseen
from sgexp.errors import DataError
from sgexp.evaluation import calibration
from sgexp.evaluation.metrics import evaluate as figures_of
from sgexp.evaluation.predictions import Predictions
from sgexp.learning.restoring import Inference
from sgexp.learning.views import AveragedViews, picks_of
from sgexp.loading.samplers import EvaluationBatches
from sgexp.report import answers, terminal
from sgexp.run_config import read_run_config
from sgexp.runs import RunFolder
from sgexp.schema import build, plain
from sgexp.tasks import records
from sgexp.tasks.posthoc import corrected
from sgexp.tasks.prepare import Data, cache_folder, prepare_data
from sgexp.tasks.schema import EvaluateTask
from sgexp.tasks.scoring import predictions_of, score
from sgexp.tasks.trained_run import TrainedRun

if TYPE_CHECKING:
    from sgexp.config import Config


@dataclass(frozen=True)
class Judged:
    """Which rows of which data judge the network, whether they are those of its own run, and what is to be told."""

    data: Data
    split: Split
    own: bool
    notes: tuple[str, ...] = ()
    stamps: tuple[str, ...] = ()
    left_out: dict[str, Any] | None = None


def evaluate(config: Config) -> None:
    """Check that run and data fit together, answer, score, and leave a run folder of its own."""
    trained = TrainedRun.open(config)
    network = with_views(config, trained)
    with interrupts_later():
        run = records.open_run(config, "evaluate")
    try:
        with run.recording(**records.identity(config), source=trained.facts()):
            console.print(f"[bold]run[/bold] {escape(str(trained.folder))} ({len(trained.classes)} groups)")
            console.print(f"[bold]run folder[/bold] {run.folder}")
            results = judge(config, trained, network, run)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted: nothing was scored; give the same command again") from None
    for line in results["stamps"]:
        console.print(f"[bold red]{escape(line)}[/bold red]")
    console.print(terminal.results_table(results))
    console.print(answers.temperature_table(results["temperature"]))
    if results["posthoc"]:
        console.print(answers.posthoc_table(results["metrics"], results["posthoc"]))
    console.print(f"[bold]run folder[/bold] {run.folder}")


def with_views(config: Config, trained: TrainedRun) -> nn.Module:
    """Return the run's network, looking at each crystal in the ways that were asked for."""
    task = config.task
    assert isinstance(task, EvaluateTask)
    picks = picks_of(task.patterns, trained.network.network, PATTERNS)
    if picks is None and not task.rotations:
        return trained.network.network
    return AveragedViews(trained.network.network, (0, 1, 2, 3) if task.rotations else (0,), picks)


def judge(config: Config, trained: TrainedRun, network: nn.Module, run: RunFolder) -> dict[str, Any]:
    """Prepare the data, decide who judges, answer and score."""
    warnings = trained.notes()
    if getattr(config.task, "rotations", False) and getattr(config.augment, "rotate", "") == "none":
        warnings.append("the network never saw turned patterns (augment.rotate=none): rotations may well make it worse")
    data = prepare_data(config, lambda catalog: warnings.extend(look(catalog, config, trained)))
    judged = who_judges(config, trained, data)
    warnings.extend(judged.notes)
    parts = [part for part in PARTS[1:] if len(judged.split.rows(part))]
    counts = judged.split.counts()
    console.print(f"[bold]judged on[/bold] {terminal.counts_line({part: counts[part] for part in parts})}")
    for note in warnings:
        console.print(f"  [yellow]- {escape(note)}[/yellow]")
    write_who_judged(run, judged)
    inference = Inference(network, judged.data.transform.standardise, config.trainer)
    predictions = answer(judged, parts, inference, trained.classes, config.trainer.eval_batch_size)
    records.write_predictions(run, predictions)
    records.draw_examples(run, judged.data, predictions, config.seed)
    run.update(
        data_fingerprint=judged.data.catalog.fingerprint,
        benchmark=judged.data.title or None,
        split={"name": judged.split.name, "leaky": judged.split.leaky, "digest": judged.split.digest()}
        | judged.split.counts(),
        stamps=list(judged.stamps),
        notes=warnings,
        left_out=judged.left_out,
        views=views_of(config),
        set_aside=len(judged.data.catalog.bad),
        **scored(config, trained, judged, predictions),
    )
    temperature = calibrated(config, trained, judged, predictions)
    run.update(temperature=temperature)
    run.update(posthoc=corrected(config, trained, judged.own, predictions, run))
    tests = {part: item for part, item in predictions.items() if part != "validation"}
    if tests:
        answers.draw_reliability(tests, temperature, config.evaluation.calibration_bins, run.path("reliability.png"))
    return run.record


def look(catalog: Catalog, config: Config, trained: TrainedRun) -> list[str]:
    """Refuse patterns that the network cannot read, and say in what others differ from those it was trained on."""
    transform = build(config.transform)
    largest = int(catalog.pixels.max())
    if largest < transform.pixels:
        raise DataError(
            f"the run's network reads patterns of {transform.pixels} pixels (transform.pixels), those "
            f"in {catalog.root} have {largest}, and enlarging would invent detail: it cannot be judged on them"
        )
    given, learned = calibration_of(catalog), trained.calibration
    said = differences(learned, given, transform.pixels, exposure_matters=transform.code == "log")
    if np.isnan(given.q_width):
        said.append("the files do not say their scale (1/Å a pixel): whether it is that of training cannot be checked")
    return said


def who_judges(config: Config, trained: TrainedRun, data: Data) -> Judged:
    """Return the run's own split where these are its own data and split, else all samples that it never saw."""
    before = trained.result.record
    own_split = plain(config.split) == read_run_config(str(config.run), "run").get("split")
    if own_split and (own := own_rows(config, before, data)) is not None:
        return Judged(own[0].labelled(config.labels), own[1], own=True, stamps=tuple(records.stamps(*own)))
    among = None if own_split else stored_split(build(config.split), data.catalog, cache_folder(config))
    data = data.labelled(config.labels)
    found = unseen(data.catalog, trained.trained_on(), trained.classes, among)
    known = list(trained.classes)
    fingerprint = data.catalog.fingerprint
    stamp = f"judged on other data or another split than its run's own (fingerprint {fingerprint[:12]})"
    proxy = tuple(line for line in records.stamps(data, found.split) if line not in found.stamps)
    left_out = {
        "seen_samples": found.seen,
        "unknown_samples": sum(found.unknown.values()),
        "unknown_groups": {str(group): count for group, count in found.unknown.items()},
        "known_groups": len(known),
    }
    return Judged(data, found.split, False, tuple(left_out_notes(found)), (stamp, *found.stamps, *proxy), left_out)


def own_rows(config: Config, before: dict[str, Any], data: Data) -> tuple[Data, Split] | None:
    """Return data and split as the run had them, or None where these data or this split are no longer the same."""
    try:
        split = stored_split(build(config.split), data.catalog, cache_folder(config))
    except DataError:  # other data may not even have what the run's split needs
        return None
    used, part = data.used_by(split)
    recorded = before.get("split")
    digest = recorded.get("digest") if isinstance(recorded, dict) else None
    same = used.catalog.fingerprint == before.get("data_fingerprint") and part.digest() == digest
    return (used, part) if same else None


def write_who_judged(run: RunFolder, judged: Judged) -> None:
    """Record every sample with the part it judges, like a training's split.csv; ``left_out`` for the others."""
    catalog = judged.data.catalog
    parts = np.array([*PARTS, "left_out"])[judged.split.part]  # UNUSED is -1
    columns = (catalog.path, catalog.key, catalog.material, catalog.family, catalog.space_group, catalog.energy_kev)
    header = ("row", "path", "key", "material", "family", "space_group", "energy_kev", "split")
    rows = zip(*(column.tolist() for column in (np.arange(len(catalog)), *columns, parts)), strict=True)
    records.write_csv(run.path("split.csv"), header, rows)
    bad = [(sample.path, sample.key, sample.reason) for sample in catalog.bad]
    records.write_csv(run.path("set_aside.csv"), ("path", "key", "reason"), bad)


def answer(
    judged: Judged, parts: list[str], inference: Inference, classes: np.ndarray, batch_size: int
) -> dict[str, Predictions]:
    """Return the network's answers for every row of the parts, part by part in batches as after training."""
    catalog, found = judged.data.catalog, {}
    with progress(transient=True) as bar:
        task = bar.add_task("answering", total=sum(len(judged.split.rows(part)) for part in parts))
        for part in parts:
            rows = judged.split.rows(part)
            logits = []
            for batch in EvaluationBatches(len(rows), batch_size):
                logits.append(inference.logits(judged.data.store.read(rows[batch])))
                bar.advance(task, len(batch))
            found[part] = predictions_of(catalog, rows, np.concatenate(logits), classes)
    return found


def scored(config: Config, trained: TrainedRun, judged: Judged, predictions: dict[str, Predictions]) -> dict[str, Any]:
    """Return metrics and counts as after training; on other data without baselines, which learn from the own ones."""
    if judged.own:
        return score(config, judged.data, judged.split, predictions)
    families = trained.trained_on().families_per_group
    found = {part: figures_of(item, families, config.evaluation) for part, item in predictions.items()}
    return {
        "metrics": {part: item.as_dict() for part, item in found.items()},
        "counts": {part: item.counts for part, item in found.items()},
        "figure_notes": {part: list(item.notes) for part, item in found.items() if item.notes},
        "baselines": {},
        "top1_counting_unknown_groups_wrong": counting_unknown(predictions, judged),
    }


def counting_unknown(predictions: dict[str, Predictions], judged: Judged) -> float | None:
    """Return top-1 over all samples that were never seen, those of unknown groups counted as wrong."""
    unknown = (judged.left_out or {}).get("unknown_samples", 0)
    right = sum(int((item.predicted == item.label).sum()) for item in predictions.values())
    samples = unknown + sum(len(item) for item in predictions.values())
    return right / samples if samples else None


def views_of(config: Config) -> dict[str, Any]:
    """Return what result.json says of test-time augmentation."""
    task = config.task
    assert isinstance(task, EvaluateTask)
    return {"rotations": 4 if task.rotations else 1, "patterns": task.patterns}


def calibrated(
    config: Config, trained: TrainedRun, judged: Judged, predictions: dict[str, Predictions]
) -> dict[str, Any]:
    """Fit a temperature on validation, never on test, and return calibration error and likelihood before and after."""
    views = views_of(config) != {"rotations": 1, "patterns": "all"}
    if judged.own and "validation" in predictions:
        temperature = calibration.fit_temperature(predictions["validation"])
    elif views:
        note = "validation was answered without these views: a temperature for them needs the run's own data"
        temperature = calibration.Temperature(1.0, 0, note)
    else:
        temperature = trained.temperature()
    bins = config.evaluation.calibration_bins

    def both(item: Predictions) -> dict[str, float]:
        return {
            "ece": calibration.expected_calibration_error(item, bins),
            "nll": calibration.negative_log_likelihood(item),
        }

    tests = {part: item for part, item in predictions.items() if part != "validation"}
    return {
        "value": temperature.value,
        "fitted_on": "validation",
        "samples": temperature.samples,
        "note": temperature.note,
        "before": {part: both(item) for part, item in tests.items()},
        "after": {part: both(calibration.at_temperature(item, temperature.value)) for part, item in tests.items()},
    }
