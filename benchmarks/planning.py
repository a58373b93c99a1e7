"""SMOTE: a plan of draws against imbalanced-learn's finished samples, on SMC-19's class counts at growing sizes.

Both sides get the same labels and the same features (synthetic: materials scattered, ten energies close together) and
raise every class to the largest one. Each measurement is a fresh process; memory is its peak resident size less what
it held once the features were there, and "all" is the whole process; "cpu" is processor time, which a busy machine
distorts less than the clock. Both sides run on one thread (OMP_NUM_THREADS sets another number). At the smallest size
the two results are compared bit by bit. On pixels imbalanced-learn cannot go far (its result alone holds every
synthetic stack, twice while it is put together), so the larger sizes use pooled features: the ratio there says what
planning saves, not what mixing costs.

    python benchmarks/planning.py            # every size; imbalanced-learn's largest run needs 4 GB
    python benchmarks/planning.py --quick    # the small sizes
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import platform
import resource
import sys
import time
import zlib
from importlib import metadata, resources
from pathlib import Path

import numpy as np

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


def main() -> None:
    """Measure every case and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the sizes up to a hundredth of SMC-19")
    parser.add_argument("--counts", type=Path, help="CSV with columns space_group and train (default: the package's)")
    arguments = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # the measured processes inherit it
    counts = read_counts(arguments.counts)
    print(f"machine: {machine()}, {os.environ['OMP_NUM_THREADS']} thread")
    print(
        f"{'samples':>8} {'draws':>9} {'features':>15} | {'plan s':>7} {'cpu s':>6} {'+MB':>6} {'all MB':>6} |"
        f" {'imblearn s':>10} {'cpu s':>6} {'+MB':>6} {'all MB':>6} | {'time':>6} {'cpu':>6} {'memory':>6}"
    )
    for share, n_features, what, theirs_too in CASES:
        if arguments.quick and share > 0.01:
            continue
        scaled = np.maximum(MINIMUM, np.round(share * counts)).astype(int)
        ours = measured("plan", scaled, n_features)
        head = f"{scaled.sum():>8,} {scaled.max() * len(scaled):>9,} {what:>15} | {line(ours)} |"
        if not theirs_too:
            gigabytes = scaled.max() * len(scaled) * n_features * 4 / 1e9
            print(f"{head} not run: the result is {gigabytes:.1f} GB and is held twice")
            continue
        theirs = measured("imblearn", scaled, n_features)
        same = "" if share != CASES[0][0] else " identical" if ours["sum"] == theirs["sum"] else " DIFFERENT"
        ratios = " ".join(f"{theirs[name] / ours[name]:>5.1f}x" for name in ("seconds", "busy", "added"))
        print(f"{head} {line(theirs, 10)} | {ratios}{same}")
    pixels = counts.max() * len(counts) * 3 * 64 * 64 * 4 / 1e9
    print(f"on pixels the full size is out of reach for imbalanced-learn: its result would be {pixels:.0f} GB")


def read_counts(path: Path | None) -> np.ndarray:
    """Return the training samples of each SMC-19 group that has any."""
    source = path or resources.files("sgexp.crystallography").joinpath("tables", COUNTS_FILE)
    with source.open() as file:
        counts = np.array([int(row["train"]) for row in csv.DictReader(file)])
    return counts[counts > 0]


def machine() -> str:
    """Name the processor, cores and versions."""
    versions = " ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scikit-learn", "imbalanced-learn"))
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def line(result: dict[str, float], width: int = 7) -> str:
    """Return seconds and memory as columns."""
    return f"{result['seconds']:>{width}.2f} {result['busy']:>6.2f} {result['added']:>6.0f} {result['all']:>6.0f}"


def measured(what: str, counts: np.ndarray, n_features: int) -> dict[str, float]:
    """Run one side in a fresh process and return seconds, MB added, MB in all and a checksum of the samples."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(run, (what, counts, n_features))


def run(what: str, counts: np.ndarray, n_features: int) -> dict[str, float]:
    """Make the features, then time one side (in the child process)."""
    from imblearn.over_sampling import SMOTE

    from sgexp.sampling.smote import Smote

    labels, materials, features = sample_set(counts, n_features)
    before = peak_mb()
    start, busy = time.perf_counter(), time.process_time()
    if what == "plan":
        plan = Smote("majority", 1, {}, 5, "any").plan(labels, materials, features, SEED)
    else:
        result, _ = SMOTE(random_state=SEED).fit_resample(features, labels)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    after = peak_mb()
    checksum = 0
    if len(labels) < 3_000:
        samples = plan.mix(features) if what == "plan" else result
        checksum = zlib.crc32(samples.tobytes())
    return {"seconds": seconds, "busy": busy, "added": max(after - before, 1.0), "all": after, "sum": checksum}


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
