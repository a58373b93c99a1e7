"""``task=train``: from a data set to a results table, in a run folder that tells how it came about."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
from rich.markup import escape

from sgexp.console import console, interrupts_later
from sgexp.data.audit import audit
from sgexp.data.split import PARTS, Split
from sgexp.data.splits import stored_split
from sgexp.errors import DataError, ProcessLost
from sgexp.learning import heartbeat, processes
from sgexp.learning.checkpoint import load_weights
from sgexp.learning.models.hierarchical import name_classes
from sgexp.learning.models.second_answer import SecondAnswer, TrickleDown
from sgexp.learning.models.timm_model import import_timm
from sgexp.learning.module import SpaceGroupModule
from sgexp.learning.optimizers import for_batch
from sgexp.learning.preemption import StopAtBatchEnd, StopRequests
from sgexp.learning.schema import TimmConfig
from sgexp.learning.stages import Stages, StageSwitch
from sgexp.learning.trainer import answers, choose_devices, make_trainer, own_share_note
from sgexp.loading.datamodule import PatternDataModule
from sgexp.loading.stream import Stream
from sgexp.ranks import place
from sgexp.report import terminal
from sgexp.runs import AUTO, DISK_FULL, RunFolder
from sgexp.schema import build, plain
from sgexp.tasks import records
from sgexp.tasks.auxiliary import keep_answers, make_auxiliary, score_auxiliary
from sgexp.tasks.corrections import SecondStage, corrected_twice, counts_shown, refuse_to_mix, second_stage
from sgexp.tasks.feature_spaces import sampler_features
from sgexp.tasks.forecast import announce
from sgexp.tasks.physical import new_rows, record
from sgexp.tasks.prepare import Data, cache_folder, prepare_data
from sgexp.tasks.resuming import OtherData, lost, preempted
from sgexp.tasks.scoring import predictions_of, score
from sgexp.tasks.streaming import make_stream, tell
from sgexp.tasks.trained_run import network_builder

if TYPE_CHECKING:
    from sgexp.config import Config
    from sgexp.learning.loggers.base import RunLogger
    from sgexp.sampling.plan import ResamplingPlan


def train(config: Config) -> None:
    """Run one experiment: data, split, plan, training, test, table."""
    on_gpu, _ = choose_devices(config.trainer)  # refuses those that are not there, before any data are made
    if isinstance(config.model, TimmConfig):
        import_timm()  # refuses where it is missing, before any data too
    processes.join(on_gpu, config.trainer)
    try:
        run, results = in_folder(config)
    except OtherData as error:
        if config.resume != AUTO or place().world > 1:
            raise
        console.print(f"[yellow]{escape(str(error))}: a new one begins[/yellow]")
        run, results = in_folder(replace(config, resume=None))
    if run.writes:
        for line in results["stamps"]:
            console.print(f"[bold red]{line}[/bold red]")
        console.print(terminal.results_table(results))
        if "auxiliary" in results:
            console.print(terminal.auxiliary_table(results["auxiliary"]))
        console.print(f"[bold]run folder[/bold] {run.folder}")


def in_folder(config: Config) -> tuple[RunFolder, dict[str, Any]]:
    """Open the run's folder and do the work in it; return both the folder and what result.json says in the end."""
    logger, requests = build(config.logger), StopRequests(config.callbacks.grace_seconds)
    with interrupts_later():  # a run folder is made whole
        run = records.open_run(config)
    heartbeat.farewell = partial(lost, run)
    with requests.listening():  # to the very end: clusters repeat themselves
        return recorded(config, run, logger, requests)


def recorded(
    config: Config, run: RunFolder, logger: RunLogger, requests: StopRequests
) -> tuple[RunFolder, dict[str, Any]]:
    """Do the work of a run, and say in its folder, its log and one sentence how it ended."""
    try:
        with logger.ending(), run.recording(**records.identity(config)), requests.named():
            console.print(terminal.config_tree(plain(config)))
            console.print(f"[bold]run folder[/bold] {run.folder}")
            if run.writes:
                logger.start(records.about(config, run))
            results = experiment(config, run, logger, requests)
    except ProcessLost as error:
        raise ProcessLost(f"{error}; go on with: python -m sgexp resume={run.folder}") from None
    except KeyboardInterrupt:
        if requests.heard is not None:
            raise preempted(run, requests.heard) from None
        raise KeyboardInterrupt(f"interrupted; go on with: python -m sgexp resume={run.folder}") from None
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise DataError(
            f"{error.filename or run.folder} cannot be written ({error.strerror}): free some space, then go on with: "
            f"python -m sgexp resume={run.folder}"
        ) from error
    return run, results


def experiment(config: Config, run: RunFolder, logger: RunLogger, requests: StopRequests) -> dict[str, Any]:
    """Do what the config asks for and leave it in the run folder; return what result.json says."""
    data = prepare_data(config)
    data, split = data.used_by(stored_split(build(config.split), data.catalog, cache_folder(config)))
    overlap = audit(data.catalog, split)
    data = data.labelled(config.labels)
    console.print(f"[bold]split[/bold] {terminal.counts_line(split.counts())}")
    made = new_rows(config, data, split, run)
    drawn = data if made is None else made.behind(data)
    plan = make_plan(config, drawn, split, () if made is None else made.notes)
    plan = replace(plan, notes=(*plan.notes, *corrected_twice(config)))
    second = second_stage(config, drawn, split, plan)
    if run.writes:
        for note in terminal.shortened([*split.notes, *plan.notes]):
            console.print(note)
        records.write_inputs(run, data, split, plan, overlap, drawn.catalog)
        if made is not None:
            record(run, made, len(data.catalog), records.write_csv)
        if second is not None:
            second.plan.save(run.path("plan_stage2.npz"))
            run.update(stages=second.stages.record(config.trainer.epochs))

    pl.seed_everything(config.seed, workers=True, verbose=False)
    stream = make_stream(config, data, split, [plan] if second is None else [plan, second.plan], run)
    module, datamodule, switches = assemble(config, drawn, split, plan, second, stream)
    trainer = make_trainer(
        config.trainer,
        run.folder,
        callbacks=config.callbacks,
        logger=logger,
        extra_callbacks=[
            *switches,
            StopAtBatchEnd(requests, run.path("checkpoints")),
            processes.WatchOver(config.trainer),
        ],
        best_from=0 if second is None else second.begins,
    )
    if run.writes and (own_share := own_share_note(config.trainer, module)):
        console.print(f"[yellow]{own_share}[/yellow]")
    announce(trainer, module, datamodule, plan, drawn.store)
    if config.trainer.compile:
        module.model.compile()  # in place: checkpoints do not know of it
    checkpoint = processes.of_the_first(lambda: records.checkpoint_to_resume(run))
    trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint)
    if stream is not None:
        tell(stream, run, begun=checkpoint is not None)
    if (chosen := processes.of_the_first(lambda: records.checkpoint_to_judge(run))) is not None:
        load_weights(module, chosen)

    parts = [part for part in PARTS[1:] if len(split.rows(part))]
    answered = {part: answers(trainer, module, datamodule.evaluation_loader(part)) for part in parts}
    trainer.disband()
    if not run.writes:
        return {}
    classes = module.classes.cpu().numpy()
    predictions = {
        part: predictions_of(data.catalog, rows, found["logits"], classes) for part, (rows, found) in answered.items()
    }
    records.write_predictions(run, predictions)
    if (beside := module.auxiliary) is not None:
        judged = {part: beside.judged(rows, found["system"], found["cell"]) for part, (rows, found) in answered.items()}
        keep_answers(run, judged)
        run.update(auxiliary=score_auxiliary(config, beside, split, judged, predictions))
    records.draw_examples(run, data, predictions, config.seed)
    records.keep_gallery(run, drawn, predictions, plan, config.seed)
    run.update(**score(config, data, split, predictions))
    logger.results(run.record, predictions)
    return run.record


def make_plan(config: Config, data: Data, split: Split, notes: tuple[str, ...] = ()) -> ResamplingPlan:
    """Plan the draws of an epoch; the sampler is handed training rows and nothing else.

    Rows of ``data`` behind those of the split were made for training. ``notes`` come before the sampler's own.
    """
    rows = np.append(split.rows("train"), np.arange(len(split.part), len(data.catalog)))
    sampler = build(config.sampler)
    features = sampler_features(config, data, split) if sampler.needs_features else None
    groups = data.catalog.family if getattr(sampler, "by_family", False) else data.catalog.material
    local = sampler.plan(data.catalog.space_group[rows], groups[rows], features, config.seed)
    return replace(local.at_rows(rows), notes=(*notes, *local.notes), mix_in=getattr(config.sampler, "mix_in", "coded"))


def assemble(
    config: Config,
    data: Data,
    split: Split,
    plan: ResamplingPlan,
    second: SecondStage | None,
    stream: Stream | None = None,
) -> tuple[SpaceGroupModule, PatternDataModule, list[pl.Callback]]:
    """Build the network with its loss, augmentation and optimizer, the loaders that feed it, what enters a stage."""
    classes = np.unique(data.catalog.space_group[split.rows("train")]).astype(np.int64)
    class_of_group = np.full(231, -1, dtype=np.int64)
    class_of_group[classes] = np.arange(len(classes))
    class_of_row = class_of_group[data.catalog.space_group]
    augment = build(config.augment, classes=classes.tolist(), seed=config.seed)
    if config.labels == 219 and hasattr(augment, "merge_mirror_images"):
        augment.merge_mirror_images()
    counts = counts_shown(plan, class_of_row, len(classes), augment)
    optimizer, told = for_batch(config.optimizer, config.trainer)
    stages: Stages = build(config.stage)
    mixing = build(config.mixing, class_counts=counts, seed=config.seed)
    loss = build(config.loss, class_counts=counts)
    refuse_to_mix(mixing, loss)
    console.print(f"[bold]learning rate[/bold] {told}")

    network = network_builder(config)(len(classes))
    name_classes(network, classes.tolist())
    if isinstance(network, SecondAnswer) and isinstance(network.second, TrickleDown):
        network.second.sort_by(np.bincount(class_of_row[split.rows("train")], minlength=len(classes)))
    module = SpaceGroupModule(
        network,
        loss,
        stages.optimizer(lambda model, steps: build(optimizer, model=model, steps=steps), config.trainer.epochs),
        classes.tolist(),
        standardise=data.transform.standardise,
        expose=augment.exposure(data.transform) if hasattr(augment, "exposure") else None,
        augment=augment,
        mixing=mixing,
        auxiliary=make_auxiliary(config, data, split, network),
        seed=config.seed,
        channels_last=config.trainer.channels_last,
        hyperparameters={"model": type(config.model).target, "seed": config.seed},
    )
    asked = config.trainer.epoch_draws
    datamodule = PatternDataModule(
        data.store,
        class_of_row,
        {part: split.rows(part) for part in PARTS[1:]},
        plan,
        batch_size=config.trainer.batch_size,
        eval_batch_size=config.trainer.eval_batch_size,
        workers=config.trainer.workers,
        seed=config.seed,
        overfit_batches=config.trainer.overfit_batches,
        epoch_draws=len(split.rows("train")) if asked == 0 else asked,
        later=None if second is None else (second.begins, second.plan),
        mixing=mixing,
        stream=stream,
        blend=partial(data.transform.blend, plan.mix_in),
    )
    if second is None:
        return module, datamodule, []
    counts = counts_shown(second.plan, class_of_row, len(classes), augment)
    loss = stages.loss(build(config.loss, class_counts=counts), counts, network)
    module.stage = 1
    return module, datamodule, [StageSwitch(stages, config.trainer.epochs, loss, config.seed, counts)]
