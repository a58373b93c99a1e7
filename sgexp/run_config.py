"""The config of a run that is taken up again: to go on with it (resume=), to evaluate it, to predict with it (run=).

The file may come from a stranger: it is read as plain values, checked like any other config, and neither where things
are written nor on what they are computed is taken from it.

The rule of ``run=``: the run's config is the base. Groups named on the command line are taken from there whole, as
training with the same words would have them; ``dataset``, ``size`` and ``simulation`` say together which data are
meant, so naming one of them takes all three from the command line. What a network is (model, transform, seed, how it
was trained) cannot be said anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sgexp.composition import name_of, named_keys
from sgexp.config import Config, check
from sgexp.data.schema import CrystalsDataset, StreamDataset
from sgexp.errors import ConfigError
from sgexp.runs import ADDED_LATER, AUTO, FIELDS_ADDED_LATER
from sgexp.schema import plain

MOST_BYTES = 1_000_000  # of a config.yaml; an honest one has a few thousand
DATA = ("dataset", "size", "simulation")
OF_THE_RUN = (
    *("seed", *DATA, "split", "transform", "sampler", "augment", "model", "loss", "optimizer", "trainer", "evaluation"),
    *("stage", "mixing", "head", "auxiliary", "labels"),
)
OF_THE_MACHINE = (
    *("task", "run", "input", "name", "output_dir", "data_dir", "logger", "callbacks", "report", "launcher", "search"),
)
DEVICES = ("auto", "cpu", "gpu")

# Keys of the run's groups that may be set alone: they say where data lie and what computes, not what is asked.
ALONE = {
    "dataset.root": DATA,
    "dataset.max_bad_fraction": DATA,
    "simulation.processes": DATA,
    "simulation.engine.device": DATA,
    "trainer.accelerator": (),
    "trainer.precision": (),
    "trainer.eval_batch_size": (),
}


def resumed(folder: str) -> Config:
    """Return the config of an interrupted run."""
    config = check(OmegaConf.create(read_run_config(folder, "resume")))
    config.resume = folder
    return config


def settled(asked: Config, overrides: Sequence[str]) -> Config:
    """Return the config that a task really works with: for a task on an old run, that run's (see above)."""
    allowed = getattr(type(asked.task), "beside_run", None)
    task = type(asked.task).target.rpartition(".")[2]
    if asked.resume == AUTO and task != "train":
        raise ConfigError(f"resume=auto goes on with a training, not with task={task}: leave it out")
    if asked.input is not None and not getattr(type(asked.task), "reads_input", False):
        raise ConfigError(f"input= is read by task=predict, not by task={task}: leave it out")
    if allowed is None:
        if asked.run is not None:
            raise ConfigError(f"run= is read by task=evaluate, predict and score, not by task={task}: leave it out")
        return asked
    if asked.run is None and not getattr(type(asked.task), "needs_run", True):
        return asked
    if asked.run is None:
        raise ConfigError(f"task={task} needs the folder of a trained run: give run=outputs/train/<folder>")
    named = named_keys(overrides)
    refuse_what_is_the_runs(named, overrides, allowed, task)
    return on_run(asked, named, overrides)


def refuse_what_is_the_runs(named: Sequence[str], overrides: Sequence[str], allowed: Sequence[str], task: str) -> None:
    """Refuse to say anew what belongs to the run, or what the task does not look at."""
    for key, text in zip(named, overrides, strict=True):
        group = key.partition(".")[0]
        alone = key in ALONE and all(needed in allowed for needed in ALONE[key])
        device = key == "trainer" and text.partition("=")[2] in DEVICES
        if not (key.startswith("hydra") or group in OF_THE_MACHINE or group in allowed or alone or device):
            free = ", ".join((*allowed, "trainer=cpu|gpu|auto", "trainer.eval_batch_size", "trainer.precision"))
            raise ConfigError(
                f"'{text}' cannot be said beside run=: it is the run's, or not read by task={task}; free are {free}"
            )


def on_run(asked: Config, named: Sequence[str], overrides: Sequence[str]) -> Config:
    """Return the run's config, with what was named on the command line, and this machine's paths and devices."""
    assert asked.run is not None
    command, run = plain(asked), read_run_config(asked.run, "run")
    groups = {key.partition(".")[0] for key in named if key not in ALONE}
    from_command = {group for group in groups if group not in ("trainer", *OF_THE_MACHINE)}
    if from_command & set(DATA):
        from_command |= set(DATA)
    fields = {field.name for field in dataclasses.fields(Config)}
    base = {key: value for key, value in run.items() if key in OF_THE_RUN or key not in fields}
    merged = {**command, **{key: value for key, value in base.items() if key not in from_command}}
    if not set(DATA) <= from_command:
        _keep_on_this_machine(merged, command, named)
    merged["trainer"] = _one_device(run.get("trainer", command["trainer"]), command["trainer"], named)
    if "name" not in named:
        beside = name_of([text for key, text in zip(named, overrides, strict=True) if key != "trainer"])
        word = str(run.get("name", "run"))
        merged["name"] = (word if beside == "default" else f"{word}-on-{beside}")[:80]
    _refuse_enlarging(merged, asked, from_command)
    try:
        return check(OmegaConf.create(merged))
    except (ConfigError, OmegaConfBaseException) as error:
        raise ConfigError(f"run={asked.run}: its config.yaml is refused: {error}") from error


def _keep_on_this_machine(merged: dict[str, Any], command: Mapping[str, Any], named: Sequence[str]) -> None:
    """Take where data are kept, and what simulates them, from the command line."""
    for group in ("dataset", "simulation"):
        node = merged[group]
        if not isinstance(node, Mapping):
            continue  # the check says so
        merged[group] = node = dict(node)
        same = node.get("_target_") == command[group].get("_target_")
        for key, taken in (("root", same), ("processes", True), ("max_bad_fraction", False)):
            if key in command[group] and (taken or f"{group}.{key}" in named):
                node[key] = command[group][key]
    engine = merged["simulation"].get("engine") if isinstance(merged["simulation"], Mapping) else None
    if isinstance(engine, Mapping) and "device" in engine:
        device = command["simulation"]["engine"].get("device", "cpu")
        merged["simulation"]["engine"] = {**engine, "device": device}


def _one_device(run: Any, command: Mapping[str, Any], named: Sequence[str]) -> Any:
    """Return the run's trainer on one device of this machine."""
    if not isinstance(run, Mapping):
        return run  # the check says so
    mine = {"accelerator": command["accelerator"], "devices": 1, "nodes": 1}
    chosen = {key: command[key] for key in ("precision", "eval_batch_size") if f"trainer.{key}" in named}
    return {**run, **mine, **chosen}


def _refuse_enlarging(merged: Mapping[str, Any], asked: Config, from_command: set[str]) -> None:
    """Refuse data simulated more coarsely than the network reads them, before the general check advises otherwise."""
    transform = merged.get("transform")
    pixels = transform.get("pixels") if isinstance(transform, Mapping) else None
    if "simulation" in from_command and asked.dataset.simulates and isinstance(pixels, int):
        stored = asked.simulation.pixels
        if pixels > stored:
            raise ConfigError(
                f"run={asked.run}: its network reads patterns of {pixels} pixels, and simulation.pixels={stored} "
                f"cannot be enlarged: choose a size with size.pixels={pixels} or more"
            )


def read_run_config(folder: str, key: str) -> dict[str, Any]:
    """Return ``config.yaml`` of a run folder as plain values; ``key`` (resume, run) is named in errors."""
    path = Path(folder) / "config.yaml"
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ConfigError(f"{key}={folder}: {path} is too large to be a run's config")
        values = yaml.load(text, _PlainLoader)
    except FileNotFoundError as error:
        raise ConfigError(f"{key}={folder} is no run folder: there is no {path}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        said = str(error).strip().splitlines()
        reason = said[0].strip() if said else type(error).__name__
        raise ConfigError(f"{key}={folder}: {path} cannot be read as a run's config ({reason})") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"{key}={folder}: {path} is no run's config")
    simulated = {CrystalsDataset.target, StreamDataset.target}
    if isinstance(dataset := values.get("dataset"), dict) and dataset.get("_target_") in simulated:
        # Its crystals are those of the library as it was, not of what is the default now.
        values["dataset"] = {"library": FIELDS_ADDED_LATER["dataset.library"], **dataset}
    return {**ADDED_LATER, **values}


class _PlainLoader(yaml.SafeLoader):
    """Reads plain values only. No aliases: few lines of them can stand for more values than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are refused")
        return super().compose_node(parent, index)
