"""The benchmark CBED-230: its list frozen, and its baselines measured: docs/benchmark.md.

    python benchmarks/cbed230.py --output results/                  # the table of the baselines, S, smc19
    python benchmarks/cbed230.py --output results/ --track blind --shares 1
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

from sgexp.composition import Composer
from sgexp.data import cbed230
from sgexp.data.cbed230.freezing import make_list
from sgexp.tasks.prepare import simulation_recipe

TRACKS = ("smc19", "blind")
FOLDER = Path(cbed230.__file__).parent
FIGURES = ("top1", "top5", "balanced_accuracy", "macro_f1")
QUICK = ("size=tiny", "trainer=debug", "evaluation.resamples=100")


def main() -> None:
    """Measure, or freeze."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--freeze", metavar="VERSION", help="write the list of a version into the package instead")
    parser.add_argument("--size", choices=[name.lower() for name in cbed230.SIZES], default="s")
    parser.add_argument("--track", choices=TRACKS, default="smc19")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="of the training materials")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="folder of the runs; without it they are not kept")
    parser.add_argument("--quick", action="store_true", help="sixty materials, two batches, one share: whether it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.shares = [1.0]
    if arguments.freeze:
        freeze(arguments.freeze)
        return
    with tempfile.TemporaryDirectory() as scratch:
        print(table(measure(arguments, arguments.output or Path(scratch))))


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


def measure(arguments: argparse.Namespace, output: Path) -> dict[float, dict]:
    """Return share -> result.json of the default network trained with it, the shares that are missing trained now."""
    found = {}
    for share in arguments.shares:
        name = f"{arguments.size}-{arguments.track}-{share:g}"
        words = ["dataset=cbed230", f"size=cbed230_{arguments.size}", f"simulation={arguments.track}"]
        words += list(QUICK) if arguments.quick else []
        words += [f"split.train_share={share:g}", f"seed={arguments.seed}", f"name={name}", "logger=none"]
        words += [f"output_dir={output / 'outputs'}"]
        words += [f"data_dir={os.environ.get('SGEXP_DATA', output / 'data')}"]
        print(f"{name}, seed {arguments.seed}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "sgexp", "-m", *words], check=True, stdout=subprocess.DEVNULL)
        runs = (output / "outputs" / "train").glob(f"????-??-??_??-??-??_{name}-????????*/result.json")
        records = [json.loads(path.read_text()) for path in sorted(runs)]
        found[share] = next(r for r in reversed(records) if r["status"] == "finished" and r["seed"] == arguments.seed)
    return found


def table(found: dict[float, dict]) -> str:
    """Return a Markdown table: figures on both tests, and the ratio of top-1 to the nearest neighbour's (new crystals).

    Network and baselines learn from the same samples.
    """
    parts = ("test_material", "test_family")
    heads = [f"{part}: {figure}" for part in parts for figure in FIGURES]
    lines = [f"| {' | '.join(['', 'training samples', *heads, 'ratio'])} |", "|---" * (3 + len(heads)) + "|"]
    for record in found.values():
        systems = {"default network": record["metrics"], **record["baselines"]}
        nearest = systems["nearest_neighbour"]["test_material"]["top1"]["value"]
        for name, metrics in systems.items():
            cells = [_cell(metrics.get(part, {}).get(figure)) for part in parts for figure in FIGURES]
            ratio = f"{metrics['test_material']['top1']['value'] / nearest:.2f}" if nearest else "-"
            lines.append(f"| {name.replace('_', ' ')} | {record['split']['train']:,} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines)


def _cell(figure: dict[str, float] | None) -> str:
    return f"{figure['value']:.3f} [{figure['low']:.2f}, {figure['high']:.2f}]" if figure else "-"


if __name__ == "__main__":
    main()
