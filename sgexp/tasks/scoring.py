"""Figures with intervals for the network and for the baselines, over the same samples and in the same form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sgexp.console import console
from sgexp.data.catalog import Catalog
from sgexp.data.split import Split
from sgexp.evaluation.baselines import baseline, radial_profile
from sgexp.evaluation.metrics import Evaluation, evaluate
from sgexp.evaluation.predictions import Predictions

if TYPE_CHECKING:
    from sgexp.config import Config
    from sgexp.tasks.prepare import Data

_ROWS_AT_ONCE = 2048  # patterns read at once for radial profiles: bounds the memory
BASELINE_TRAIN_ROWS = 20_000  # baselines learn from at most so many training samples, or they would take hours


def score(config: Config, data: Data, split: Split, predictions: Mapping[str, Predictions]) -> dict[str, Any]:
    """Return ``metrics``, ``counts`` and ``baselines`` of result.json for every part that was predicted."""
    families = train_families(data, split)
    found = {part: evaluate(item, families, config.evaluation) for part, item in predictions.items()}
    tests = {part: item for part, item in predictions.items() if part != "validation"}
    return {
        "metrics": {part: item.as_dict() for part, item in found.items()},
        "counts": {part: item.counts for part, item in found.items()},
        "figure_notes": {part: list(item.notes) for part, item in found.items() if item.notes},
        "baseline_train_samples": min(len(split.rows("train")), BASELINE_TRAIN_ROWS),
        "baselines": {
            name: {part: item.as_dict() for part, item in score_baseline(name, config, data, split, tests).items()}
            for name in config.evaluation.baselines
        },
    }


def predictions_of(catalog: Catalog, rows: np.ndarray, logits: np.ndarray, classes: np.ndarray) -> Predictions:
    """Return logits (N, K) for catalog rows (N,) with what evaluation needs to know of each row."""
    return Predictions(
        row=rows,
        key=catalog.key[rows],
        material=catalog.material[rows],
        family=catalog.family[rows],
        energy_kev=catalog.energy_kev[rows],
        label=catalog.space_group[rows],
        logits=logits,
        classes=classes,
    )


def train_families(data: Data, split: Split) -> dict[int, int]:
    """Return on how many families each group is trained."""
    rows = split.rows("train")
    groups, families = data.catalog.space_group[rows].tolist(), data.catalog.family[rows].tolist()
    pairs = set(zip(groups, families, strict=True))
    trained, counts = np.unique([group for group, _ in pairs], return_counts=True)
    return dict(zip(trained.tolist(), counts.tolist(), strict=True))


def score_baseline(
    name: str, config: Config, data: Data, split: Split, predictions: Mapping[str, Predictions]
) -> dict[str, Evaluation]:
    """Fit one baseline on training samples and judge it on the samples that the network was judged on."""
    if not predictions:
        return {}
    chosen = baseline(name)
    rows = split.rows("train")
    rows = rows[thinned(data.catalog.space_group[rows], BASELINE_TRAIN_ROWS)]
    labels = data.catalog.space_group[rows].astype(np.int64)
    families = train_families(data, split)
    joint = Predictions.concatenate(list(predictions.values()))
    with console.status(f"baseline {name.replace('_', ' ')}"):
        features = baseline_features(chosen.features, data, rows)
        scores = chosen.scores(features, labels, baseline_features(chosen.features, data, joint.row), joint.classes)
    results = {}
    for part, item in predictions.items():
        logits = scores[np.isin(joint.row, item.row)]
        answers = item.answered_by(logits)
        results[part] = evaluate(answers, families, config.evaluation, probabilistic=chosen.probabilistic)
    return results


def thinned(labels_N: np.ndarray, most: int) -> np.ndarray:
    """Return about ``most`` of ``range(N)``, ascending: the same share of each class, at least one sample of each."""
    if len(labels_N) <= most:
        return np.arange(len(labels_N))
    order = np.random.default_rng(0).permutation(len(labels_N))
    order = order[np.argsort(labels_N[order], kind="stable")]
    _, starts, counts = np.unique(labels_N[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    share = most / len(labels_N)
    return np.sort(order[rank < np.maximum(1, np.floor(np.repeat(counts, counts) * share))])


def baseline_features(kind: str, data: Data, rows: np.ndarray) -> np.ndarray:
    """Return what a baseline looks at: nothing, pooled patterns, or radial profiles."""
    if kind == "pooled":
        return data.store.pooled(rows)
    if kind == "radial":
        parts = np.array_split(rows, max(1, -(-len(rows) // _ROWS_AT_ONCE)))
        return np.concatenate([radial_profile(data.store.read(part)) for part in parts])
    return np.zeros((len(rows), 0), np.float32)
