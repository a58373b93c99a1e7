"""The tasks: what ``task=...`` can be asked to do. Each target is a function of the whole typed config."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

from sgexp.schema import Component, bounded, one_of


@dataclass(kw_only=True)
class TrainTask(Component):
    """Make or read the data, split, plan the draws, train, evaluate, and leave a run folder with a results table."""

    target: ClassVar[str] = "sgexp.tasks.train.train"
    shares_work: ClassVar[bool] = True


@dataclass(kw_only=True)
class SimulateTask(Component):
    """Write CBED stacks of crystals in the SMC-19 layout."""

    target: ClassVar[str] = "sgexp.tasks.simulate.simulate"
    simulates: ClassVar[bool] = True

    source: str = one_of("population", "population", "library", "cifs", "random")  # which crystals
    cifs: str | None = None  # folder of structure files, read when source is cifs
    groups: list[int] | None = bounded(None, low=1, high=230)  # of random crystals; None: all 230
    each: int = bounded(1, low=1, high=100_000)  # random crystals of each group
    seed: int = bounded(1, low=0, high=2**31 - 1)  # of random crystals
    folder: str | None = None  # where the HDF5 files go; None: a folder beside the cached data
    limit: int | None = bounded(None, low=1)  # simulate at most so many crystals; None: all
    shard: str | None = None  # "3/40": every fortieth file from the third on, the others being other jobs'; None: all

    def contradiction(self, key: str) -> str | None:
        """Refuse files that are asked for but not named, and groups that are named twice or in vain."""
        if self.source == "cifs" and self.cifs is None:
            return f"{key}.source=cifs needs a folder of .cif, .vasp or .xyz files: give {key}.cifs=DIR"
        if self.groups is not None and self.source != "random":
            return f"{key}.groups is for random crystals: give {key}.source=random with it, or leave it out"
        if self.groups is not None and len(set(self.groups)) != len(self.groups):
            return f"{key}.groups={self.groups} names a group twice: give each once, and {key}.each=N for N crystals"
        if self.shard is not None:
            parts = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.shard, re.ASCII)
            if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
                return f"{key}.shard={self.shard!r} is no share: write its number and how many there are, such as 3/40"
        return None


@dataclass(kw_only=True)
class ValidateTask(Component):
    """Compose and check every file of the config folders, and say which are wrong."""

    target: ClassVar[str] = "sgexp.tasks.validate.validate"


@dataclass(kw_only=True)
class ReportTask(Component):
    """Show run folders as pages, tables and figures."""

    target: ClassVar[str] = "sgexp.tasks.report.report"


@dataclass(kw_only=True)
class CompareTask(Component):
    """Say which of several treatments is better, from the predictions of their runs."""

    target: ClassVar[str] = "sgexp.tasks.compare.compare"

    runs: list[str] | None = None  # run folders, folders of them, or patterns; None: everything below output_dir
    reference: str | None = None  # compare the others with this treatment; None: every pair
    figures: list[str] = field(default_factory=lambda: ["macro_f1"])  # which figures; each adds to the correction
    part: str = one_of("test_family", "test_family", "test_material", "validation")
    allow_different: bool = False  # compare runs with other data, splits, test samples or classes, with a stamp
    csv: str | None = None  # file to write the table to
    json: str | None = None  # file to write everything to


@dataclass(kw_only=True)
class EvaluateTask(Component):
    """Score the network of an old run on its own or on other data."""

    target: ClassVar[str] = "sgexp.tasks.evaluate.evaluate"
    beside_run: ClassVar[tuple[str, ...]] = ("dataset", "size", "simulation", "split", "evaluation")

    rotations: bool = False  # look at every pattern in all four quarter turns
    patterns: str = one_of("all", "all", "subsets", "orders")  # which patterns a view shows, in which order
    posthoc: str = one_of("none", "none", "logit_adjustment", "tau_normalisation", "all")  # corrected figures beside

    def contradiction(self, key: str) -> str | None:
        """Refuse to normalise a last layer whose logits were averaged as probabilities."""
        views = self.rotations or self.patterns != "all"
        if views and self.posthoc in ("tau_normalisation", "all"):
            return (
                f"{key}.posthoc={self.posthoc} works on the last layer's logits, which {key}.rotations and "
                f"{key}.patterns average as log-probabilities: choose {key}.posthoc=logit_adjustment, or no such views"
            )
        return None


@dataclass(kw_only=True)
class ScoreTask(Component):
    """Score a file of answers, or a run's, against the test of a data set."""

    target: ClassVar[str] = "sgexp.tasks.score.score"
    beside_run: ClassVar[tuple[str, ...]] = ("evaluation",)
    needs_run: ClassVar[bool] = False

    submission: str | None = None  # an npz or CSV file of answers; None: those of run=
    template: str | None = None  # write the ids that are to be answered to this CSV file, and score nothing
    open_sealed: bool = False  # the sealed test of split=sealed instead of the open one; recorded in the result

    def contradiction(self, key: str) -> str | None:
        """Refuse to write the questions and to score the answers at once."""
        if self.submission is not None and self.template is not None:
            return f"{key}.template writes what is to be answered, {key}.submission is the answer: give one of them"
        return None


@dataclass(kw_only=True)
class LadderTask(Component):
    """Judge an old run's network on its test crystals simulated anew, one setting varied and all else equal."""

    target: ClassVar[str] = "sgexp.tasks.ladder.ladder"
    beside_run: ClassVar[tuple[str, ...]] = ("evaluation",)

    over: str = one_of("thickness", "thickness", "energy", "dose", "tilt")  # which setting is varied
    rungs: list[float] | None = bounded(None, low=0.0, high=1e12)  # its values; None: the ladder's own
    materials: int = bounded(100, low=1, high=1_000_000)  # at most so many of each test column

    def contradiction(self, key: str) -> str | None:
        """Refuse a ladder without rungs, and rungs that are no values of the setting."""
        if self.rungs is None:
            return None
        if not self.rungs or len(set(self.rungs)) != len(self.rungs):
            return f"{key}.rungs={self.rungs} must list one value or more, each once"
        if self.over != "tilt" and min(self.rungs) <= 0:
            return f"{key}.rungs={self.rungs} must be more than 0 for {key}.over={self.over}"
        return None


@dataclass(kw_only=True)
class ExportTask(Component):
    """Write a data set as a folder that is ready for an archive."""

    target: ClassVar[str] = "sgexp.tasks.export.export"

    folder: str | None = None  # where it goes; None: a folder named after the data in output_dir/export
    url: str | None = None  # where the archive will be found, such as a DOI


@dataclass(kw_only=True)
class PredictTask(Component):
    """Name the space groups of patterns in files with the network of an old run."""

    target: ClassVar[str] = "sgexp.tasks.predict.predict"
    beside_run: ClassVar[tuple[str, ...]] = ()
    reads_input: ClassVar[bool] = True

    exposure: str = one_of("auto", "auto", "keep")  # scale intensities to those of training where they are far off
    folder: str | None = None  # where the answers go; None: a new folder in output_dir


@dataclass(kw_only=True)
class SyncTask(Component):
    """Upload the W&B records of runs that were made offline."""

    target: ClassVar[str] = "sgexp.tasks.sync.sync"

    folder: str | None = None  # a run folder, or one that holds some; None: output_dir


@dataclass(kw_only=True)
class AuditTask(Component):
    """Tell what a data set holds and what is wrong with it."""

    target: ClassVar[str] = "sgexp.tasks.audit.audit"

    pixels: bool = True  # read all patterns, to find copies and unusable pixels


@dataclass(kw_only=True)
class SubmitTask(Component):
    """Write the script of a training for Slurm or LSF, and submit it."""

    target: ClassVar[str] = "sgexp.tasks.submit.submit"

    system: str = one_of("slurm", "slurm", "lsf")
    submit: bool = False  # hand the script to sbatch or bsub; False: only write it
    time: str = "08:00:00"  # hours:minutes:seconds, or days-hours:minutes:seconds
    partition: str | None = None  # Slurm's partition, LSF's queue; None: the site's default
    account: str | None = None  # Slurm's account, LSF's project
    cpus: int = bounded(4, low=1, high=1024)  # cores a device
    memory: str | None = None  # of each node, such as 64G; None: the site's default
    options: list[str] = field(default_factory=list)  # further options of sbatch or bsub, one each
    setup: list[str] = field(default_factory=list)  # shell lines before the training, such as module load
    python: str | None = None  # the interpreter; None: the one that runs this
    again: bool = False  # submit also what is finished, running or submitted already

    def contradiction(self, key: str) -> str | None:
        """Refuse a time limit that no scheduler reads, and lines that would end a directive."""
        if not re.fullmatch(r"(\d+-)?\d{1,3}:\d\d(:\d\d)?", self.time):
            return f"{key}.time={self.time!r} is no time limit: write hours:minutes:seconds, such as 08:00:00"
        for name in ("partition", "account", "memory"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(r"[\w.,:+@%-]+", value, re.ASCII):
                return f"{key}.{name}={value!r} has characters that a scheduler's name cannot have"
        if self.system == "lsf" and self.memory is not None:
            return f"{key}.memory is for Slurm: LSF hands out whole nodes here (or say it with {key}.options)"
        if bad := [text for text in self.options if not re.fullmatch(r"-[ -~]+", text)]:
            return f"{key}.options={bad[0]!r} is no option: write one such as --constraint=a100 or -R span[ptile=4]"
        return None


GROUPS: dict[str, tuple[type, ...]] = {
    "task": (
        TrainTask,
        SimulateTask,
        ValidateTask,
        ReportTask,
        CompareTask,
        AuditTask,
        EvaluateTask,
        ScoreTask,
        LadderTask,
        ExportTask,
        PredictTask,
        SyncTask,
        SubmitTask,
    )
}
