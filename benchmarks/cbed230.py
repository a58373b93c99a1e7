"""The benchmark CBED-230: its list frozen, and its baselines measured: docs/benchmark.md.

    python benchmarks/cbed230.py --output results/                  # the table of the baselines, S, smc19
    python benchmarks/cbed230.py --output results/ --track blind --shares 1 --seeds 1 2 3
    python benchmarks/cbed230.py --output results/ --size m --train-pixels 64   # M in hours on two cores
    python benchmarks/cbed230.py --ladders RUN --output results/    # the ladders of a finished training
    python benchmarks/cbed230.py --freeze 1.0                       # write the list of a version; made once, then kept

It trains the default network on each share of the training materials, with the real command; what is finished
is not run again, so it may be stopped and started again. The baselines come with the runs: they learn from the same
materials. The sealed test is never opened.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean, stdev

from sgexp.composition import Composer
from sgexp.data import cbed230
from sgexp.data.cbed230.freezing import make_list
from sgexp.tasks.prepare import simulation_recipe

TRACKS = ("smc19", "blind")
FOLDER = Path(cbed230.__file__).parent
FIGURES = ("top1", "top5", "balanced_accuracy", "macro_f1")
LADDERS = {  # what is varied -> its name in the table, how a rung is written, the one rung of --quick
    "dose": ("dose, electrons a pattern", ".0e", 1e6),
    "tilt": ("tilt, mrad", "g", 2.0),
    "thickness": ("thickness, Å", "g", 50.0),
    "energy": ("energy, keV", "g", 150.0),
}
QUICK = ("size=tiny", "trainer=debug", "evaluation.resamples=100")


def main() -> None:
    """Measure, or freeze."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--freeze", metavar="VERSION", help="write the list of a version into the package instead")
    parser.add_argument("--size", choices=[name.lower() for name in cbed230.SIZES], default="s")
    parser.add_argument("--track", choices=TRACKS, default="smc19")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="of the training materials")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of the network; figures are means over them")
    parser.add_argument(
        "--train-pixels", type=int, help="what networks and baselines read; the size's own unless given"
    )
    parser.add_argument("--ladders", type=Path, metavar="RUN", help="climb all ladders with this training instead")
    parser.add_argument("--materials", type=int, default=100, help="of each test column, on every rung of a ladder")
    parser.add_argument("--output", type=Path, help="folder of the runs; without it they are not kept")
    parser.add_argument("--quick", action="store_true", help="sixty materials, two batches, one share: whether it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.shares, arguments.materials = [1.0], 2
    if arguments.freeze:
        freeze(arguments.freeze)
        return
    with tempfile.TemporaryDirectory() as scratch:
        output = arguments.output or Path(scratch)
        if arguments.ladders:
            print(ladder_table(climb(arguments, arguments.ladders, output)))
            return
        print(table(measure(arguments, output)))


def freeze(version: str) -> None:
    """Write the list, its digest, and the digests of crystals and recipes."""
    listed, crystals = make_list(progress=lambda done, wanted: print(f"\r{done:,} of {wanted:,}", end="", flush=True))
    (FOLDER / cbed230.LIST).write_bytes(listed.to_bytes())
    record = {
        "version": version,
        "list": listed.digest(),
        "crystals": {name: cbed230.crystals_digest(crystals[:count]) for name, count in cbed230.SIZES.items()},
        "recipes": recipes(),
    }
    (FOLDER / cbed230.FROZEN).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(
        f"\n{len(listed):,} materials, {(FOLDER / cbed230.LIST).stat().st_size:,} bytes\n{json.dumps(record, indent=2)}"
    )


def recipes() -> dict[str, str]:
    """Return ``S smc19`` -> digest of the settings that make it, for every size and track."""
    composer, found = Composer(), {}
    for size in cbed230.SIZES:
        for track in TRACKS:
            config = composer.check(["dataset=cbed230", f"size=cbed230_{size.lower()}", f"simulation={track}"])
            found[f"{size} {track}"] = cbed230.recipe_digest(simulation_recipe(config))
    return found


def measure(arguments: argparse.Namespace, output: Path) -> dict[float, list[dict]]:
    """Return share -> result.json of each seed of the default network trained with it; what is missing is trained."""
    found: dict[float, list[dict]] = {}
    for share in arguments.shares:
        pixels = f"-{arguments.train_pixels}px" if arguments.train_pixels else ""
        name = f"{arguments.size}-{arguments.track}{pixels}-{share:g}"
        for seed in arguments.seeds:
            words = ["dataset=cbed230", f"size=cbed230_{arguments.size}", f"simulation={arguments.track}"]
            words += [f"size.train_pixels={arguments.train_pixels}"] if arguments.train_pixels else []
            words += list(QUICK) if arguments.quick else []
            words += [f"split.train_share={share:g}", f"seed={seed}", f"name={name}", "logger=none"]
            print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
            sgexp("-m", *words, *places(output))
            found.setdefault(share, []).append(latest(output, "train", name, seed=seed))
    return found


def climb(arguments: argparse.Namespace, trained: Path, output: Path) -> dict[str, dict]:
    """Return ladder -> result.json; rungs that are simulated already are not simulated again."""
    found = {}
    for over, (_, _, few) in LADDERS.items():
        words = [
            "task=ladder",
            f"run={trained.resolve()}",
            f"task.over={over}",
            f"task.materials={arguments.materials}",
        ]
        words += [f"task.rungs=[{few:g}]"] if arguments.quick else []
        print(f"ladder over {over}", file=sys.stderr, flush=True)
        sgexp(*words, f"name=ladder-{over}", *places(output))
        found[over] = latest(output, "ladder", f"ladder-{over}", over=over)
    return found


def places(output: Path) -> list[str]:
    """Return the words that say where runs and data are kept."""
    return [f"output_dir={output / 'outputs'}", f"data_dir={os.environ.get('SGEXP_DATA', output / 'data')}"]


def sgexp(*words: str) -> None:
    """Run the command; ``CalledProcessError`` when it fails."""
    subprocess.run([sys.executable, "-m", "sgexp", *words], check=True, stdout=subprocess.DEVNULL)


def latest(output: Path, task: str, name: str, **wanted: object) -> dict:
    """Return result.json of the newest finished run of a task and name that has these entries."""
    folders = (output / "outputs" / task).glob(f"????-??-??_??-??-??_{name}-????????*/result.json")
    records = [json.loads(path.read_text()) for path in sorted(folders)]
    fits = (one for one in reversed(records) if one["status"] == "finished" and wanted.items() <= one.items())
    return next(fits)


def table(found: dict[float, list[dict]]) -> str:
    """Return a Markdown table: figures on both tests, and the ratio of top-1 to the nearest neighbour's (new crystals).

    Network and baselines learn from the same samples. Of several seeds: mean, standard deviation over seeds, and the
    means of the intervals' ends.
    """
    parts = ("test_material", "test_family")
    heads = [f"{part}: {figure}" for part in parts for figure in FIGURES]
    lines = [f"| {' | '.join(['', 'training samples', *heads, 'ratio'])} |", "|---" * (3 + len(heads)) + "|"]
    for records in found.values():
        every = [{"default network": record["metrics"], **record["baselines"]} for record in records]
        nearest = top1([systems["nearest_neighbour"] for systems in every])
        for name in every[0]:
            seeds = [systems[name] for systems in every]
            cells = [_cell([one.get(part, {}).get(figure) for one in seeds]) for part in parts for figure in FIGURES]
            ratio = f"{top1(seeds) / nearest:.2f}" if nearest else "-"
            samples = f"{records[0]['split']['train']:,}"
            lines.append(f"| {name.replace('_', ' ')} | {samples} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines)


def top1(seeds: list[dict]) -> float:
    """Return the mean top-1 on new crystals of known families."""
    return fmean(metrics["test_material"]["top1"]["value"] for metrics in seeds)


def ladder_table(found: dict[str, dict]) -> str:
    """Return a Markdown table: top-1 on both tests at every rung, and its ratio to the run's own on these crystals."""
    parts = ("test_material", "test_family")
    lines = ["| over | rung | " + " | ".join(f"{part} | ratio" for part in parts) + " |", "|---" * 6 + "|"]
    for over, record in found.items():
        head, form, _ = LADDERS[over]
        for value, rung in zip(record["values"], record["rungs"], strict=True):
            cells = []
            for part in parts:
                figure = rung.get(part, {}).get("top1")
                own = record["as_tested"].get(part, {}).get("top1", {}).get("value")
                cells.append(_cell([figure], ".2f"))
                cells.append(f"{figure['value'] / own:.2f}" if figure and own else "-")
            lines.append(f"| {head} | {format(value, form)} | {' | '.join(cells)} |")
            head = ""
    return "\n".join(lines)


def _cell(seeds: list[dict[str, float] | None], form: str = ".3f") -> str:
    figures = [figure for figure in seeds if figure]
    if not figures:
        return "-"
    value, low, high = (fmean(figure[key] for figure in figures) for key in ("value", "low", "high"))
    spread = f" ± {stdev(figure['value'] for figure in figures):.3f}" if len(figures) > 1 else ""
    return f"{value:{form}}{spread} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
