"""Plans for SMC-19's 148,006 training samples, and the memory they take: run by ``test_real_size.py``, by itself.

    python planning_at_real_size.py smote near_miss ...   # a line of JSON for each choice

Features are synthetic, 3 x 8 x 8 a sample: materials scattered, ten energies of each close together.
"""

import csv
import json
import resource
import sys
from importlib import resources
from pathlib import Path

import numpy as np

from sgexp.sampling.schema import GROUPS
from sgexp.schema import build

ENERGIES, FEATURES, SEED = 10, 3 * 8 * 8, 1
SETTINGS = {"instance_hardness": {"estimator": "discriminant"}}  # a forest takes more than an hour


def real_set():
    """Labels, materials and float32 features (114 MB) of every training sample."""
    source = resources.files("sgexp.crystallography").joinpath("tables", "smc19_class_counts.csv")
    with source.open() as file:
        counts = {int(row["space_group"]): int(row["train"]) for row in csv.DictReader(file)}
    labels = np.repeat(list(counts), list(counts.values()))
    materials = np.concatenate([np.arange(n) // ENERGIES for n in counts.values()]) + 10_000 * labels
    starts = np.flatnonzero(np.diff(materials, prepend=-1))
    rng = np.random.default_rng(SEED)
    features = np.empty((len(labels), FEATURES), np.float32)
    for start, stop in zip(starts, [*starts[1:], len(labels)], strict=True):
        features[start:stop] = rng.normal(size=FEATURES) + 0.1 * rng.normal(size=(stop - start, FEATURES))
    return labels, materials, features


def megabytes(what):
    """Resident megabytes of this process: ``VmRSS`` now or ``VmHWM`` at most.

    Not getrusage where /proc tells: on Linux a new process begins with its parent's peak.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    (line,) = [line for line in status.read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) * 1024 / 1e6


def main(names):
    """Plan with each choice, draw an epoch where epochs differ, and print what came and what it took so far."""
    schemas = {schema.target.rpartition(".")[2]: schema for schema in GROUPS["sampler"]}
    # What they import is not counted.
    samplers = {name: build(schemas[name](**SETTINGS.get(name, {}))) for name in names}
    labels, materials, features = real_set()
    before = megabytes("VmRSS")
    for name, sampler in samplers.items():
        plan = sampler.plan(labels, materials, features, SEED)
        order = plan.recipe.order(SEED, 0, plan.draws) if plan.recipe is not None else np.arange(len(plan))
        classes, drawn = np.unique(labels[plan.base[order]], return_counts=True)
        facts = {"draws": len(order), "classes": len(classes), "fewest": int(drawn.min()), "most": int(drawn.max())}
        print(json.dumps({"choice": name, "megabytes": megabytes("VmHWM") - before, **facts}), flush=True)
        del plan, order


if __name__ == "__main__":
    main(sys.argv[1:])
