"""``logger=wandb``: the run in Weights & Biases (wandb.ai), offline unless the environment says ``WANDB_MODE=online``.

Offline nothing is asked, nothing is sent and no account is needed: the record lies in ``wandb/`` of the run folder
until ``task=sync`` uploads it. wandb is imported when a run starts, not before: that takes most of a second.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import WandbLogger as LightningWandbLogger
from rich.markup import escape

from sgexp.console import console
from sgexp.errors import ConfigError
from sgexp.evaluation.predictions import Predictions
from sgexp.learning.loggers import tables
from sgexp.learning.loggers.base import RunLogger, figures, in_one_line

if TYPE_CHECKING:
    import wandb

MODES = {"online": "online", "offline": "offline", "disabled": "disabled", "run": "online", "dryrun": "offline"}
_MOST_ROWS = 10_000  # what W&B shows of a table
_SERVICE_DIED = ("MailboxClosedError", "HandleAbandonedError")  # what waits for an answer hears these
_TAGGED = ("dataset", "split", "sampler", "model", "loss", "size")
_ARTIFACTS = {
    "config": ("config.yaml", "overrides.yaml", "provenance.json"),
    "split": ("split.csv", "classes.csv", "set_aside.csv"),
    "plan": ("plan.npz",),
    "predictions": ("predictions_validation.npz", "predictions_test.npz"),
}


class WandbLogger(RunLogger):
    """Records a run in W&B: config, tags, group, curves, figures, tables, charts, pictures and files.

    Parameters
    ----------
    project, entity, group : where in W&B the run belongs; None: as WANDB_PROJECT, WANDB_ENTITY and WANDB_RUN_GROUP say,
        else the project sgexp, the account's own entity, and a group that the seeds of one experiment share.
    tags : beside one for each of the main choices.
    artifacts : also the files that say who trained and tested, what was drawn and predicted.
    """

    title = "W&B"

    def __init__(
        self, project: str | None, entity: str | None, group: str | None, tags: list[str], artifacts: bool
    ) -> None:
        super().__init__()
        self.mode = mode()
        self.project, self.entity, self.group, self.tags, self.artifacts = project, entity, group, tags, artifacts

    def _identity(self) -> dict[str, Any]:
        """Return what names a new run in W&B."""
        about, said = self.about, os.environ.get
        # An agent of a W&B sweep names the run that it starts; by itself WANDB_RUN_ID would put all runs into one.
        given = said("WANDB_RUN_ID", "") if said("WANDB_SWEEP_ID") else ""
        return {
            "id": given if re.fullmatch(r"[0-9a-z]{1,64}", given) else uuid.uuid4().hex[:12],
            "project": self.project or said("WANDB_PROJECT") or "sgexp",
            "entity": self.entity or said("WANDB_ENTITY"),
            "group": self.group or said("WANDB_RUN_GROUP") or f"{about.name}-{about.seedless}",
            "tags": [f"{key}:{about.choices[key]}"[:64] for key in _TAGGED if key in about.choices] + self.tags,
        }

    def _start(self) -> None:
        if self.mode == "disabled":
            self.started = False
            return
        import wandb

        kept = kept_identity(self.about.folder)
        self.resumed, self.identity = bool(kept), self._identity() | kept
        self.about.folder.joinpath("wandb").mkdir(exist_ok=True)
        self.about.folder.joinpath("wandb", "run.json").write_text(json.dumps(self.identity, indent=2) + "\n")
        self.told: list[Callable[[], None]] | None = []
        self._begin(wandb)

    def _begin(self, wandb: Any) -> None:
        with _inside(self.about.folder):
            wandb.setup(wandb.Settings(silent=True))  # what is worth knowing is said here, in a line
            if self.mode == "online":
                self._start_online(wandb)
            if self.mode == "offline":
                self._init(wandb)
        self.lightning.log_hyperparams(dict(self.about.config))

    def _tell(self, do: Callable[..., None], *arguments: Any) -> None:
        """Have wandb record something; where its service has died, once, begin another record that tells all again.

        (A cluster that asks a job to stop asks the service too. It obeys, and leaves an empty record behind.)
        """
        if self.mode != "offline" or self.told is None:
            return do(*arguments)
        self.told.append(partial(do, *arguments))
        try:
            do(*arguments)
        except Exception as error:
            if not isinstance(error, ConnectionError) and type(error).__name__ not in _SERVICE_DIED:
                raise
            import wandb

            self._let_go(1)
            told, self.told = self.told, None
            self._begin(wandb)
            for tell in told:
                tell()

    def _start_online(self, wandb: Any) -> None:
        """Begin a run on the server; where that cannot be, say why and record offline. Nobody is asked for a key."""
        try:
            if not wandb.login(prompt=False, verify=True):
                raise PermissionError("no account is set up here: `wandb login` does that")
            self._init(wandb)
            console.print(f"[bold]W&B[/bold] {escape(self.run.url or '')}", soft_wrap=True)
        except Exception as error:  # the key, the network, the service: all the same to the training
            self.mode = "offline"
            reason = escape(in_one_line(error))
            console.print(f"[yellow]W&B cannot be reached, so the run is recorded offline ({reason})[/yellow]")

    def _init(self, wandb: Any) -> None:
        self.run: wandb.Run = wandb.init(
            dir=self.about.folder,
            name=self.about.folder.name,
            job_type="train",
            mode=self.mode,
            resume="allow" if self.resumed and self.mode == "online" else None,
            settings=wandb.Settings(silent=True, console="off", disable_code=True),
            **self.identity,
        )
        self.run.define_metric("trainer/global_step")
        self.run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        self.lightning = LightningWandbLogger(experiment=self.run)  # names the steps, makes the config plain

    def _earlier_rows(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Repeat them unless W&B has them: offline each start records the whole run, and the last one is uploaded."""
        for row in () if self.run.resumed else rows:
            self._row(row, step=int(row["step"]))

    def _row(self, values: Mapping[str, float], step: int) -> None:
        self._tell(self._record_row, dict(values), step)

    def _record_row(self, values: dict[str, float], step: int) -> None:
        self.lightning.log_metrics(values, step=step)

    def _results(self, record: Mapping[str, Any], predictions: Mapping[str, Predictions]) -> None:
        self._tell(self._record_results, record, predictions)

    def _record_results(self, record: Mapping[str, Any], predictions: Mapping[str, Predictions]) -> None:
        import wandb

        folder = self.about.folder
        if record.get("split", {}).get("leaky"):
            self.run.tags = (*self.run.tags, "leaky split")
        self.run.summary.update(figures(record))
        told = ("config_hash", "data_fingerprint", "stamps", "notes")
        self.run.summary.update({name: record[name] for name in told if name in record})
        with _inside(folder):
            self.run.log(_charts(wandb, folder, predictions))
            for kind, names in _ARTIFACTS.items() if self.artifacts else ():
                self.run.log_artifact(self._artifact(wandb, kind, [folder / name for name in names], record))

    def _artifact(self, wandb: Any, kind: str, paths: list[Path], record: Mapping[str, Any]) -> Any:
        """Return some files of the run folder as one artifact; equal splits and configs share theirs by name."""
        shared = {"config": record.get("config_hash"), "split": record.get("split", {}).get("digest")}
        artifact = wandb.Artifact(f"{kind}-{shared.get(kind) or self.identity['id']}", type=kind)
        for path in paths:
            if path.is_file():  # immutable: uploaded from where it lies, without a copy
                artifact.add_file(str(path.resolve()), policy="immutable", skip_cache=True)
        return artifact

    def _end(self, exit_code: int) -> None:
        self._tell(self._finish, exit_code)
        if self.mode == "offline" and exit_code == 0:
            console.print(f"[bold]W&B[/bold] recorded offline; upload with: {self._sync_command()}", soft_wrap=True)

    def _finish(self, exit_code: int) -> None:
        self.run.finish(exit_code=exit_code)

    def _let_go(self, exit_code: int) -> None:
        import wandb

        # Else wandb does it when the process ends, and complains with a stack trace where its service is gone by then.
        with suppress(Exception, SystemExit):  # (it exits as its service does)
            wandb.teardown(exit_code=exit_code)

    def _sync_command(self) -> str:
        output_dir = str(self.about.config.get("output_dir", "outputs"))
        return "python -m sgexp task=sync" + ("" if output_dir == "outputs" else escape(f" output_dir={output_dir}"))


def mode() -> str:
    """Return online, offline or disabled: offline unless WANDB_MODE says otherwise. An API key alone sends nothing."""
    if os.environ.get("WANDB_MODE") == "":
        del os.environ["WANDB_MODE"]  # wandb itself stumbles over an empty one
    said = os.environ.get("WANDB_MODE", "offline")
    if said not in MODES:
        raise ConfigError(f"WANDB_MODE={said} is none of {', '.join(MODES)}: unset it to record offline")
    return MODES[said]


def kept_identity(folder: Path) -> dict[str, Any]:
    """Return what ``wandb/run.json`` says of a run that began earlier, so that it goes on in W&B; else {}."""
    try:
        kept = json.loads((folder / "wandb" / "run.json").read_text(encoding="utf-8"))
        whole = re.fullmatch(r"[0-9a-z]{1,64}", kept["id"]) and all(isinstance(tag, str) for tag in kept["tags"])
        named = all(isinstance(kept[key], str | None) for key in ("project", "entity", "group"))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {key: kept[key] for key in ("id", "project", "entity", "group", "tags")} if whole and named else {}


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Let wandb keep its own logs, and copies of what it will upload, in the run folder instead of the home folder."""
    before = {name: os.environ.get(name) for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR")}
    os.environ |= dict.fromkeys(before, str(folder / "wandb"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _charts(wandb: Any, folder: Path, predictions: Mapping[str, Predictions]) -> dict[str, Any]:
    """Return the tables, charts and pictures of a run as W&B objects."""

    def table(source: tables.Table) -> Any:
        return wandb.Table(columns=list(source.columns), data=[list(row) for row in source.rows])

    def confusion(source: tables.Table, title: str) -> Any:
        fields = {name: name for name in source.columns}
        return wandb.plot_table("wandb/confusion_matrix/v1", table(source), fields, {"title": title})

    counts = tables.class_counts(folder)
    charts = {"class_distribution": table(counts)}
    tests = {part: judged for part, judged in predictions.items() if part != "validation"}
    for part, judged in (tests or predictions).items():
        recall = table(tables.recall(judged, counts))
        charts[f"recall/{part}"] = wandb.plot.bar(recall, "space_group", "recall", title=f"Recall, {part}")
        groups = tables.confusion_of_groups(judged, _MOST_ROWS)
        charts[f"confusion/space_group/{part}"] = confusion(groups, f"Space groups, {part}")
        systems = tables.confusion_of_systems(judged)
        charts[f"confusion/crystal_system/{part}"] = confusion(systems, f"Crystal systems, {part}")
    for name in ("class_distribution", "examples"):
        if (path := folder / f"{name}.png").is_file():
            charts[f"pictures/{name}"] = wandb.Image(str(path))
    return charts
