"""SMOTE: a plan of draws against imbalanced-learn's finished samples, on SMC-19's class counts at growing sizes.

Both sides get the same labels and the same features (synthetic: materials scattered, ten energies close together) and
raise every class to the largest one. Each measurement is a fresh process; memory is its peak resident size less what
it held once the features were there, and "all" is the whole process; "cpu" is processor time, which a busy machine
distorts less than the clock. Both sides run on one thread (OMP_NUM_THREADS sets another number). At the smaller sizes
the two results are compared bit by bit. On pixels imbalanced-learn cannot go far (its result alone holds every
synthetic stack, twice while it is put together), so the larger sizes use pooled features: the ratio there says what
planning saves, not what mixing costs.

    python benchmarks/planning.py            # every size; imbalanced-learn's largest run needs 4 GB
    python benchmarks/planning.py --quick    # one small size
    python benchmarks/planning.py --every    # every choice of sampler, ours only, with pooled 3x8x8 features
    python benchmarks/planning.py --every --approximate    # those with approximate neighbours, on all samples

With --every, choices that compare all samples with all others get a tenth of the samples, the rest get all of them.
With --approximate those that offer approximate neighbours take them, and get all of the samples.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import resource
import sys
import zlib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from common import Table, clocks, machine

COUNTS_FILE = "smc19_class_counts.csv"
SEED = 1
ENERGIES = 10  # samples a material
MINIMUM = 6  # imbalanced-learn refuses classes with k_neighbors = 5 samples or fewer
# share of SMC-19's training samples, features a sample and what they are, whether imbalanced-learn can follow
CASES = [
    (0.002, 3 * 64 * 64, "pixels 3x64x64", True),
    (0.01, 3 * 64 * 64, "pixels 3x64x64", True),
    (0.01, 3 * 16 * 16, "pooled 3x16x16", True),
    (0.1, 3 * 16 * 16, "pooled 3x16x16", True),
    (1.0, 3 * 8 * 8, "pooled 3x8x8", True),
    (1.0, 3 * 16 * 16, "pooled 3x16x16", False),
]
QUICK_CASES = [(0.002, 3 * 16 * 16, "pooled 3x16x16", True)]
# Choices whose work grows with the square of the number of samples, or faster, and settings that let them finish.
COMPARING_ALL = "borderline_smote adasyn svm_smote tomek_links enn renn all_knn neighbourhood_cleaning"
QUADRATIC = {name: {} for name in f"{COMPARING_ALL} one_sided_selection condensed_nn".split()}
QUADRATIC |= {name: {"balance": "sqrt"} for name in ("smote_enn", "smote_tomek")}
SETTINGS = QUADRATIC | {name: {"epochs": 100} for name in ("progressive", "deferred")}
SETTINGS["instance_hardness"] = {"estimator": "discriminant"}  # a forest takes more than an hour
SIDE = (("s", 6), ("cpu s", 6), ("+MB", 6), ("all MB", 6))


def main() -> None:
    """Measure every case and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only 1,287 samples, pooled features")
    parser.add_argument("--counts", type=Path, help="CSV with columns space_group and train (default: the package's)")
    parser.add_argument("--every", action="store_true", help="every choice of sampler instead of SMOTE in depth")
    parser.add_argument("--only", nargs="+", help="with --every: these choices")
    parser.add_argument("--share", type=float, help="with --every: part of SMC-19's samples for all choices")
    parser.add_argument("--approximate", action="store_true", help="with --every: those with approximate neighbours")
    arguments = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # the measured processes inherit it
    counts = read_counts(arguments.counts)
    print(f"machine: {machine('numpy', 'scikit-learn', 'imbalanced-learn')}")
    if arguments.every:
        every_choice(counts, arguments.share, arguments.only, arguments.approximate)
        return
    print("left: the plan; right: imbalanced-learn; ratio: right over left")
    case = (("samples", 8), ("draws", 9), ("features", 15))
    table = Table(*case, "|", *SIDE, "|", *SIDE, "|", ("ratio: s", 8), ("cpu s", 6), ("+MB", 6), ("", 0))
    for share, n_features, what, theirs_too in QUICK_CASES if arguments.quick else CASES:
        scaled = np.maximum(MINIMUM, np.round(share * counts)).astype(int)
        ours = measured("plan", scaled, n_features)
        head = [f"{scaled.sum():,}", f"{scaled.max() * len(scaled):,}", what, *cells(ours)]
        if not theirs_too:
            gigabytes = scaled.max() * len(scaled) * n_features * 4 / 1e9
            table.row(*head, f"not run: the result is {gigabytes:.1f} GB and is held twice")
            continue
        theirs = measured("imblearn", scaled, n_features)
        same = "" if not ours["sum"] else " identical" if ours["sum"] == theirs["sum"] else " DIFFERENT"
        ratios = [f"{theirs[name] / ours[name]:.1f}x" for name in ("seconds", "busy", "added")]
        table.row(*head, *cells(theirs), *ratios, same)
    pixels = counts.max() * len(counts) * 3 * 64 * 64 * 4 / 1e9
    print(f"on pixels the full size is out of reach for imbalanced-learn: its result would be {pixels:.0f} GB")


def every_choice(counts: np.ndarray, share: float | None, only: list[str] | None, approximate: bool) -> None:
    """Plan with each choice in a fresh process; a recipe also draws its first epoch."""
    columns = (("samples", 8), ("draws", 9), *SIDE)
    table = Table(("choice", 22), *columns, ("", 0))
    offered = [name for name, schema in sorted(schemas().items()) if "neighbours" in schema.__dataclass_fields__]
    for name in only or (offered if approximate else sorted(schemas())):
        part = share or (0.1 if name in QUADRATIC and not approximate else 1.0)
        scaled = np.maximum(1, np.round(part * counts)).astype(int)
        chosen = SETTINGS.get(name, {}) | ({"neighbours": "approximate"} if approximate else {})
        result = measured(name, scaled, 3 * 8 * 8, chosen)
        settings = " ".join(f"{key}={value}" for key, value in chosen.items())
        table.row(name, f"{scaled.sum():,}", f"{result['draws']:,.0f}", *cells(result), settings)


def schemas() -> dict[str, type]:
    """Return the schema of every choice of the config group sampler, by the choice's name."""
    import yaml

    from sgexp.sampling.schema import GROUPS

    by_target = {schema.target: schema for schema in GROUPS["sampler"]}
    files = (Path(__file__).parents[1] / "conf" / "sampler").glob("*.yaml")
    return {path.stem: by_target[yaml.safe_load(path.read_text())["_target_"]] for path in files}


def read_counts(path: Path | None) -> np.ndarray:
    """Return the training samples of each SMC-19 group that has any."""
    source = path or resources.files("sgexp.crystallography").joinpath("tables", COUNTS_FILE)
    with source.open() as file:
        counts = np.array([int(row["train"]) for row in csv.DictReader(file)])
    return counts[counts > 0]


def cells(result: dict[str, float]) -> list[str]:
    """Return seconds and memory as columns."""
    seconds = [f"{result[name]:.2f}" for name in ("seconds", "busy")]
    return [*seconds, *(f"{result[name]:.0f}" for name in ("added", "all"))]


def measured(
    what: str, counts: np.ndarray, n_features: int, settings: dict[str, Any] | None = None
) -> dict[str, float]:
    """Run one side in a fresh process and return seconds, MB added, MB in all and a checksum of the samples."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(run, (what, counts, n_features, settings or {}))


def run(what: str, counts: np.ndarray, n_features: int, settings: dict[str, Any]) -> dict[str, float]:
    """Make the features, then time one side (in the child process)."""
    from imblearn.over_sampling import SMOTE

    from sgexp.sampling.smote import Smote
    from sgexp.schema import build

    labels, materials, features = sample_set(counts, n_features)
    if what not in ("plan", "imblearn"):
        schema = schemas()[what]
        spared = {"rare": "keep"} if "rare" in schema.__dataclass_fields__ else {}
        chosen = schema(**settings, **spared)
        build(chosen)  # imports are not part of the work
    before = peak_mb()
    begin = clocks()
    if what == "plan":
        plan = Smote("majority", 1, {}, 5, "any").plan(labels, materials, features, SEED)
    elif what == "imblearn":
        result, _ = SMOTE(random_state=SEED).fit_resample(features, labels)
    else:
        sampler = build(chosen)
        plan = sampler.plan(labels, materials, features, SEED)
        if plan.recipe is not None:
            plan.recipe.order(SEED, 0, plan.draws)
    seconds, busy = clocks() - begin
    after = peak_mb()
    checksum = 0
    if what in ("plan", "imblearn") and len(labels) < 3_000:
        samples = plan.mix(features) if what == "plan" else result
        checksum = zlib.crc32(samples.tobytes())
    draws = plan.draws if what != "imblearn" else len(result)
    added = max(after - before, 1.0)
    return {"seconds": seconds, "busy": busy, "added": added, "all": after, "sum": checksum, "draws": draws}


def sample_set(counts: np.ndarray, n_features: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, material numbers and float32 features, made without a peak of memory beyond the features."""
    rng = np.random.default_rng(SEED)
    labels = np.repeat(np.arange(1, len(counts) + 1), counts)
    materials = np.concatenate([np.arange(n) // ENERGIES for n in counts]) + 10_000 * labels
    features = np.empty((len(labels), n_features), np.float32)
    starts = np.flatnonzero(np.diff(materials, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(labels)], strict=True):
        features[start:stop] = rng.normal(size=n_features) + 0.1 * rng.normal(size=(stop - start, n_features))
    return labels, materials, features


def peak_mb() -> float:
    """Return the largest resident size of this process so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
