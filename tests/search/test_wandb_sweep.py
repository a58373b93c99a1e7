"""W&B's own sweeps: what its agent starts is our command, told in our words, and is the run that the agent named."""

import json
import os
import queue
import shutil

import yaml
from wandb.wandb_agent import Agent

from sgexp.composition import Composer
from sgexp.learning.loggers.base import About
from sgexp.learning.loggers.wandb import WandbLogger
from sgexp.usage import CONF_DIR


def sweep():
    return yaml.safe_load((CONF_DIR / "sweep" / "wandb.yaml").read_text())


def drawn():
    """Return one trial as the server would choose it: a value of each parameter of the file."""
    return {
        name: {"value": node.get("value", node.get("values", [node.get("min")])[-1])}
        for name, node in sweep()["parameters"].items()
    }


def test_the_agents_own_code_starts_our_command(tmp_path, monkeypatch):
    """wandb's Agent runs the file's command; ``--cfg job`` prints what was composed instead of training it."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, "")
    agent = Agent(None, queue.Queue(), sweep_id="abc")
    agent._sweep_command = [*sweep()["command"], "--cfg", "job"]
    read, write = os.pipe()
    started = os.dup(1)
    os.dup2(write, 1)
    try:
        agent._command_run({"run_id": "r1s2t3u4", "program": "unused", "args": drawn()})
        os.dup2(started, 1)
        os.close(write)
        (process,) = agent._run_processes.values()
        text = os.fdopen(read).read()
        assert process.wait() == 0
    finally:
        os.dup2(started, 1)
    composed = yaml.safe_load(text)
    assert composed["optimizer"]["lr"] == 0.0001
    assert composed["sampler"]["_target_"].endswith("smote.Smote") and composed["seed"] == 1
    assert shutil.which("python")  # ${interpreter} is `python`, whatever it is


def test_every_value_of_the_file_is_right_and_the_goal_is_a_column_of_metrics():
    from sgexp.learning.callbacks import COLUMNS

    composer, told = Composer(), sweep()
    assert told["metric"]["name"] in COLUMNS and "test" not in told["metric"]["name"]
    for name, node in told["parameters"].items():
        for value in [*node.get("values", []), *(node[end] for end in ("value", "min", "max") if end in node)]:
            composer.check([f"{name}={value}"])


def test_the_run_is_the_one_that_the_agent_named_and_no_other_is(monkeypatch, tmp_path):
    def identity():
        logger = WandbLogger(None, None, None, [], True)
        logger.about = About(tmp_path, "name", "seedless", {}, {})
        return logger._identity()["id"]

    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    monkeypatch.setenv("WANDB_RUN_ID", "r1s2t3u4")
    assert identity() != "r1s2t3u4"  # left in a shell, it would put all runs into one
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    assert identity() == "r1s2t3u4"
    assert json.dumps(identity())
