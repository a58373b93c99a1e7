"""``task=predict``: patterns in files to the five likeliest space groups of each crystal, with the network of a run."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.markup import escape
from scipy.special import softmax

from sgexp.console import console, interrupts_later, progress
from sgexp.data.calibration import EXPOSURE, Calibration, differences, gathered
from sgexp.data.formats.smc19 import PATTERNS
from sgexp.data.inputs import InputCrystal, find_inputs
from sgexp.data.transforms import Transform
from sgexp.errors import ConfigError, DataError
from sgexp.learning.restoring import Inference
from sgexp.learning.views import AveragedViews, windows
from sgexp.report import answers
from sgexp.report.answer_files import Answer, AnswerFiles
from sgexp.runs import RunFolder
from sgexp.schema import build, plain
from sgexp.tasks import records
from sgexp.tasks.schema import PredictTask
from sgexp.tasks.trained_run import TrainedRun

if TYPE_CHECKING:
    from sgexp.config import Config

_CRYSTALS_AT_ONCE, _PATTERNS_AT_ONCE = 128, 1024  # what is in memory, coded, between two writes
_SHOWN = 20  # rows of the table in the terminal
_DRAWN = 8  # crystals in the picture
_SENTENCES = 5  # of one kind of difference, each with a number of its own
_WHOLE_SLICES = 1.15  # a simulated crystal is cut after a whole cell: thicknesses within one data set are so far apart


@dataclass
class Tally:
    """What is counted on the way: answers, refusals, crystals whose intensities were scaled; the first few answers."""

    named: int = 0
    refused: int = 0
    scaled: int = 0
    uncalibrated: int = 0
    first: list[tuple[Answer, np.ndarray]] = field(default_factory=list)


def predict(config: Config) -> None:
    """Check the run, list the files, name crystal by crystal, and leave the answers in a folder."""
    if config.input is None:
        raise ConfigError("task=predict needs patterns: give input=PATH, an .h5, .npy or .tif file or a folder of such")
    trained = TrainedRun.open(config)
    files = find_inputs(Path(config.input).expanduser())
    temperature = trained.temperature()
    namer = Namer(config, trained, temperature.value)
    odd = Oddities(namer)
    with interrupts_later():
        run = open_folder(config)
    tally = Tally()
    try:
        with run.recording(**records.identity(config), source=trained.facts()):
            console.print(f"[bold]run[/bold] {escape(str(trained.folder))} ({len(trained.classes)} groups)")
            console.print(f"[bold]answers[/bold] {run.folder}")
            notes = [*trained.notes(), *([temperature.note] if temperature.note else []), *caveats(config, trained)]
            if files.passed_over:
                notes.append(f"files of other kinds that were passed over: {files.passed_over:,}")
            say(notes)
            begun = header(trained, temperature.value)
            with AnswerFiles(run.folder, begun, lambda: [*notes, *odd.notes()]) as out, progress() as bar:
                task = bar.add_task("naming crystals", total=files.crystals)
                crystals = itertools.chain(files.refused, files.read(namer.transform.pixels))
                for chunk in chunks(crystals):
                    found = namer.answers(chunk)
                    with interrupts_later():  # what is written is whole, and counted
                        keep(found, out, tally)
                        odd.count(chunk, found)
                    bar.update(task, completed=min(files.crystals, tally.named + tally.refused - len(files.refused)))
            say(odd.notes())
            run.update(
                crystals={"named": tally.named, "refused": tally.refused, "uncalibrated": tally.uncalibrated},
                scaled=tally.scaled,
                temperature={"value": temperature.value, "samples": temperature.samples, "note": temperature.note},
                notes=[*notes, *odd.notes()],
            )
            if tally.first:
                answers.draw_answers(tally.first, run.path("predictions.png"))
    except KeyboardInterrupt:
        say(odd.notes())
        raise KeyboardInterrupt(
            f"interrupted after {tally.named:,} crystals were named: predictions.csv in {run.folder} has them"
        ) from None
    finish(run, tally)


def open_folder(config: Config) -> RunFolder:
    """Make the folder of the answers: a new run folder, or the one that ``task.folder`` names."""
    assert isinstance(config.task, PredictTask)
    if config.task.folder is None or config.resume:
        return records.open_run(config, "predict")
    folder = Path(config.task.folder).expanduser()
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise ConfigError(f"task.folder={folder} exists already: name a new one, nothing is overwritten") from None
    except OSError as error:
        raise ConfigError(f"task.folder={folder} cannot be made ({error.strerror})") from None
    run = RunFolder(folder)
    run.describe(plain(config), records.overrides(), seeds=records.seeds(config))
    return run


def caveats(config: Config, trained: TrainedRun) -> list[str]:
    """Return what a person must know before believing a probability."""
    learned = trained.calibration
    known = [
        f"beams of {learned.energies}" if learned.energy_low > 0 else "",
        f"{learned.thickness:.0f} Å thick" if learned.thickness > 0 else "",
        f"pictures {learned.q_width:.3g} 1/Å wide" if learned.q_width > 0 else "",
    ]
    detail = ", ".join(item for item in known if item)
    said = [
        "the network knows simulated patterns of SMC-19's kind alone"
        + (f" ({detail})" if detail else "")
        + ": zones and aperture chosen with knowledge of the structure, no noise of a camera; it was never "
        "validated on measured patterns"
    ]
    if len(trained.classes) < 230:
        said.append(
            f"it knows {len(trained.classes)} of the 230 space groups: a crystal of another gets a wrong answer"
        )
    if getattr(config.augment, "rotate", "") == "none":
        said.append(
            "it never saw patterns turned in their plane (augment.rotate=none): turn yours as SMC-19's, with the "
            "zone's in-plane lattice direction along +q_y, or train with augment=symmetry"
        )
    said.append(
        "probabilities are right on average for crystals like those of its validation; for structures of families that "
        "it never saw they are too high (task=evaluate says by how much)"
    )
    return said


def say(notes: Iterable[str]) -> None:
    """Print notes."""
    for note in notes:
        console.print(f"  [yellow]- {escape(note)}[/yellow]")


def header(trained: TrainedRun, temperature: float) -> dict[str, Any]:
    """Return what predictions.json says before its crystals."""
    return {"source": trained.facts(), "temperature": temperature, "groups": trained.classes.tolist()}


def chunks(crystals: Iterable[InputCrystal]) -> Iterator[list[InputCrystal]]:
    """Yield crystals in lists that fit in memory whatever their size."""
    chunk: list[InputCrystal] = []
    held = 0
    for crystal in crystals:
        chunk.append(crystal)
        held += 0 if crystal.patterns is None else crystal.patterns.size
        if len(chunk) >= _CRYSTALS_AT_ONCE or held >= _PATTERNS_AT_ONCE * 64**2:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


class Namer:
    """The network as an answerer: codes patterns as the run did, and names crystals of any number of patterns."""

    def __init__(self, config: Config, trained: TrainedRun, temperature: float) -> None:
        assert isinstance(config.task, PredictTask)
        self.config, self.trained, self.temperature = config, trained, temperature
        self.transform: Transform = build(config.transform)
        self.learned: Calibration = trained.calibration
        self.scales = config.task.exposure == "auto" and self.transform.code == "log"
        self._inference: dict[int, Inference] = {}

    def answers(self, chunk: list[InputCrystal]) -> list[tuple[Answer, np.ndarray | None]]:
        """Return an answer, or a refusal, for each crystal in order, and the patterns that the network saw."""
        coded: dict[int, np.ndarray] = {}
        found: dict[int, Answer] = {}
        scaled: set[int] = set()
        for index, crystal in enumerate(chunk):
            why = crystal.reason or self._too_few(crystal)
            if why:
                found[index] = Answer(crystal.file, crystal.key, 0, reason=why)
                continue
            assert crystal.patterns is not None
            patterns, changed = self._exposed(crystal.patterns)
            coded[index] = self._code(patterns)
            scaled |= {index} if changed else set()
        counts = {index: len(patterns) for index, patterns in coded.items()}
        for count in sorted(set(counts.values())):
            members = [index for index in coded if counts[index] == count]
            logits = self._for(count).logits(np.stack([coded[index] for index in members])).astype(np.float64)
            probabilities = softmax(logits / self.temperature, axis=1)
            for index, row in zip(members, probabilities, strict=True):
                found[index] = Answer(
                    chunk[index].file,
                    chunk[index].key,
                    count,
                    classes=self.trained.classes,
                    probabilities=row,
                    calibrated=count == PATTERNS,
                    scaled=index in scaled,
                )
        return [(found[index], coded.get(index)) for index in range(len(chunk))]

    def _too_few(self, crystal: InputCrystal) -> str:
        """Say why a crystal has not patterns enough for a network that takes just so many."""
        count = 0 if crystal.patterns is None else len(crystal.patterns)
        if self.trained.any_number or count >= PATTERNS:
            return ""
        return f"has {count} pattern(s), but this run's network (model.patterns=stacked) needs {PATTERNS} a crystal"

    def _exposed(self, patterns_PHW: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return patterns scaled to the mean intensity of training where theirs is far from it, and whether so."""
        learned, mean = self.learned.mean_intensity, float(patterns_PHW.mean(dtype=np.float64))
        if not (self.scales and learned > 0) or learned / EXPOSURE <= mean <= learned * EXPOSURE:
            return patterns_PHW, False
        means = patterns_PHW.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
        return (patterns_PHW * (learned / means)).astype(np.float32), True

    def _code(self, patterns_PHW: np.ndarray) -> np.ndarray:
        """Return coded patterns, (P, p, p), rounded as the packed patterns of training are."""
        with torch.inference_mode():
            coded = self.transform.encode(torch.from_numpy(patterns_PHW)[None])[0]
        return coded.to(torch.float16).to(torch.float32).numpy()

    def _for(self, count: int) -> Inference:
        """Return the network for crystals of so many patterns: too many for it are seen in subsets."""
        key = count if count > PATTERNS and not self.trained.any_number else 0
        if key not in self._inference:
            network = self.trained.network.network
            if key:
                network = AveragedViews(network, picks=windows(PATTERNS, count))
            self._inference[key] = Inference(network, self.transform.standardise, self.config.trainer)
        return self._inference[key]


class Oddities:
    """In what the crystals that were named differ from those of training: every sentence, and of how many it is true.

    Camera length, band limit, thickness and beam energy are compared crystal by crystal. Mean intensities, and
    thicknesses that are nearly right, differ between the crystals of any data set: of these the median counts.
    """

    def __init__(self, namer: Namer) -> None:
        self.learned, self.pixels = namer.learned, namer.transform.pixels
        self.exposure = namer.transform.code == "log" and not namer.scales
        self._crystals: Counter[str] = Counter()
        self._near: list[float] = []
        self._intensities: list[float] = []
        self._named = 0

    def count(self, chunk: Iterable[InputCrystal], found: Iterable[tuple[Answer, np.ndarray | None]]) -> None:
        """Compare the crystals of a chunk that were named."""
        for crystal, (answer, _) in zip(chunk, found, strict=True):
            if answer.probabilities is None:
                continue
            self._named += 1
            given = gathered([crystal.scale])
            if math.isfinite(given.mean_intensity):
                self._intensities.append(given.mean_intensity)
            if self._nearly_as_thick(given.thickness):
                self._near.append(given.thickness)
                given = replace(given, thickness=math.nan)
            self._crystals.update(differences(self.learned, given, self.pixels, exposure_matters=False))
            if math.isnan(given.q_width):
                self._crystals[
                    "the files do not say their camera length (1/Å a pixel): pictures must be as wide as those of "
                    "training, cropped around the direct beam"
                ] += 1

    def notes(self) -> list[str]:
        """Return each sentence once, with its number of crystals; of many of one kind the most frequent."""
        kinds: dict[str, list[tuple[str, int]]] = {}
        for sentence, crystals in [*self._medians(), *self._crystals.most_common()]:
            kinds.setdefault(sentence.partition(":")[0], []).append((sentence, crystals))
        told = []
        for kind, sentences in kinds.items():
            told += [f"{sentence} ({self._of_all(crystals)})" for sentence, crystals in sentences[:_SENTENCES]]
            if rest := sentences[_SENTENCES:]:
                crystals = sum(number for _, number in rest)
                told.append(f"{kind}: {len(rest):,} other values unlike training's ({self._of_all(crystals)})")
        return told

    def _medians(self) -> list[tuple[str, int]]:
        found = []
        for name, values in (("thickness", self._near), ("mean_intensity", self._intensities)):
            median = replace(Calibration(), **{name: float(np.median(values)) if values else math.nan})
            said = differences(self.learned, median, self.pixels, exposure_matters=self.exposure)
            found += [(sentence, len(values)) for sentence in said]
        return found

    def _nearly_as_thick(self, thickness: float) -> bool:
        learned = self.learned.thickness
        return learned / _WHOLE_SLICES <= thickness <= learned * _WHOLE_SLICES

    def _of_all(self, crystals: int) -> str:
        return f"{crystals:,} of {self._named:,} crystals"


def keep(found: list[tuple[Answer, np.ndarray | None]], out: AnswerFiles, tally: Tally) -> None:
    """Write answers and refusals, count them, and hold the first few for table and picture."""
    out.write([answer for answer, _ in found])
    for answer, patterns in found:
        if answer.probabilities is None:
            tally.refused += 1
            continue
        tally.named += 1
        tally.scaled += answer.scaled
        tally.uncalibrated += not answer.calibrated
        if len(tally.first) < _SHOWN:
            assert patterns is not None
            tally.first.append((answer, patterns if len(tally.first) < _DRAWN else patterns[:0]))


def finish(run: RunFolder, tally: Tally) -> None:
    """Print the table and what to know of it; crystals that were refused end in a `DataError`."""
    if tally.named:
        console.print(answers.answers_table([answer for answer, _ in tally.first], tally.named))
    if tally.scaled:
        console.print(
            f"  [dim]- crystals whose intensities were scaled to those of training: {tally.scaled:,} "
            "(task.exposure=keep leaves them)[/dim]"
        )
    if tally.uncalibrated:
        console.print(
            f"  [dim]- crystals of other than {PATTERNS} patterns: {tally.uncalibrated:,}; the temperature was not "
            "fitted for them, so their probabilities are rough[/dim]"
        )
    console.print(f"[bold]answers[/bold] {run.folder}")
    if tally.refused:
        whole = tally.named + tally.refused
        raise DataError(
            f"{tally.refused:,} of {whole:,} crystals could not be named: {run.path('refused.csv')} says why"
        )
