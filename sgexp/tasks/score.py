"""``task=score``: a file of answers, from anywhere, against the test of a data set; the only task that opens a seal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape

from sgexp.console import console, interrupts_later
from sgexp.data.audit import audit
from sgexp.data.catalog import Catalog
from sgexp.data.split import PARTS, Split
from sgexp.data.splits import stored_split
from sgexp.errors import ConfigError, DataError
from sgexp.evaluation.metrics import evaluate
from sgexp.evaluation.predictions import Predictions
from sgexp.evaluation.submission import Answers, TestSet, read_answers
from sgexp.learning.restoring import Inference
from sgexp.report import terminal
from sgexp.runs import RunFolder, RunResult
from sgexp.schema import build
from sgexp.tasks import records
from sgexp.tasks.evaluate import Judged, answer
from sgexp.tasks.prepare import Data, cache_folder, prepare_data
from sgexp.tasks.schema import ScoreTask
from sgexp.tasks.scoring import predictions_of, train_families
from sgexp.tasks.trained_run import TrainedRun

if TYPE_CHECKING:
    from sgexp.config import Config

_TESTS = PARTS[2:]
_OPENED = "SEALED TEST OPENED: nothing may be chosen by these figures, or they are no test any more"


@dataclass(frozen=True)
class Asked:
    """The test that is to be answered: the rows of ``data`` that ``split`` calls tests, and what names the data."""

    data: Data
    split: Split
    test: TestSet
    open_fingerprint: str
    open_digest: str


def score(config: Config) -> None:
    """Read the answers, hold them against the test set, score, and leave a run folder of its own."""
    task = config.task
    assert isinstance(task, ScoreTask)
    given = [name for name in ("submission", "template") if getattr(task, name)] + (["run"] if config.run else [])
    if len(given) != 1:
        raise ConfigError(
            "task=score scores task.submission=FILE or run=DIR, or writes the ids to answer to task.template=FILE.csv: "
            "give one of them"
        )
    answers = read_answers(Path(task.submission)) if task.submission else None
    asked = the_test(config)
    if task.template:
        return write_template(asked, Path(task.template))
    source, predictions = answered(config, asked, answers)
    with interrupts_later():
        run = records.open_run(config, "score")
    with run.recording(**records.identity(config), submission=source):
        results = scored(config, asked, predictions, source["kind"] != "ranked", run)
    for line in results["stamps"]:
        console.print(f"[bold red]{escape(line)}[/bold red]")
    console.print(terminal.results_table(results))
    console.print(f"[bold]run folder[/bold] {run.folder}")
    return None


def the_test(config: Config) -> Asked:
    """Prepare the data and return its open test, or the sealed one where that was asked for in so many words."""
    assert isinstance(config.task, ScoreTask)
    method = build(config.split)
    if config.task.open_sealed and not hasattr(method, "sealed"):
        raise ConfigError("task.open_sealed=true, but this split has no sealed test: choose split=sealed")
    if config.labels != 230:
        raise ConfigError(f"labels={config.labels}: the test is over the 230 groups: score a run with labels=230")
    everything = prepare_data(config)
    data, split = everything.used_by(stored_split(method, everything.catalog, cache_folder(config)))
    fingerprint, digest = data.catalog.fingerprint, split.digest()
    if config.task.open_sealed:
        opened = method.sealed(everything.catalog)
        audit(everything.catalog, opened)
        data, split = everything.used_by(opened)
    rows = np.concatenate([split.rows(part) for part in _TESTS])
    if not len(rows):
        raise DataError(f"the split '{split.name}' of these data has no test sample: there is nothing to score")
    nothing = np.zeros((len(rows), 0), np.float32)
    samples = predictions_of(data.catalog, rows, nothing, np.zeros(0, np.int64))
    return Asked(data, split, TestSet(sample_ids(data.catalog)[rows], samples), fingerprint, digest)


def sample_ids(catalog: Catalog) -> np.ndarray:
    """Return a name for each row, (N,) str: where it stands in the files, such as ``batch_train_0.h5/sample_3_5``."""
    return np.char.add(np.char.add(catalog.path, "/"), catalog.key)


def write_template(asked: Asked, path: Path) -> None:
    """Write the ids to be answered, one a line, below the fingerprint that ties the answers to this test set."""
    if path.suffix != ".csv":
        raise ConfigError(f"task.template={path} must be a file that ends in .csv")
    text = "\n".join([f"# fingerprint: {asked.test.fingerprint}", "id", *asked.test.ids.tolist()]) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror})") from error
    console.print(f"{len(asked.test.ids):,} samples are to be answered: {escape(str(path))} lists them", soft_wrap=True)


def answered(config: Config, asked: Asked, answers: Answers | None) -> tuple[dict[str, Any], Predictions]:
    """Return where the answers come from, and the answers in the test set's order."""
    assert isinstance(config.task, ScoreTask)
    if answers is not None:
        predictions = asked.test.answered(answers)
        digest = hashlib.sha256(answers.path.read_bytes()).hexdigest()
        return {"file": str(answers.path), "sha256": digest, "kind": answers.kind}, predictions
    folder = Path(str(config.run))
    refuse_other_data(RunResult.read(folder), asked)
    if not config.task.open_sealed:
        path = folder / "predictions_test.npz"
        return {"run": str(folder), "kind": "logits"}, asked.test.answered(read_answers(path))
    trained = TrainedRun.open(config)
    inference = Inference(trained.network.network, asked.data.transform.standardise, config.trainer)
    judged = Judged(asked.data, asked.split, own=True)
    parts = [part for part in _TESTS if len(asked.split.rows(part))]
    found = answer(judged, parts, inference, trained.classes, config.trainer.eval_batch_size)
    return trained.facts() | {"kind": "logits"}, Predictions.concatenate(list(found.values()))


def refuse_other_data(run: RunResult, asked: Asked) -> None:
    """Refuse a run that was trained with other data or another split than those that are to test it."""
    recorded = run.record.get("split")
    digest = recorded.get("digest") if isinstance(recorded, dict) else None
    if (run.record.get("data_fingerprint"), digest) != (asked.open_fingerprint, asked.open_digest):
        raise DataError(
            f"run={run.folder} was trained on data {str(run.record.get('data_fingerprint'))[:12]!r}, these are "
            f"{asked.open_fingerprint[:12]!r} (or split otherwise): task=evaluate judges a network on other data"
        )


def scored(
    config: Config, asked: Asked, predictions: Predictions, probabilistic: bool, run: RunFolder
) -> dict[str, Any]:
    """Return what result.json says: figures as after training, of what test set, and whether it was the sealed one."""
    assert isinstance(config.task, ScoreTask)
    families = train_families(asked.data, asked.split)
    parts = {part: predictions.take(np.isin(predictions.row, asked.split.rows(part))) for part in _TESTS}
    parts = {part: item for part, item in parts.items() if len(item)}
    found = {part: evaluate(item, families, config.evaluation, probabilistic) for part, item in parts.items()}
    records.write_predictions(run, parts)
    sealed = config.task.open_sealed
    told = records.stamps(asked.data, asked.split)
    run.update(
        data_fingerprint=asked.data.catalog.fingerprint,
        benchmark=asked.data.title or None,
        split={"name": asked.split.name, "leaky": asked.split.leaky, "digest": asked.split.digest()}
        | asked.split.counts(),
        test_set={"fingerprint": asked.test.fingerprint, "samples": len(asked.test.ids), "sealed": sealed},
        sealed_opened=datetime.now().astimezone().isoformat(timespec="seconds") if sealed else None,
        stamps=[_OPENED, *told] if sealed else told,
        notes=list(asked.split.notes),
        metrics={part: item.as_dict() for part, item in found.items()},
        counts={part: item.counts for part, item in found.items()},
        figure_notes={part: list(item.notes) for part, item in found.items() if item.notes},
        baselines={},
        set_aside=len(asked.data.catalog.bad),
    )
    return run.record
